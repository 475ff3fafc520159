"""Latent traversals: interpolate between rows, shift rows along an attribute, traverse one latent at a time."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aepipe.bundles.job_bundle import open_bundle
from aepipe.config.job import Job
from aepipe.errors import ArgumentInvalid, OptionInvalid, did_you_mean
from aepipe.expressions.condition import Condition
from aepipe.inference.table_model import TableModel
from aepipe.inference.traversal import MeanLatents, attribute_vector_between, refuse_untraversable
from aepipe.jobs.results import Result
from aepipe.jobs.row_lookup import find_rows
from aepipe.jobs.sample.output_rows import to_source_rows
from aepipe.jobs.sample.traversal_changes import changes
from aepipe.jobs.series_support import read_rows_job
from aepipe.latent_math import How
from aepipe.report import formatting as wording
from aepipe.storage import TRAVERSE, Outputs, TraversalDetails, digest_of, read_parquet
from aepipe.storage.atomic_files import json_bytes
from aepipe.tables.parquet_reader import READ_ROWS, readable_footers, slices
from aepipe.tables.partitions import discover

log = logging.getLogger(__name__)

TraversalKind = Literal["interpolation", "traversal", "shift"]

CONTRACT = "walk/1"
MOST_CHANGES = 8


class ColumnChange(Result):
    """Change of a column along one path."""

    strip: str
    column: str
    first: str
    last: str
    size: float
    """Standard deviations of the training rows; 1 for a category."""


class TraversalResult(Result):
    """Path of the written rows, and the columns that change most along them."""

    kind: TraversalKind
    path: Path
    rows: int
    model_version: str
    created: bool
    changes: tuple[ColumnChange, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class _Start:
    """Start of a traversal: job, model, and the start rows with their keys."""

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
    """Interpolate between the rows of two keys and write the path to <out>/walks/interpolation.

    A repeated call with the same model, rows and settings writes nothing, as with every traversal. The
    conditions come from the first row.

    Args:
        job_path: Job file, or the folder that holds it.
        first: Key of the first row.
        last: Key of the last row.
        steps: Rows of the path, at least 2.
        how: "slerp" (along the arc) or "lerp" (straight).
        partition: Partition to write; None: the kind of traversal.
        model: Alias or version of the model.

    Raises:
        JobInvalid: `how` is unknown.
        OptionInvalid: A key has no row or several, or the latents are not one real vector per row.
    """
    start = _start(job_path, (first, last), model)
    if how not in ("slerp", "lerp"):
        raise ArgumentInvalid("how", [f"expected slerp or lerp, got '{how}'"])
    table = start.model.interpolate(start.rows.slice(0, 1), start.rows.slice(1, 1), steps=steps, how=cast(How, how))
    index = table.column_names.index("walk_row") + 1
    table = table.add_column(index, "walk_to", pa.array([last] * table.num_rows, pa.string()))
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
    """Shift rows along an attribute vector; write them to <out>/walks/shift, reconstructed and shifted.

    The attribute vector is the difference of the mean latents of rows that satisfy the condition and of other rows. It
    uses all partitions, since training rows may have been selected to exclude the attribute.

    Args:
        job_path: Job file, or the folder that holds it.
        condition: Condition that rows with the attribute satisfy.
        keys: Keys of the rows to shift.
        amount: Multiple of the attribute vector.
        partition: Partition to write; None: the kind of traversal.
        model: Alias or version of the model.

    Raises:
        JobInvalid: The table lacks a column of the condition.
        OptionInvalid: As for `interpolate`, or all rows or none satisfy the condition.
    """
    if not keys:
        raise OptionInvalid("a shift has no rows: expected at least one key. Name the rows to shift.")
    start = _start(job_path, tuple(dict.fromkeys(keys)), model)
    vector = _attribute_vector(start, Condition.parse(condition))
    table = start.model.traverser.shift(start.rows, vector, amounts=[0.0, amount] if amount else [0.0])
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
    """Traverse one latent at a time over its training range, from the row of a key; write to <out>/walks/traversal.

    Args:
        job_path: Job file, or the folder that holds it.
        key: Key of the row.
        dimensions: Names of latents, such as z_000; None: all.
        steps: Rows per latent, at least 2.
        partition: Partition to write; None: the kind of traversal.
        model: Alias or version of the model.

    Raises:
        OptionInvalid: As for `interpolate`, or the model has no such latent.
    """
    start = _start(job_path, (key,), model)
    table = start.model.traverse(start.rows, dimensions, steps=steps)
    return _write(start, "traversal", table, {"dimensions": dimensions, "steps": steps}, partition)


def _start(job_path: str | Path, keys: Sequence[str], model: str) -> _Start:
    began = time.perf_counter()
    job = read_rows_job(job_path, "traverse")
    Outputs(job.out_path).claim(job.name)
    bundle = open_bundle(job, model)
    refuse_untraversable(bundle)
    rows = find_rows(job, list(keys), columns=bundle.encoding.columns_read)
    opened = TableModel(bundle, device=job.run.device)
    for key, reason in zip(keys, opened.score(rows)["invalid_reason"].to_pylist(), strict=True):
        if reason is not None:
            raise OptionInvalid(f"the row with key '{key}' cannot be encoded: {reason}")
    return _Start(job, opened, tuple(keys), rows, began)


def _attribute_vector(start: _Start, condition: Condition) -> NDArray[np.float64]:
    """Return the attribute vector, (Z,), from the first `[train] max_rows` rows of the job's data."""
    job, traverser = start.job, start.model.traverser
    with_attribute, without = MeanLatents(traverser), MeanLatents(traverser)
    needed = {column.name for column in start.model.bundle.encoding.schema.modelled} | condition.columns
    footers, faults = readable_footers(file for partition in discover(job) for file in partition.files)
    for fault in faults.values():
        log.warning("%s", fault)
    files = [footer.path for footer in footers]
    for names in (footer.schema.names for footer in footers):
        for name in sorted(condition.columns - set(names)):
            raise ArgumentInvalid("shift", [f"the table has no column '{name}'{did_you_mean(name, names)}"])
    for batch in slices(files, sorted(needed), rows=READ_ROWS):
        rows = pa.Table.from_batches([batch])
        holds = condition.mask(rows)
        with_attribute.add(rows.filter(holds))
        without.add(rows.filter(pc.invert(holds)))
        if with_attribute.rows + without.rows >= job.train.max_rows:
            break
    return attribute_vector_between(with_attribute, without, what=str(condition))


def _write(
    start: _Start, kind: TraversalKind, table: pa.Table, settings: Mapping[str, object], partition: str | None
) -> TraversalResult:
    bundle, outputs, name = start.model.bundle, Outputs(start.job.out_path), partition or kind
    details = {"kind": kind, "keys": list(start.keys), **settings}
    start_rows = start.rows.replace_schema_metadata(None).combine_chunks()
    sink = pa.BufferOutputStream()  # the rows themselves, independent of their file
    with pa.ipc.new_stream(sink, start_rows.schema) as stream:
        stream.write_table(start_rows)
    key = digest_of(CONTRACT, bundle.version, json_bytes(details), bytes(sink.getvalue()))
    start_row = table["walk_row"].combine_chunks()
    position = {name: table[name] for name in table.column_names if name.startswith("walk_")}
    columns = to_source_rows(bundle, table, keys=lambda name, _: start.rows[name].take(start_row), own=position)
    rows = pa.table(columns)
    with outputs.commit(TRAVERSE, name, key) as commit:
        manifest = commit.done
        if manifest is None:
            commit.open("walks", rows.schema).write(rows)
            manifest = commit.publish(model_version=bundle.version, details=TraversalDetails.model_validate(details))
        created = commit.done is None
    path = outputs.root / manifest.files["walks"].path
    found = tuple(
        ColumnChange(
            strip=change.path,
            column=change.column,
            first=wording.cell(change.values[0]),
            last=wording.cell(change.values[-1]),
            size=change.size,
        )
        for change in changes(start.model, read_parquet(path), start.keys, most=MOST_CHANGES)
    )
    return TraversalResult(
        kind=kind,
        path=path,
        rows=manifest.files["walks"].rows,
        model_version=bundle.version,
        created=created,
        changes=found,
        seconds=time.perf_counter() - start.began,
    )
