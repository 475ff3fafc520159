"""Training data: the rows of the three parts, encoded by the statistics of the training part."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe.config.job import Job
from aepipe.encoding import Arrays, Encoding, fit
from aepipe.encoding.number_statistics import FAR, far_rows
from aepipe.inference.condition_bank import MOST_ROWS
from aepipe.jobs.ground_truth import label_rule
from aepipe.jobs.train.training_rows import MOST_LABELLED, Origins, TrainingRows, read_training_rows
from aepipe.tables.parquet_reader import READ_ROWS
from aepipe.tables.partitions import Partition

log = logging.getLogger(__name__)

_PARTITION = "\0partition"
"""Column of the number of each row's partition while rows are encoded."""


@dataclass(frozen=True, slots=True)
class Classed:
    """Class labels of the parts, and the encoded rows that `[train] where` excludes, with their labels."""

    train: pa.ChunkedArray
    dev: pa.ChunkedArray
    others: Arrays
    others_labels: pa.ChunkedArray


@dataclass(frozen=True, slots=True)
class LabelCodes:
    """Codes of the labels of training and dev rows, int32 (B, L) each."""

    train: np.ndarray
    dev: np.ndarray


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Encoded rows of the three parts, and the source rows of the calibration part."""

    encoding: Encoding
    train: Arrays
    dev: Arrays
    calibration: Arrays
    calibration_rows: pa.Table
    labelled: Arrays
    """Labelled dev rows, and the anomalies that `[train] where` excludes. Empty if the job does not use labels, or has
    no [evaluate] anomaly."""
    labelled_rows: pa.Table
    """Source rows of `labelled`."""
    is_anomaly: np.ndarray
    classed: Classed | None
    """Labels of `[score] classes`; None if the job has none."""
    conditions: pa.Table
    """The condition columns of at most 10,000 training rows, as in the source."""
    rows_read: int
    label_codes: LabelCodes | None = None
    """Labels that are modelled for samples; None if the job does not ask for them."""
    origins: Origins | None = None
    """Partitions of the encoded rows; None if the rows do not come from partitions."""
    train_rows: pa.Table = field(kw_only=True)
    """Source rows of the training part."""
    counted: tuple[Arrays, ...] = ()
    """Rows of the three parts, by the codes that synthetic rows have their values from; empty without codes."""

    @property
    def counts(self) -> dict[str, int]:
        """Number of encoded rows by part."""
        return {part: rows_of(getattr(self, part)) for part in ("train", "dev", "calibration")}


def rows_of(arrays: Arrays) -> int:
    """Return the number of rows of encoded arrays."""
    return len(next(iter(arrays.values())))


def read_training_data(job: Job, partitions: tuple[Partition, ...], *, as_codes: bool = False) -> TrainingData:
    """Read, split and encode the rows that `[train]` selects; see `read_training_rows` and `encode_rows`."""
    return encode_rows(job, read_training_rows(job, partitions), as_codes=as_codes)


def encode_rows(job: Job, rows: TrainingRows, *, as_codes: bool = False) -> TrainingData:
    """Fit the encoding on the training part and encode all parts.

    Which code a value has is fitted on the training part alone, so that calibration rows are encoded as new rows are.
    What a code is decoded to in synthetic rows is learned column by column from all parts, or the outliers of
    every third row would never be drawn.

    Args:
        job: The job.
        rows: Source rows of the parts.
        as_codes: Encode numbers as codes too, for a family that `takes_codes`; see `encoding.fit`.
    """
    encoding = fit(rows.schema, rows.train.to_batches(), as_codes=as_codes, with_labels=job.samples.labels)
    if as_codes:
        parts = (rows.train, rows.dev, rows.calibration)
        encoding = encoding.with_values(batch for part in parts for batch in part.to_batches())
    of_train, of_calibration = (None, None) if rows.origins is None else rows.origins
    train, learned, of_train = _encode_part(encoding, rows.train, of_train)
    dev, dev_rows, _ = _encode_part(encoding, rows.dev)
    calibration, calibration_rows, of_calibration = _encode_part(encoding, rows.calibration, of_calibration)
    labelled, labelled_rows, is_anomaly = _labelled(job, encoding, dev_rows, rows.anomalies)
    drawn = np.random.default_rng(job.train.seed).permutation(learned.num_rows)[:MOST_ROWS]
    return TrainingData(
        encoding,
        train,
        dev,
        calibration,
        calibration_rows,
        labelled,
        labelled_rows,
        is_anomaly,
        classed=_classed(job, encoding, learned, dev_rows, rows.others),
        conditions=learned.select(rows.schema.conditions).take(pa.array(np.sort(drawn))),
        rows_read=rows.total,
        label_codes=LabelCodes(*map(encoding.encode_labels, (learned, dev_rows))) if encoding.labels else None,
        origins=None if of_train is None or of_calibration is None else Origins(of_train, of_calibration),
        train_rows=learned,
        counted=(train, *_counted(encoding, rows)) if as_codes else (),
    )


def _counted(encoding: Encoding, rows: TrainingRows) -> Iterator[Arrays]:
    """Encode dev and calibration rows so that values beyond the training values have codes that decode to them."""
    widened = encoding.widened()
    for part in (rows.dev, rows.calibration):
        encoded = widened.encode_table(part, rows=READ_ROWS)
        yield {name: array[encoded.invalid == 0] for name, array in encoded.arrays.items()}


def _encode_part(
    encoding: Encoding, table: pa.Table, partitions: NDArray[np.int32] | None = None
) -> tuple[Arrays, pa.Table, NDArray[np.int32] | None]:
    """Encode rows and return them with their sources and partitions; log and drop rows that cannot be used."""
    if partitions is None:
        return *_without_far_rows(encoding, *_encode(encoding, table)), None
    numbered = table.append_column(_PARTITION, pa.array(partitions))
    arrays, kept = _without_far_rows(encoding, *_encode(encoding, numbered))
    return arrays, kept.drop_columns([_PARTITION]), kept[_PARTITION].to_numpy()


def _without_far_rows(encoding: Encoding, arrays: Arrays, table: pa.Table) -> tuple[Arrays, pa.Table]:
    """Log and drop rows with a number so far from the others that its loss alone would steer the training."""
    rows, columns = far_rows(encoding.layout.numbers, arrays.get("num"))
    if not columns:
        return arrays, table
    log.warning(
        "%s training rows are left out because a number is %.0e times farther from the others than usual: %s",
        f"{int(rows.sum()):,}",
        FAR,
        ", ".join(f"'{name}'" for name in columns[:5]),
    )
    return {name: array[~rows] for name, array in arrays.items()}, table.filter(pa.array(~rows))


def _labelled(job: Job, encoding: Encoding, dev: pa.Table, anomalies: pa.Table) -> tuple[Arrays, pa.Table, np.ndarray]:
    """Encode the labelled rows that trained no weight; return them, their sources, and whether each is an anomaly."""
    truth = label_rule(job)
    if truth is None or not job.uses_labels:
        return {}, dev.slice(0, 0), np.zeros(0, np.bool_)
    arrays, rows = _encode(encoding, pa.concat_tables([dev, anomalies]).slice(0, MOST_LABELLED))
    known, is_anomaly = truth.of(rows)
    found = {name: array[known] for name, array in arrays.items()} if known.any() else {}
    return found, rows.filter(pa.array(known)), is_anomaly[known]


def _classed(job: Job, encoding: Encoding, train: pa.Table, dev: pa.Table, others: pa.Table) -> Classed | None:
    column = job.score.classes
    if column is None:
        return None
    arrays, rows = _encode(encoding, others)
    return Classed(train[column], dev[column], arrays, rows[column])


def _encode(encoding: Encoding, table: pa.Table) -> tuple[Arrays, pa.Table]:
    """Encode rows and return them with their sources; log and drop rows that cannot be encoded."""
    encoded = encoding.encode_table(table, rows=READ_ROWS)
    fine = encoded.invalid == 0
    if fine.all():
        return encoded.arrays, table
    log.warning(
        "%s training rows are left out because they cannot be encoded: %s",
        f"{int((~fine).sum()):,}",
        encoding.describe_invalid(encoded.invalid),
    )
    return {name: array[fine] for name, array in encoded.arrays.items()}, table.filter(pa.array(fine))
