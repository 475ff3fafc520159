"""Impute the missing cells of a partition through ONNX."""

import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from aepipe.bundles.bundle import Bundle
from aepipe.bundles.job_bundle import open_bundle
from aepipe.config.job import Job
from aepipe.errors import ArgumentInvalid
from aepipe.expressions.condition import Condition
from aepipe.inference.imputation import MOST_DRAWS, ImputedRows, Imputer
from aepipe.jobs.inspect import refuse_faults
from aepipe.jobs.results import Result
from aepipe.jobs.sample.nightly_set import partition_seed
from aepipe.jobs.sample.output_rows import model_version_column
from aepipe.jobs.sample.reference_data import learned_rows
from aepipe.jobs.score import chosen_partitions
from aepipe.jobs.series_support import read_rows_job
from aepipe.progress import Progress, count_rows, no_progress
from aepipe.storage import IMPUTE, Commit, ImputeDetails, Outputs, digest_of, source_digest
from aepipe.tables.parquet_reader import read_footer, slices
from aepipe.tables.partitions import Partition
from aepipe.tables.struct_fields import struct_of_field

log = logging.getLogger(__name__)

CONTRACTS = {"draw": "fill/1", "mean": "fill/2"}


class ImputeResult(Result):
    """Path of the imputed rows, and the cells per column that were filled and that stay missing."""

    path: Path
    rows: int
    seed: int
    filled: dict[str, int]
    left: dict[str, int]
    model_version: str
    created: bool
    seconds: float


def impute(
    job_path: str | Path,
    partition: str,
    *,
    seed: int | None = None,
    model: str = "champion",
    progress: Progress | None = None,
    how: str = "draw",
    draws: int | None = None,
    columns: Sequence[str] = (),
    where: str | None = None,
) -> ImputeResult:
    """Write a partition to <out>/filled/<partition>, with each missing modelled cell drawn given the others.

    All other cells stay as they are. The same arguments give the same values; a repeated call writes nothing.

    Args:
        job_path: Job file, or the folder that holds it.
        partition: Name of a partition of the source.
        seed: Random seed; None: derived from the job's seed and the name of the partition.
        model: Alias or version of the model.
        progress: Callback for progress.
        how: "draw", or "mean" for the best estimate: the model's, weighed against the nearest training rows.
        draws: Draws per cell for "mean"; None: 10.
        columns: Columns to fill; none: all modelled ones.
        where: Condition on the rows to fill; None: all.

    Raises:
        OptionInvalid: The family cannot draw some cells given others.
        JobInvalid: There is no such partition, or `how` or `draws` is invalid.
        SchemaMismatch: The partition has other columns.
    """
    began = time.perf_counter()
    job = read_rows_job(job_path, "impute")
    outputs = Outputs(job.out_path)
    bundle = open_bundle(job, model)
    (source,) = chosen_partitions(job, [partition])
    chosen = partition_seed(job.samples.seed, source.name) if seed is None else seed
    count, condition = _validated_draws(how, draws), None if where is None else Condition.parse(where)
    imputer = Imputer(bundle, seed=chosen, device=job.run.device, draws=count, columns=tuple(columns), where=condition)
    refuse_faults(bundle.encoding.schema, source.files, source.name)
    asked = [str(each) for each in (chosen, count if count > 1 else "", *columns, where) if each not in ("", None)]
    key = digest_of(CONTRACTS[how], bundle.version, *asked, *(source_digest(file) for file in source.files))
    outputs.claim(job.name)
    with outputs.commit(IMPUTE, source.name, key) as commit:
        manifest = commit.done
        if manifest is None:
            counts = _write(commit, job, bundle, imputer, source, progress or no_progress)
            manifest = commit.publish(model_version=bundle.version, details=ImputeDetails(seed=chosen, **counts))
        created = commit.done is None
    return ImputeResult(
        path=outputs.root / manifest.files["filled"].path,
        rows=manifest.files["filled"].rows,
        seed=chosen,
        filled=manifest.details.filled,
        left=manifest.details.left,
        model_version=bundle.version,
        created=created,
        seconds=time.perf_counter() - began,
    )


def _learn(imputer: Imputer, job: Job, bundle: Bundle) -> None:
    """Let best estimates use the rows that the model learned from, if they are all there."""
    if imputer.draws == 1:
        return
    rows = learned_rows(job, bundle)
    if rows is None:
        log.warning(
            "best estimates come from %s alone: the rows that it was trained on are gone from %s. Restore them to "
            "use the nearest of them too",
            bundle.version,
            job.data_path,
        )
    else:
        imputer.learn(*rows)


def _validated_draws(how: str, draws: int | None) -> int:
    """Return the number of draws per cell. Raises ArgumentInvalid."""
    if how not in ("draw", "mean"):
        raise ArgumentInvalid("how", [f"expected draw or mean, got '{how}'"])
    if how == "draw":
        if draws not in (None, 1):
            raise ArgumentInvalid("draws", [f"expected 1 for how = draw, got {draws}. Give several seeds instead."])
        return 1
    if draws is not None and not 2 <= draws <= MOST_DRAWS:
        raise ArgumentInvalid("draws", [f"expected 2 to {MOST_DRAWS:,} for how = mean, got {draws}"])
    return draws or 10


def _write(
    commit: Commit[ImputeDetails], job: Job, bundle: Bundle, imputer: Imputer, source: Partition, progress: Progress
) -> dict[str, dict[str, int]]:
    _learn(imputer, job, bundle)
    total = sum(read_footer(file).rows for file in source.files)
    sink, done = None, 0
    filled, left = Counter[str](), Counter[str]()
    for block in _blocks(imputer, source, bundle.encoding.schema.carried):
        rows = block.rows
        written = rows.append_column("model_version", model_version_column(bundle.version, rows.num_rows))
        sink = sink or commit.open("filled", written.schema)
        sink.write(written)
        filled.update(block.filled)
        left.update(block.left)
        done += rows.num_rows
        count_rows(progress, "impute", done)
        progress("impute", done / max(total, 1))
    return {"filled": dict(filled), "left": {name: count for name, count in left.items() if count}}


def _blocks(imputer: Imputer, source: Partition, carried: Sequence[str]) -> Iterator[ImputedRows]:
    """Yield the imputed blocks of a partition; an empty partition is one empty block."""
    is_empty = True
    for index, batch in enumerate(slices(source.files, None, rows=imputer.rows)):
        is_empty = False
        yield imputer.block(index, _without_structs(batch, carried))
    if is_empty:
        batch = pa.RecordBatch.from_pylist([], schema=read_footer(source.files[0]).schema)
        yield imputer.block(0, _without_structs(batch, carried))


def _without_structs(rows: pa.RecordBatch, carried: Sequence[str]) -> pa.RecordBatch:
    """Return the rows with each struct either as it is, if it is a passthrough column, or as its fields."""
    tops = struct_of_field(rows.schema)
    dropped = {name if top in carried else top for name, top in tops.items()}
    return rows.drop_columns(sorted(dropped)) if dropped else rows
