"""Columns of `scores` of a series job: one row per row of the source."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe.inference.output_schema import FLAG, TEXT
from aepipe.tables.arrow_arrays import array_of, texts_of

_COLUMNS = (
    pa.field("score", pa.float32()),
    pa.field("p_value", pa.float64()),
    pa.field("p_extrapolated", pa.bool_()),
    pa.field(FLAG, pa.bool_()),
    pa.field("channel", TEXT),
    pa.field("windows", pa.int32()),
    pa.field("invalid_reason", pa.string()),
)


@dataclass(frozen=True, slots=True)
class PointPredictions:
    """Predictions of R rows of a long table."""

    score: NDArray[np.float32]
    """(R,) mean score of the windows that contain the point; NaN without one"""
    p_value: NDArray[np.float64]
    p_extrapolated: NDArray[np.bool_]
    is_anomaly: NDArray[np.bool_]
    channel: NDArray[np.int64]
    """(R,) index into `channels` for flagged points, else -1"""
    windows: NDArray[np.int32]
    """(R,) number of windows that contain the point"""
    reason: NDArray[np.int64]
    """(R,) index into `reasons`, 0 for points with a score"""
    channels: Sequence[str]
    reasons: Sequence[str]


def point_schema(passthrough: Sequence[pa.Field]) -> pa.Schema:
    """Return the schema of scores: passthrough columns, the columns of a point, and the version of the model."""
    fields = [pa.field(field.name, field.type) for field in passthrough]
    return pa.schema([*fields, *_COLUMNS, pa.field("model_version", TEXT)])


def point_columns(found: PointPredictions, version: str | None) -> list[pa.Array]:
    """Return the columns of points in the order of `point_schema`, without passthrough columns.

    Args:
        found: predictions of R rows.
        version: version of the model; None leaves the column out.
    """
    absent = found.reason != 0
    none = found.channel < 0
    names = array_of(np.where(none, 0, found.channel).astype(np.int32), pa.int32(), none)
    first = array_of(np.zeros(len(found.score), np.int32), pa.int32())
    return [
        array_of(found.score, pa.float32(), absent),
        array_of(found.p_value, pa.float64(), absent),
        array_of(found.p_extrapolated, pa.bool_()),
        array_of(found.is_anomaly, pa.bool_()),
        pa.DictionaryArray.from_arrays(names, texts_of(found.channels)),
        array_of(found.windows, pa.int32()),
        texts_of(found.reasons).take(array_of(found.reason, pa.int64(), ~absent)),
        *([] if version is None else [pa.DictionaryArray.from_arrays(first, texts_of([version]))]),
    ]


def point_table(found: PointPredictions) -> pa.Table:
    """Return the columns of points as a table."""
    return pa.Table.from_arrays(point_columns(found, None), schema=pa.schema(list(_COLUMNS)))
