"""Writes walks through the latents: the rows between two, rows with more of an attribute, one latent at a time."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aepipe.bundles.bundle import Bundle
from aepipe.config.job import Job, read_job
from aepipe.errors import ArgumentInvalid, OptionInvalid
from aepipe.expressions import evaluate as where
from aepipe.inference.table_model import TableModel
from aepipe.inference.traversal import MeanLatents, refuse_unwalkable, step_between
from aepipe.jobs.results import Result
from aepipe.jobs.row_lookup import find_rows
from aepipe.jobs.sample.output_rows import to_source_rows
from aepipe.jobs.sample.traversal_changes import Change, changes
from aepipe.latent_math import How
from aepipe.report import formatting as wording
from aepipe.storage import TRAVERSE, Outputs, TraversalDetails, digest_of, read_parquet
from aepipe.storage.atomic_files import json_bytes
from aepipe.tables.parquet_reader import READ_ROWS, read_footer, slices
from aepipe.tables.partitions import discover
from aepipe.tables.schema import did_you_mean

TraversalKind = Literal["interpolation", "traversal", "shift"]

CONTRACT = "walk/1"
MOST_CHANGES = 8


class ColumnChange(Result):
    """A column that moved: on which strip of the walk, from what to what."""

    strip: str
    column: str
    first: str
    last: str
    size: float
    """in standard deviations of the training rows; 1 for a category"""


class TraversalResult(Result):
    """Where the rows are, whether this call wrote them, and what changes most along them."""

    kind: TraversalKind
    path: Path
    rows: int
    model_version: str
    created: bool
    changes: tuple[ColumnChange, ...]
    seconds: float


class _Start(NamedTuple):
    """A job, its model, and the rows that a walk sets out from, by their keys."""

    job: Job
    model: TableModel
    keys: tuple[str, ...]
    rows: pa.Table
    began: float


def interpolate(
    job_path: str | Path,
    first: str,
    last: str,
    *,
    steps: int = 8,
    how: str = "slerp",
    partition: str | None = None,
    model: str = "champion",
) -> TraversalResult:
    """The rows between the rows of two keys, in <out>/walks/interpolation; conditions are the first row's.

    The same model, rows and steps give the same walk; asked for again, nothing is written, as with every walk.
    Raises JobInvalid, OptionInvalid for keys of no row or several and where the latents are no real vectors.
    """
    start = _start(job_path, (first, last), model)
    table = start.model.interpolate(start.rows.slice(0, 1), start.rows.slice(1, 1), steps=steps, how=_how(how))
    at = table.column_names.index("walk_row") + 1
    table = table.add_column(at, "walk_to", pa.array([last] * table.num_rows, pa.string()))
    return _write(start, "interpolation", table, {"steps": steps, "how": how}, partition)


def shift(
    job_path: str | Path,
    condition: str,
    keys: Sequence[str],
    *,
    amount: float = 1.0,
    partition: str | None = None,
    model: str = "champion",
) -> TraversalResult:
    """The rows of some keys as they are rebuilt, and with `amount` of an attribute more, in <out>/walks/shift.

    The attribute is what sets rows of the job's data for which the condition holds apart from the others: of all
    partitions, since rows to learn from may have been chosen for not having it.
    Raises as `interpolate`, and OptionInvalid where the condition holds for no row or for all.
    """
    if not keys:
        raise OptionInvalid("a shift has no rows: expected at least one key. Name the rows to shift.")
    start = _start(job_path, tuple(dict.fromkeys(keys)), model)
    vector = _attribute_vector(start, condition)
    table = start.model.walker.shift(start.rows, vector, amounts=[0.0, amount] if amount else [0.0])
    settings = {"condition": condition, "amount": amount, "vector": vector.tolist()}
    return _write(start, "shift", table, settings, partition)


def traverse(
    job_path: str | Path,
    key: str,
    *,
    dimensions: Sequence[str] | None = None,
    steps: int = 7,
    partition: str | None = None,
    model: str = "champion",
) -> TraversalResult:
    """The row of a key with one latent at a time moved over its spread in training, in <out>/walks/traversal.

    dimensions: such as z_000; none: all. Raises as `interpolate`, and OptionInvalid for a latent that is not there.
    """
    start = _start(job_path, (key,), model)
    table = start.model.traverse(start.rows, dimensions, steps=steps)
    return _write(start, "traversal", table, {"dimensions": dimensions, "steps": steps}, partition)


def _start(job_path: str | Path, keys: Sequence[str], model: str) -> _Start:
    began = time.perf_counter()
    job = read_job(job_path)
    bundle = Bundle.open(f"{job.bundle_path}@{model}")
    refuse_unwalkable(bundle)
    rows = find_rows(job, list(keys), columns=bundle.encoding.columns_read)
    opened = TableModel(bundle, device=job.run.device)
    for key, reason in zip(keys, opened.score(rows)["invalid_reason"].to_pylist(), strict=True):
        if reason is not None:
            raise OptionInvalid(f"the row with key '{key}' cannot be encoded: {reason}")
    return _Start(job, opened, tuple(keys), rows, began)


def _how(name: str) -> How:
    if name not in ("slerp", "lerp"):
        raise ArgumentInvalid("how", [f"expected slerp or lerp, got '{name}'"])
    return cast(How, name)


def _attribute_vector(start: _Start, condition: str) -> NDArray[np.float64]:
    """(Z,), of the first `[train] max_rows` rows of the job's data."""
    job, walker = start.job, start.model.walker
    having, lacking = MeanLatents(walker), MeanLatents(walker)
    needed = {column.name for column in start.model.bundle.encoding.schema.modelled} | where.columns(condition)
    files = [file for partition in discover(job) for file in partition.files]
    for file in files:
        _refuse_unknown(condition, read_footer(file).schema)
    for batch in slices(files, sorted(needed), rows=READ_ROWS):
        rows = pa.Table.from_batches([batch])
        holds = where.apply(condition, rows)
        having.add(rows.filter(holds))
        lacking.add(rows.filter(pc.invert(holds)))
        if having.rows + lacking.rows >= job.train.max_rows:
            break
    return step_between(having, lacking, what=condition)


def _refuse_unknown(condition: str, schema: pa.Schema) -> None:
    for name in sorted(where.columns(condition) - set(schema.names)):
        raise ArgumentInvalid("shift", [f"the table has no column '{name}'{did_you_mean(name, schema.names)}"])


def _write(
    start: _Start, kind: TraversalKind, table: pa.Table, settings: Mapping[str, object], partition: str | None
) -> TraversalResult:
    bundle, outputs, name = start.model.bundle, Outputs(start.job.out_path), partition or kind
    details = {"kind": kind, "keys": list(start.keys), **settings}
    key = digest_of(CONTRACT, bundle.version, json_bytes(details), _bytes_of(start.rows))
    whole = _whole_rows(bundle, start.rows, table)
    with outputs.commit(TRAVERSE, name, key) as commit:
        manifest = commit.done
        if manifest is None:
            commit.open("walks", whole.schema).write(whole)
            manifest = commit.publish(model_version=bundle.version, details=TraversalDetails.model_validate(details))
        created = commit.done is None
    path = outputs.root / manifest.files["walks"].path
    found = changes(start.model, read_parquet(path), start.keys, most=MOST_CHANGES)
    return TraversalResult(
        kind=kind,
        path=path,
        rows=manifest.files["walks"].rows,
        model_version=bundle.version,
        created=created,
        changes=tuple(_column_change(change) for change in found),
        seconds=time.perf_counter() - start.began,
    )


def _column_change(change: Change) -> ColumnChange:
    first, last = (wording.cell(change.values[at]) for at in (0, -1))
    return ColumnChange(strip=change.strip, column=change.column, first=first, last=last, size=change.size)


def _whole_rows(bundle: Bundle, source: pa.Table, table: pa.Table) -> pa.Table:
    """Rows of the source with the keys of the row set out from, their place on the walk and their model."""
    of = table["walk_row"].combine_chunks()
    place = {name: table[name] for name in table.column_names if name.startswith("walk_")}
    return pa.table(to_source_rows(bundle, table, keys=lambda name, _: source[name].take(of), own=place))


def _bytes_of(rows: pa.Table) -> bytes:
    """The rows themselves, whatever file they lie in."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema.remove_metadata()) as stream:
        stream.write_table(rows.replace_schema_metadata(None).combine_chunks())
    return bytes(sink.getvalue())
