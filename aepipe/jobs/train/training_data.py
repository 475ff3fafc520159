"""Training data: read, filtered, split and encoded."""

import logging
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aepipe.config.job import Job
from aepipe.encoding import Arrays, Encoding, fit
from aepipe.errors import DataUnreadable, JobInvalid, SchemaMismatch
from aepipe.expressions.condition import Condition
from aepipe.inference.condition_bank import MOST_ROWS
from aepipe.jobs.ground_truth import label_rule
from aepipe.jobs.inspect import infer_schema, read_footers, refuse_training_faults
from aepipe.jobs.train.split import CALIBRATION, DEV, TRAIN, split
from aepipe.tables.parquet_reader import READ_ROWS, read_footer, slices
from aepipe.tables.partitions import Partition
from aepipe.tables.schema import did_you_mean
from aepipe.tables.schema_check import Schema

log = logging.getLogger(__name__)

FEWEST_ROWS = 20
_FORMS = 5
"""Copies of a row in memory: as read, filtered, encoded, and twice as network input."""
MOST_LABELLED = 200_000
OWN_OF_SCORES = frozenset(
    {"score", "p_value", "p_extrapolated", "is_anomaly", "invalid_reason", "predicted_class", "class_confidence"}
)
OWN_OF_SAMPLES = frozenset({"model_version", "seed"})


class TrainingData(NamedTuple):
    """Encoded rows of the three parts, and the source rows of the calibration part."""

    encoding: Encoding
    train: Arrays
    dev: Arrays
    calibration: Arrays
    calibration_rows: pa.Table
    labelled: Arrays
    """Labelled dev rows, and the anomalies that `[train] where` excludes. Empty if the job does not use labels, or has
    no [evaluate] anomaly."""
    is_anomaly: np.ndarray
    classed: "Classed | None"
    """Labels of `[score] classes`; None if the job has none."""
    conditions: pa.Table
    """The condition columns of at most 10,000 training rows, as in the source."""
    rows_read: int


class Classed(NamedTuple):
    """Class labels of the parts, and the encoded rows that `[train] where` excludes, with their labels."""

    train: pa.ChunkedArray
    dev: pa.ChunkedArray
    others: Arrays
    others_labels: pa.ChunkedArray


def read_training_data(job: Job, partitions: tuple[Partition, ...], *, as_codes: bool = False) -> TrainingData:
    """Read the rows that `[train]` selects, split 70 / 10 / 20, encoded by the statistics of the training part.

    Args:
        job: The job.
        partitions: Partitions to read.
        as_codes: Encode numbers as codes too, for a family that `takes_codes`; see `encoding.fit`.

    Raises:
        SchemaMismatch: Files do not fit the schema; lists every fault of every file.
        DataUnreadable: Fewer than 20 rows remain.
    """
    footers = read_footers(partitions)
    schema = infer_schema(job, partitions, footers)
    _refuse_reserved(schema)
    _refuse_unknown_columns(job, schema)
    refuse_training_faults(schema, footers)
    table, names, (anomalies, others) = _read(job, schema, partitions, additional=(_of_anomalies(job), _of_others(job)))
    if table.num_rows < FEWEST_ROWS:
        chosen = f" where {job.train.where}" if job.train.where else ""
        raise DataUnreadable(
            f"{job.data_path}{chosen} holds {table.num_rows} rows to learn from, {FEWEST_ROWS} needed; widen [train]"
        )
    parts = split(schema, table, partitions=names)
    encoding = fit(schema, table.filter(pa.array(parts == TRAIN)).to_batches(), as_codes=as_codes)
    rows = {part: _encode(encoding, table.filter(pa.array(parts == part))) for part in (TRAIN, DEV, CALIBRATION)}
    (train, learned), (dev, dev_rows), (calibration, source) = rows[TRAIN], rows[DEV], rows[CALIBRATION]
    labelled, is_anomaly = _labelled(job, encoding, dev_rows, anomalies)
    return TrainingData(
        encoding,
        train,
        dev,
        calibration,
        source,
        labelled,
        is_anomaly,
        classed=_classed(job, encoding, learned, dev_rows, others),
        conditions=_conditions(job, schema, learned),
        rows_read=table.num_rows,
    )


def _refuse_reserved(schema: Schema) -> None:
    """Raise SchemaMismatch if a column has the name of an output column."""
    taken = [
        name
        for name in schema.columns_read
        if name in OWN_OF_SAMPLES or (name in OWN_OF_SCORES and name in schema.carried)
    ]
    if taken:
        raise SchemaMismatch(
            "the table", [f"has a column '{name}', a name of the outputs: rename it" for name in taken]
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
    sampled = job.samples.condition
    for name in sorted(sampled.columns - set(schema.conditions)) if sampled is not None else ():
        hint = did_you_mean(name, schema.conditions) or '; name it as "condition" under [columns], or leave it out'
        faults.append(f"[samples] where: '{name}' is no condition{hint}")
    if faults:
        raise JobInvalid(str(job.source), faults)


def read_chosen(job: Job, schema: Schema, partitions: tuple[Partition, ...]) -> tuple[pa.Table, pa.Array]:
    """Read the selected rows and the partition of each; above `max_rows`, a uniform random sample."""
    read = _read(job, schema, partitions, additional=())
    return read.chosen, read.partitions


class _Read(NamedTuple):
    """Selected rows, the partition of each, and one table per additional condition."""

    chosen: pa.Table
    partitions: pa.Array
    additional: tuple[pa.Table, ...]


def _read(
    job: Job, schema: Schema, partitions: tuple[Partition, ...], *, additional: Sequence[Condition | None]
) -> _Read:
    """Read every row once; for each additional condition, keep the first 200,000 rows that satisfy it."""
    share = _share(job, schema, partitions)
    generator = np.random.default_rng(job.train.seed)
    tables: list[pa.RecordBatch] = []
    names: list[pa.Array] = []
    found: list[list[pa.RecordBatch]] = [[] for _ in additional]
    for partition, batch in _batches(job, schema, partitions):
        keep = _kept(job, batch, share, generator)
        chosen = batch.filter(keep) if keep is not None else batch
        tables.append(chosen)
        names.append(pa.repeat(partition.name, chosen.num_rows))
        for condition, held in zip(additional, found, strict=True):
            if condition is not None and sum(rows.num_rows for rows in held) < MOST_LABELLED:
                held.append(batch.filter(condition.mask(batch)))
    table = pa.Table.from_batches(tables)
    others = (pa.Table.from_batches(held, table.schema).slice(0, MOST_LABELLED) for held in found)
    return _Read(table, pa.concat_arrays(names), tuple(others))


def _share(job: Job, schema: Schema, partitions: tuple[Partition, ...]) -> float:
    """Return the sampling fraction for training; log a warning if it is below 1."""
    footers = [read_footer(file, schema.columns_read) for partition in partitions for file in partition.files]
    total = sum(footer.rows for footer in footers)
    row_bytes = _FORMS * max((footer.row_bytes for footer in footers), default=1)
    limits = {"max_rows": job.train.max_rows, "memory_mb": (job.train.memory_mb << 20) // max(1, row_bytes)}
    key = min(limits, key=limits.__getitem__)
    if limits[key] >= total:
        return 1.0
    share = limits[key] / total
    log.warning(
        "%s rows are more than [train] %s allows: %.1f %% of them are learned from", f"{total:,}", key, 100 * share
    )
    return share


def _batches(job: Job, schema: Schema, partitions: tuple[Partition, ...]) -> Iterator[tuple[Partition, pa.RecordBatch]]:
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
    if truth is None or others is None or not job.uses_labels:
        return None
    return truth.condition & others


def _of_others(job: Job) -> Condition | None:
    """Return the condition of rows that `[train] where` excludes; None without `[score] classes`."""
    return None if job.score.classes is None else _left_out(job)


def _left_out(job: Job) -> Condition | None:
    """Negate `[train] where`; rows where it is null satisfy neither."""
    return None if job.train.condition is None else ~job.train.condition


def _labelled(job: Job, encoding: Encoding, dev: pa.Table, anomalies: pa.Table) -> tuple[Arrays, np.ndarray]:
    """Encode the labelled rows that trained no weight; return them and whether each is an anomaly."""
    truth = label_rule(job)
    if truth is None or not job.uses_labels:
        return {}, np.zeros(0, np.bool_)
    arrays, rows = _encode(encoding, pa.concat_tables([dev, anomalies]).slice(0, MOST_LABELLED))
    known, is_anomaly = truth.of(rows)
    return ({name: array[known] for name, array in arrays.items()} if known.any() else {}), is_anomaly[known]


def _classed(job: Job, encoding: Encoding, train: pa.Table, dev: pa.Table, others: pa.Table) -> Classed | None:
    column = job.score.classes
    if column is None:
        return None
    arrays, rows = _encode(encoding, others)
    return Classed(train[column], dev[column], arrays, rows[column])


def _conditions(job: Job, schema: Schema, learned: pa.Table) -> pa.Table:
    rows = np.random.default_rng(job.train.seed).permutation(learned.num_rows)[:MOST_ROWS]
    return learned.select(schema.conditions).take(pa.array(np.sort(rows)))


def _encode(encoding: Encoding, table: pa.Table) -> tuple[Arrays, pa.Table]:
    """Encode rows and return them with their sources; log and drop rows that cannot be encoded."""
    encoded = encoding.encode_table(table, rows=READ_ROWS)
    fine = encoded.invalid == 0
    if fine.all():
        return encoded.arrays, table
    log.warning("%d rows to learn from are left out, they cannot be scored", int((~fine).sum()))
    return {name: array[fine] for name, array in encoded.arrays.items()}, table.filter(pa.array(fine))
