"""What a scored row looks like in Parquet: the columns of `scores` and of `features`."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe.layout import Port
from aepipe.tables.arrow_arrays import array_of, texts_of

TEXT = pa.dictionary(pa.int32(), pa.string())


class Predictions(NamedTuple):
    """What is known of B rows. Scores, p-values and latents of invalid rows mean nothing."""

    features: tuple[NDArray[np.generic], ...]
    """(B, n) each: latents, pooled ones"""
    score: NDArray[np.generic]
    """(B,) float32"""
    reason: NDArray[np.generic]
    """(B, k) int32, indices into the names of reasons, the strongest first"""
    reason_z: NDArray[np.generic]
    """(B, k) float32"""
    p_value: NDArray[np.float64]
    """(B,)"""
    p_extrapolated: NDArray[np.bool_]
    """(B,), whether p_value lies below what the calibration rows can show; false for invalid rows"""
    is_anomaly: NDArray[np.bool_]
    """(B,), false for invalid rows"""
    predicted: NDArray[np.generic]
    """(B, 1) int32, indices into the names of classes and unknown; of no width without classes"""
    confidence: NDArray[np.generic]
    """(B, 1) float32, of the class, or of no width"""
    invalid: NDArray[np.int16]
    """(B,), 0 for rows that are scored, else an index into the reasons why not"""


class Sheet:
    """One table of the outputs: columns carried through, then its own, then the model that made it.

    carried: fields of the source. own: fields that the model answers.
    """

    def __init__(self, carried: Sequence[pa.Field], own: Sequence[pa.Field], *, model_version: str) -> None:
        self.carried = [field.name for field in carried]
        self.schema = pa.schema([*_plain(carried), *own, pa.field("model_version", TEXT)])
        self._version = texts_of([model_version])

    def rows(self, carried: Mapping[str, pa.Array], own: Sequence[pa.Array]) -> pa.RecordBatch:
        """The rows whose carried and own columns these are."""
        model_version_column = pa.DictionaryArray.from_arrays(
            array_of(np.zeros(len(own[0]), np.int32), pa.int32()), self._version
        )
        return pa.RecordBatch.from_arrays(
            [*(carried[name] for name in self.carried), *own, model_version_column], schema=self.schema
        )


def score_fields(reasons: int, *, classes: bool) -> list[pa.Field]:
    """The columns of a score with this many reasons, and with a class or without."""
    ranks = range(1, reasons + 1)
    return [
        pa.field("score", pa.float32()),
        pa.field("p_value", pa.float64()),
        pa.field("p_extrapolated", pa.bool_()),
        pa.field("is_anomaly", pa.bool_()),
        *(pa.field(f"reason_{rank}", TEXT) for rank in ranks),
        *(pa.field(f"reason_{rank}_z", pa.float32()) for rank in ranks),
        *([pa.field("predicted_class", TEXT), pa.field("class_confidence", pa.float32())] if classes else []),
        pa.field("invalid_reason", pa.string()),
    ]


def score_columns(
    answers: Predictions, *, reason_names: pa.Array, class_names: pa.Array, invalid_reasons: pa.Array
) -> list[pa.Array]:
    """The columns of `score_fields`. Rows that cannot be scored are null, not flagged, and say why."""
    invalid = _invalid(answers)
    ranks = range(answers.reason.shape[1])
    reasons = [_column(answers.reason[:, rank], invalid) for rank in ranks]
    classes = [_column(predicted, invalid) for predicted in answers.predicted.T]
    return [
        _column(answers.score, invalid),
        _column(answers.p_value, invalid),
        array_of(answers.p_extrapolated, pa.bool_()),
        array_of(answers.is_anomaly, pa.bool_()),
        *(pa.DictionaryArray.from_arrays(codes, reason_names) for codes in reasons),
        *(_column(answers.reason_z[:, rank], invalid) for rank in ranks),
        *(pa.DictionaryArray.from_arrays(codes, class_names) for codes in classes),
        *(_column(confidence, invalid) for confidence in answers.confidence.T),
        _invalid_reason(answers.invalid, invalid, invalid_reasons),
    ]


def feature_fields(ports: Mapping[str, Port], names: Mapping[str, Sequence[str]]) -> list[pa.Field]:
    """A column for each feature. names: of the columns, by the port that holds them."""
    types = {output: pa.from_numpy_dtype(np.dtype(ports[output].dtype)) for output in names}
    return [pa.field(name, types[output]) for output, columns in names.items() for name in columns]


def feature_columns(answers: Predictions) -> list[pa.Array]:
    """The columns of `feature_fields`, null for rows that cannot be scored."""
    invalid = _invalid(answers)
    return [_column(values, invalid) for features in answers.features for values in features.T]


def _plain(fields: Sequence[pa.Field]) -> list[pa.Field]:
    return [pa.field(field.name, field.type) for field in fields]


def _invalid(answers: Predictions) -> NDArray[np.bool_] | None:
    """Which rows are null; None where none is, so that columns need not be copied."""
    return answers.invalid != 0 if answers.invalid.any() else None


def _column(values: NDArray[np.generic], invalid: NDArray[np.bool_] | None) -> pa.Array:
    return array_of(values, pa.from_numpy_dtype(values.dtype), invalid)


def _invalid_reason(codes: NDArray[np.int16], invalid: NDArray[np.bool_] | None, reasons: pa.Array) -> pa.Array:
    if invalid is None:
        return pa.nulls(len(codes), pa.string())
    return reasons.take(array_of(codes, pa.int16(), ~invalid))
