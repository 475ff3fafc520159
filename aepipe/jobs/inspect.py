"""Inspect a table: partitions and the inferred kind of each column."""

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from aepipe.config.job import ColumnSpec, Job, parse_job, read_job
from aepipe.errors import ArgumentInvalid, DataUnreadable, SchemaMismatch
from aepipe.jobs.column_roles import SampledGroups, readable_columns
from aepipe.jobs.contract.check import choose_table, contract_faults, read_contract
from aepipe.jobs.results import Result
from aepipe.jobs.role_warnings import constant_note, kind_warnings
from aepipe.stores.table_url import TableUrl, source_path
from aepipe.tables.column_statistics import null_counts
from aepipe.tables.kind_inference import IGNORE
from aepipe.tables.open_files import files_opened_once
from aepipe.tables.parquet_reader import Footer, read_footer, readable_footers, spread_rows
from aepipe.tables.partitions import Partition, discover
from aepipe.tables.schema_check import Column, Schema, extra_columns, faults, infer
from aepipe.tables.struct_fields import struct_of_field
from aepipe.tables.unification import unify_with_faults

log = logging.getLogger(__name__)

SAMPLE_ROWS = 10_000
SAMPLE_FILES = 8


class PartitionSeen(Result):
    """Partition on disk."""

    partition: str
    files: int
    rows: int
    bytes: int


class Inspection(Result):
    """Result of `aepipe inspect`."""

    columns: tuple[Column, ...]
    partitions: tuple[PartitionSeen, ...]
    notes: tuple[str, ...]
    contract_faults: tuple[str, ...] | None = None
    """what breaks the contract; None without a contract"""
    missing: dict[str, int]
    """missing values by column; a column whose files do not state them is absent"""


@files_opened_once()
def inspect(path: str | Path, *, contract: Path | None = None, table: str | None = None) -> Inspection:
    """Inspect the table of a job, or Parquet files or another table without a job.

    Args:
        path: job file, Parquet file or folder, or address of a Delta or Iceberg table.
        contract: data contract to check the table against; None: none.
        table: table of the contract; None: its only one, or the one that is named as the folder or the job.

    Raises:
        DataUnreadable: there is no Parquet at `path`.
        SchemaMismatch: a column cannot be modelled.
        ArgumentInvalid: the contract cannot be read, or has no such table.
    """
    job = job_for(path)
    wanted = None
    if contract is not None:
        wanted = choose_table(read_contract(contract), (job.data_path.name, job.name), table=table)
    elif table is not None:
        raise ArgumentInvalid("table", ["expected a contract that has the table, got none. Name the contract"])
    partitions = discover(job)
    footers, unreadable = usable_footers(partitions)
    schema = infer_schema(job, partitions, footers, to_train=False)
    of_path = {footer.path: footer for footer in footers}
    notes = []
    for partition in partitions:
        notes += [f"{partition.name}: {partition.misplaced}"] if partition.misplaced else []
        notes += [f"{partition.name}: {unreadable[file]}" for file in partition.files if file in unreadable]
        for file in (file for file in partition.files if file in of_path):
            arrow = of_path[file].schema
            notes += [f"{partition.name}: {fault}" for fault in faults(schema, arrow)]
            notes += [f"{partition.name}: extra column '{name}' is ignored" for name in extra_columns(schema, arrow)]
    notes += [*column_gaps(footers, schema), *kind_warnings(job, schema)]
    of_kind = {column.name: column.kind for column in schema.columns}
    groups = SampledGroups(partitions, footers, readable_columns(schema))
    notes += [
        f"column '{drift.column}' {drift.sentence}: set it to ignore under [columns], or name it under [data] keys"
        for drift in groups.drift()
        if of_kind[drift.column] not in ("key", "label", "ignore")
    ]
    constant = (name for name in groups.constants() if of_kind[name] not in ("key", "label", "ignore"))
    notes += constant_note(constant)
    seen = tuple(
        PartitionSeen(
            partition=partition.name,
            files=len(partition.files),
            rows=sum(of_path[file].rows for file in partition.files if file in of_path),
            bytes=sum(file.stat().st_size for file in partition.files if file in of_path),
        )
        for partition in partitions
    )
    return Inspection(
        columns=schema.columns,
        partitions=seen,
        notes=tuple(notes),
        missing=null_counts(footers),
        contract_faults=None if wanted is None else contract_faults(wanted, footers),
    )


def job_for(path: str | Path) -> Job:
    """Read the job file, or build a default job for Parquet, or a Delta or Iceberg table, without one."""
    path = source_path(path)
    if isinstance(path, TableUrl):
        return parse_job({"name": "table", "data": {"path": str(path)}}, source=Path.cwd() / "job.toml")
    if path.suffix == ".toml" or (path / "job.toml").is_file():
        return read_job(path)
    if not path.exists():
        raise DataUnreadable(f"{path} does not exist. Name a folder of Parquet files, one file, or a job file.")
    return parse_job({"name": "table", "data": {"path": str(path.resolve())}}, source=Path.cwd() / "job.toml")


def read_footers(partitions: Sequence[Partition]) -> list[Footer]:
    """Read the footer of every file, in order. Raises DataUnreadable."""
    return [read_footer(file) for partition in partitions for file in partition.files]


def usable_footers(partitions: Sequence[Partition]) -> tuple[list[Footer], dict[Path, str]]:
    """Read the footers of all files that can be opened, and return what is wrong with each of the others.

    Raises:
        DataUnreadable: no file can be opened.
    """
    footers, faults = readable_footers(file for partition in partitions for file in partition.files)
    if not footers:
        raise DataUnreadable(next(iter(faults.values())))
    return footers, faults


def infer_schema(
    job: Job,
    partitions: Sequence[Partition],
    footers: Sequence[Footer],
    *,
    to_train: bool = True,
    to_propose: bool = False,
) -> Schema:
    """Infer the schema of a table from the footers of all its files and rows of up to eight of them.

    Types that differ between files are unified. A column of the newest file counts as there although older files may
    lack it; a column that the newest file lacks is left out. Keys of folders are not columns.

    Args:
        job: the job.
        partitions: partitions of the table.
        footers: their footers, from `read_footers`.
        to_train: refuse a table that no model can be trained on; False ignores columns whose types have no common type.
        to_propose: propose kinds that depend on the values, as `infer` does.

    Raises:
        SchemaMismatch: a column cannot be what the job names it; to train also: types of a column have no common type,
            or there is no column to model.
    """
    filled = [footer for footer in footers if footer.rows] or footers[:1]
    arrow, unreadable = unify_with_faults([(str(footer.path), footer.schema) for footer in filled])
    arrow = pa.schema([field for field in arrow if field.name in filled[-1].schema.names], metadata=arrow.metadata)
    ignored_by_job = {name for name, spec in job.columns.items() if spec.kind == "ignore"}
    refused = {name: fault for name, fault in unreadable.items() if name not in ignored_by_job}
    if refused and to_train:
        roles = {*job.data.carried, *(() if job.series is None else job.series.entity)}  # these cannot be ignored
        remedies = (f if name in roles else f"{f.rstrip('.')}, or {IGNORE}." for name, f in refused.items())
        raise SchemaMismatch("the files differ:", list(dict.fromkeys(remedies)))
    folders = {part.partition("=")[0] for partition in partitions for part in partition.name.split("/") if "=" in part}
    ignored = {name: ColumnSpec(kind="ignore") for name in folders & set(arrow.names) - set(job.columns)}
    job = job.model_copy(update={"columns": ignored | job.columns})
    return infer(
        arrow,
        job,
        _sampled(arrow, filled, unreadable, to_train=to_train),
        unreadable=unreadable,
        to_train=to_train,
        to_propose=to_propose,
    )


def _sampled(arrow: pa.Schema, footers: Sequence[Footer], unreadable: Collection[str], *, to_train: bool) -> pa.Table:
    """Read rows that lie apart, `SAMPLE_ROWS` in all, of files that lie apart; structs by their fields alone."""
    files = min(SAMPLE_FILES, len(footers))
    chosen = [footers[(2 * index + 1) * len(footers) // (2 * files)] for index in range(files)]
    rows = SAMPLE_ROWS // files
    tops = struct_of_field(arrow)
    schema = pa.schema(
        field
        for field in arrow
        if field.name not in unreadable
        and tops.get(field.name) not in unreadable
        and not pa.types.is_struct(field.type)
    )
    tables = [schema.empty_table()]
    for footer in chosen:
        try:
            tables.append(spread_rows(footer.path, rows, schema))
        except DataUnreadable as error:
            if to_train:
                raise
            log.warning("%s", error)
    return pa.concat_tables(tables)


def column_gaps(footers: Sequence[Footer], schema: Schema) -> Iterator[str]:
    """Yield a sentence for each column that some files lack or have without a value, and what becomes of it.

    Training refuses a column that a file lacks after an earlier one had it, unless the schema does not read it.
    """
    filled = [footer for footer in footers if footer.rows]
    if all(footer.schema.equals(filled[0].schema) for footer in filled):
        return
    types = [dict(zip(footer.schema.names, footer.schema.types, strict=True)) for footer in filled]
    for name in dict.fromkeys(name for found in types for name in found):
        lacking = [footer.path for footer, found in zip(filled, types, strict=True) if name not in found]
        before = next(index for index, found in enumerate(types) if name in found)
        if name in types[-1] and lacking[:before]:
            yield f"column '{name}' is missing from {_some_of(lacking[:before])}: its rows count as missing there"
        if name in types[-1] and lacking[before:] and name in schema.columns_read:
            yield (
                f"column '{name}' is missing from {_some_of(lacking[before:])}, but not from earlier files: training "
                f"would refuse them. Restore the column, or set {name} to ignore under [columns]"
            )
        elif lacking and name not in types[-1]:
            yield f"column '{name}' is missing from the newest file, {filled[-1].path}: it is not used"
        empty = [footer.path for footer, found in zip(filled, types, strict=True) if found.get(name) == pa.null()]
        if name in types[-1] and empty and len(empty) + len(lacking) < len(filled):
            yield f"column '{name}' is null throughout {_some_of(empty)}"


def _some_of(paths: Sequence[Path]) -> str:
    return str(paths[0]) if len(paths) == 1 else f"{len(paths)} files, the first {paths[0]}"


def refuse_faults(schema: Schema, files: Iterable[Path], source: str) -> None:
    """Refuse files that do not fit the schema of a model, as `schema_check.faults` finds them.

    Args:
        schema: the columns wanted.
        files: Parquet files.
        source: what the files are, for the message.

    Raises:
        SchemaMismatch: with every fault of every file.
    """
    found = [f"{file}: {fault}" for file in files for fault in faults(schema, read_footer(file).schema)]
    if found:
        raise SchemaMismatch(source, found)


def refuse_training_faults(schema: Schema, footers: Iterable[Footer]) -> None:
    """Refuse training files, in order, that lack a key, a label, or a modelled column that an earlier file has.

    Types were unified by `infer_schema`.

    Raises:
        SchemaMismatch: with every fault of every file.
    """
    found: list[str] = []
    known: set[str] = set()
    for footer in footers:
        names = set(footer.schema.names)
        of_file = faults(schema, footer.schema, need_labels=True, modelled=False)
        found += [f"{footer.path} {fault}" for fault in of_file]
        found += [
            f"{footer.path} has no column '{column.name}' ({column.type}), which earlier files have. Restore it, or "
            f"set {column.name} to ignore under [columns]."
            for column in schema.modelled
            if column.name in known and column.name not in names
        ]
        known |= names
    if found:
        raise SchemaMismatch("training files do not fit together:", found)
