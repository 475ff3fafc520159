"""Training rows: read, filtered, and split into training, dev and calibration rows."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aepipe.config.job import Job
from aepipe.errors import DataUnreadable, JobInvalid, SchemaMismatch, did_you_mean
from aepipe.expressions.condition import Condition
from aepipe.inference.output_schema import OWN_OF_SAMPLES, SCORE_NAMES
from aepipe.jobs.ground_truth import label_rule
from aepipe.jobs.inspect import infer_schema, read_footers, refuse_training_faults
from aepipe.jobs.train.column_warnings import column_warnings
from aepipe.jobs.train.split import CALIBRATION, DEV, TRAIN, split
from aepipe.tables.parquet_reader import READ_ROWS, Footer, read_footer, slices
from aepipe.tables.partitions import Partition
from aepipe.tables.schema_check import Schema

log = logging.getLogger(__name__)

FEWEST_ROWS = 20
MOST_LABELLED = 200_000
_FORMS = 5
"""Copies of a row in memory: as read, filtered, encoded, and twice as network input."""


class Origins(NamedTuple):
    """Partition of each training and calibration row, as a number."""

    train: NDArray[np.int32]
    calibration: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """Source rows that `[train]` selects, by part, and labelled rows that it excludes."""

    schema: Schema
    train: pa.Table
    dev: pa.Table
    calibration: pa.Table
    anomalies: pa.Table
    """Excluded rows that `[evaluate] anomaly` marks; empty if the job does not use labels."""
    others: pa.Table
    """Excluded rows, for `[score] classes`; empty without it."""
    per_partition: float
    """Mean number of rows of a partition, before `[train]` selects."""
    warnings: tuple[str, ...] = ()
    """What a user should know about the columns."""
    origins: Origins | None = None
    """None if the rows do not come from partitions."""

    @property
    def total(self) -> int:
        """Number of rows of the three parts."""
        return sum(part.num_rows for part in (self.train, self.dev, self.calibration))


def read_training_rows(job: Job, partitions: tuple[Partition, ...]) -> TrainingRows:
    """Read the rows that `[train]` selects and split them 70 / 10 / 20.

    Args:
        job: The job.
        partitions: Partitions to read.

    Raises:
        SchemaMismatch: Files do not fit the schema; lists every fault of every file.
        JobInvalid: A condition of the job names an unknown column.
        DataUnreadable: Fewer than 20 rows remain.
    """
    footers = read_footers(partitions)
    schema = infer_schema(job, partitions, footers)
    refuse_reserved(schema)
    _refuse_unknown_columns(job, schema)
    refuse_training_faults(schema, footers)
    conditions = (_of_anomalies(job), None if job.score.classes is None else _left_out(job))
    table, names, (anomalies, others) = _read(job, schema, partitions, footers, additional=conditions)
    if table.num_rows < FEWEST_ROWS:
        chosen = f" where {job.train.where}" if job.train.where else ""
        raise DataUnreadable(
            f"{job.data_path}{chosen} has too few training rows: expected at least {FEWEST_ROWS}, got "
            f"{table.num_rows}. Add rows, or choose more by [train] from, to and where."
        )
    parts = split(schema, table, partitions=names)
    train, dev, calibration = (table.filter(pa.array(parts == part)) for part in (TRAIN, DEV, CALIBRATION))
    numbers = names.dictionary_encode().indices.to_numpy().astype(np.int32)
    origins = Origins(numbers[parts == TRAIN], numbers[parts == CALIBRATION])
    per_partition = sum(footer.rows for footer in footers) / len(partitions)
    warnings = column_warnings(job, schema, table, partitions, footers)
    for warning in warnings:
        log.warning("%s", warning)
    return TrainingRows(schema, train, dev, calibration, anomalies, others, per_partition, warnings, origins)


def refuse_reserved(schema: Schema) -> None:
    """Raise SchemaMismatch if a column that is not a label has the name of an output column."""
    copied = set(schema.carried) - set(schema.labels)
    taken = [name for name in schema.columns_read if name in OWN_OF_SAMPLES or (name in SCORE_NAMES and name in copied)]
    if taken:
        raise SchemaMismatch(
            "the table",
            [
                f"has a column '{name}', a name of the outputs: rename it"
                + ("" if name in schema.carried else f", or set {name} to ignore under [columns]")
                for name in taken
            ],
        )


def _refuse_unknown_columns(job: Job, schema: Schema) -> None:
    """Raise JobInvalid if a condition names an unknown column, before training rather than after."""
    known = {column.name for column in schema.columns}
    conditions = {"[train] where": job.train.condition, "[evaluate] anomaly": job.evaluate.anomaly_condition}
    faults = []
    for key, condition in conditions.items():
        for name in sorted(condition.columns - known) if condition is not None else ():
            faults.append(f"{key}: the table has no column '{name}'{did_you_mean(name, known)}")
    classes = job.score.classes
    if classes is not None and classes not in schema.labels:
        hint = did_you_mean(classes, schema.labels) or ": name it under [data] labels"
        faults.append(f"[score] classes: '{classes}' is no label of the table{hint}")
    drawn = (*(column.name for column in schema.modelled), *(schema.labels if job.samples.labels else ()))
    sampled = job.samples.condition
    for name in sorted(sampled.columns - set(drawn)) if sampled is not None else ():
        hint = did_you_mean(name, drawn, listed=20)
        if name in schema.labels:
            hint = ": it is a label. Set labels = true under [samples] to sample it."
        faults.append(f"[samples] where: '{name}' is not a column of synthetic rows{hint}")
    faults += _faults_of_labels(job, schema)
    if faults:
        raise JobInvalid(str(job.source), faults)


def _faults_of_labels(job: Job, schema: Schema) -> list[str]:
    if not job.samples.labels:
        return []
    if not schema.labels:
        return ["[samples] labels: the table has no labels: name them under [data] labels, or leave it out"]
    if schema.described and schema.described[0].kind in ("image", "series"):
        return [f"[samples] labels: expected a table, got a column of kind {schema.described[0].kind}. Leave it out."]
    return []


def read_chosen(job: Job, schema: Schema, partitions: tuple[Partition, ...]) -> tuple[pa.Table, pa.Array]:
    """Read the selected rows and the partition of each; above `max_rows`, a uniform random sample."""
    read = _read(job, schema, partitions, read_footers(partitions), additional=())
    return read.chosen, read.partitions


class _Read(NamedTuple):
    """Selected rows, the partition of each, and one table per additional condition."""

    chosen: pa.Table
    partitions: pa.Array
    additional: tuple[pa.Table, ...]


def _read(
    job: Job,
    schema: Schema,
    partitions: tuple[Partition, ...],
    footers: Sequence[Footer],
    *,
    additional: Sequence[Condition | None],
) -> _Read:
    """Read every row once; for each additional condition, keep the first 200,000 rows that satisfy it."""
    share = _share(job, schema, partitions, footers)
    generator = np.random.default_rng(job.train.seed)
    tables: list[pa.RecordBatch] = []
    names: list[pa.Array] = []
    found: list[list[pa.RecordBatch]] = [[] for _ in additional]
    for partition, batch in training_batches(job, schema, partitions):
        keep = _kept(job, batch, share, generator)
        chosen = batch.filter(keep) if keep is not None else batch
        tables.append(chosen)
        names.append(pa.repeat(partition.name, chosen.num_rows))
        for condition, held in zip(additional, found, strict=True):
            if condition is not None and sum(rows.num_rows for rows in held) < MOST_LABELLED:
                held.append(batch.filter(condition.mask(batch)))
    if not tables:
        raise DataUnreadable(
            f"{job.data_path} has no rows in the training partitions, {partitions[0].name} to {partitions[-1].name}. "
            "Choose partitions with rows by [train] from and to."
        )
    table = pa.Table.from_batches(tables)
    others = (pa.Table.from_batches(held, table.schema).slice(0, MOST_LABELLED) for held in found)
    return _Read(table, pa.concat_arrays(names), tuple(others))


def _share(job: Job, schema: Schema, partitions: Sequence[Partition], footers: Sequence[Footer]) -> float:
    """Return the sampling fraction for training, of the rows that satisfy `[train] where`; warn if it is below 1."""
    total = sum(footer.rows for footer in footers)
    limits = _limits(job, footers)
    condition = job.train.condition
    if condition is not None and min(limits.values()) < total:
        masks = (
            condition.mask(batch)
            for partition in partitions
            for batch in slices(partition.files, sorted(condition.columns), rows=READ_ROWS, schema=schema.arrow)
        )
        total = sum(mask.true_count for mask in masks)
    if min(limits.values()) < total:  # sizes of all columns: read again with the sizes of the columns that are read
        limits = _limits(job, [read_footer(footer.path, schema.columns_read) for footer in footers])
    key = min(limits, key=limits.__getitem__)
    if limits[key] >= total:
        return 1.0
    share = limits[key] / total
    log.warning(
        "%s rows are more than [train] %s allows: %.1f %% of them are learned from", f"{total:,}", key, 100 * share
    )
    return share


def _limits(job: Job, footers: Sequence[Footer]) -> dict[str, int]:
    """Return the maximum number of rows by the key of [train] that sets it."""
    row_bytes = _FORMS * max((footer.row_bytes for footer in footers), default=1)
    return {"max_rows": job.train.max_rows, "memory_mb": (job.train.memory_mb << 20) // max(1, row_bytes)}


def training_batches(
    job: Job, schema: Schema, partitions: Sequence[Partition]
) -> Iterator[tuple[Partition, pa.RecordBatch]]:
    """Yield the rows of the partitions with the columns of the schema and of the job's conditions."""
    columns = list(schema.columns_read)
    for condition in (job.train.condition, job.evaluate.anomaly_condition if job.uses_labels else None):
        columns += sorted(condition.columns - set(columns)) if condition is not None else ()
    for partition in partitions:
        for batch in slices(partition.files, columns, rows=READ_ROWS, schema=schema.arrow):
            yield partition, batch


def _kept(job: Job, batch: pa.RecordBatch, share: float, generator: np.random.Generator) -> pa.Array | None:
    keep = None if job.train.condition is None else job.train.condition.mask(batch)
    if share < 1:
        drawn = pa.array(generator.random(batch.num_rows) < share)
        keep = drawn if keep is None else pc.and_(keep, drawn)
    return keep


def _of_anomalies(job: Job) -> Condition | None:
    """Return the condition of anomalies that `[train] where` excludes; None if labels are not used."""
    truth, others = label_rule(job), _left_out(job)
    if truth is None or truth.condition is None or others is None or not job.uses_labels:
        return None
    return truth.condition & others


def _left_out(job: Job) -> Condition | None:
    """Negate `[train] where`; rows where it is null satisfy neither."""
    return None if job.train.condition is None else ~job.train.condition
