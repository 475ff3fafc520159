"""Rank the items that each row of a partition does not have, through ONNX."""

import time
from pathlib import Path

import pyarrow as pa

from aepipe.bundles.job_bundle import open_bundle
from aepipe.errors import ArgumentInvalid, SchemaMismatch
from aepipe.inference.recommendation import MOST_ITEMS, PROBABILITY, RECOMMENDED, items_codec
from aepipe.inference.table_model import TableModel
from aepipe.jobs.inspect import refuse_faults
from aepipe.jobs.results import Result
from aepipe.jobs.sample.output_rows import model_version_column
from aepipe.jobs.score import chosen_partitions
from aepipe.jobs.series_support import read_rows_job
from aepipe.progress import Progress, count_rows, no_progress
from aepipe.storage import RECOMMEND, Commit, Outputs, RecommendDetails, digest_of, source_digest
from aepipe.tables.parquet_reader import READ_ROWS, read_footer, slices
from aepipe.tables.partitions import Partition
from aepipe.tables.struct_fields import flatten_table

CONTRACT = "recommend/1"


class RecommendResult(Result):
    """Path of the ranked items of a partition."""

    path: Path
    rows: int
    items: int
    model_version: str
    created: bool
    seconds: float


def recommend(
    job_path: str | Path,
    partition: str,
    *,
    items: int = 20,
    model: str = "champion",
    progress: Progress | None = None,
) -> RecommendResult:
    """Write the likeliest items that each row of a partition does not have to <out>/recommended/<partition>.

    Rows need not be known from training. The same arguments give the same items; a repeated call writes nothing.

    Args:
        job_path: Job file, or the folder that holds it.
        partition: Name of a partition of the source.
        items: Maximum number of items of a row, at most 100.
        model: Alias or version of the model.
        progress: Callback for progress.

    Raises:
        ArgumentInvalid: The number of items is invalid.
        OptionInvalid: The model has no list of items.
        JobInvalid: There is no such partition.
        SchemaMismatch: The partition has other columns.
    """
    began = time.perf_counter()
    if isinstance(items, bool) or not isinstance(items, int) or not 1 <= items <= MOST_ITEMS:
        raise ArgumentInvalid("items", [f"expected 1 to {MOST_ITEMS}, got {items}"])
    job = read_rows_job(job_path, "recommend")
    outputs, bundle = Outputs(job.out_path), open_bundle(job, model)
    items_codec(bundle)
    (source,) = chosen_partitions(job, [partition])
    schema = bundle.encoding.schema
    refuse_faults(schema, source.files, source.name)
    if taken := sorted({RECOMMENDED, PROBABILITY} & set(schema.carried)):
        raise SchemaMismatch(source.name, [f"has a column '{taken[0]}', which the ranking adds: rename it"])
    tables = TableModel(bundle, device=job.run.device)
    key = digest_of(CONTRACT, bundle.version, str(items), *(source_digest(file) for file in source.files))
    outputs.claim(job.name)
    with outputs.commit(RECOMMEND, source.name, key) as commit:
        manifest = commit.done
        if manifest is None:
            _write(commit, tables, source, items, progress or no_progress)
            manifest = commit.publish(model_version=bundle.version, details=RecommendDetails(items=items))
        created = commit.done is None
    written = manifest.files["recommended"]
    return RecommendResult(
        path=outputs.root / written.path,
        rows=written.rows,
        items=items,
        model_version=bundle.version,
        created=created,
        seconds=time.perf_counter() - began,
    )


def _write(
    commit: Commit[RecommendDetails], tables: TableModel, source: Partition, items: int, progress: Progress
) -> None:
    carried = tables.bundle.encoding.schema.carried
    total = sum(read_footer(file).rows for file in source.files)
    empty = pa.RecordBatch.from_pylist([], schema=read_footer(source.files[0]).schema)
    sink, done = None, 0
    for batch in slices(source.files, None, rows=READ_ROWS) if total else iter([empty]):
        rows = flatten_table(pa.Table.from_batches([batch]))
        kept = {name: rows[name] for name in carried if name in rows.column_names}
        ranked = tables.recommend(rows, items)
        written = pa.table(
            {
                **kept,
                **{name: ranked[name] for name in ranked.column_names},
                "model_version": model_version_column(tables.version, rows.num_rows),
            }
        ).combine_chunks()
        sink = sink or commit.open("recommended", written.schema)
        for each in written.to_batches() or [pa.RecordBatch.from_pylist([], written.schema)]:
            sink.write(each)
        done += rows.num_rows
        count_rows(progress, "recommend", done)
        progress("recommend", done / max(total, 1))
