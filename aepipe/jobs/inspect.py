"""Looks at a table: its partitions, and what each column would be taken for."""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import pyarrow as pa

from aepipe.config.job import ColumnSpec, Job, parse_job, read_job
from aepipe.errors import DataUnreadable, SchemaMismatch
from aepipe.jobs.results import Result
from aepipe.tables.parquet_reader import read_footer, slices
from aepipe.tables.partitions import Partition, discover
from aepipe.tables.schema_check import Column, Schema, extra_columns, faults, infer

SAMPLE_ROWS = 10_000


class PartitionSeen(Result):
    """One partition on disk."""

    partition: str
    files: int
    rows: int
    bytes: int


class Inspection(Result):
    """What `aepipe inspect` prints."""

    columns: tuple[Column, ...]
    partitions: tuple[PartitionSeen, ...]
    notes: tuple[str, ...]


def inspect(path: str | Path) -> Inspection:
    """Columns and partitions of a job's table, or of a folder or file of Parquet that has no job yet.

    Raises DataUnreadable where there is no Parquet, SchemaMismatch where a column can be nothing.
    """
    job = job_for(path)
    partitions = discover(job)
    schema = infer_schema(job, partitions)
    notes = []
    for partition in partitions:
        for file in partition.files:
            arrow = read_footer(file).schema
            notes += [f"{partition.name}: {fault}" for fault in faults(schema, arrow)]
            notes += [f"{partition.name}: extra column '{name}' is ignored" for name in extra_columns(schema, arrow)]
    return Inspection(columns=schema.columns, partitions=tuple(map(_seen, partitions)), notes=tuple(notes))


def job_for(path: str | Path) -> Job:
    """The job of a job file, or the plainest job for Parquet that has none."""
    path = Path(path)
    if path.suffix == ".toml" or (path / "job.toml").is_file():
        return read_job(path)
    if not path.exists():
        raise DataUnreadable(f"{path} does not exist; name a folder of Parquet files, one file, or a job file")
    return parse_job({"name": "table", "data": {"path": str(path.resolve())}}, source=Path.cwd() / "job.toml")


def infer_schema(job: Job, partitions: tuple[Partition, ...]) -> Schema:
    """The schema of a table, judged by its first file that holds rows; keys of its folders are no columns."""
    footers = (read_footer(file) for partition in partitions for file in partition.files)
    footer = next((each for each in footers if each.rows), None) or read_footer(partitions[0].files[0])
    sample = pa.Table.from_batches(islice(slices([footer.path], None, rows=SAMPLE_ROWS), 1), schema=footer.schema)
    folders = {part.partition("=")[0] for partition in partitions for part in partition.name.split("/") if "=" in part}
    ignored = {name: ColumnSpec(kind="ignore") for name in folders & set(footer.schema.names) - set(job.columns)}
    return infer(footer.schema, job.model_copy(update={"columns": ignored | job.columns}), sample)


def refuse_faults(schema: Schema, files: Iterable[Path], source: str, *, need_labels: bool = False) -> None:
    """Raises SchemaMismatch of the source with every fault of every file, as `schema.faults` finds them."""
    found = [
        f"{file}: {fault}"
        for file in files
        for fault in faults(schema, read_footer(file).schema, need_labels=need_labels)
    ]
    if found:
        raise SchemaMismatch(source, found)


def _seen(partition: Partition) -> PartitionSeen:
    rows = sum(read_footer(file).rows for file in partition.files)
    size = sum(file.stat().st_size for file in partition.files)
    return PartitionSeen(partition=partition.name, files=len(partition.files), rows=rows, bytes=size)
