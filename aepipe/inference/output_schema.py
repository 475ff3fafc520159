"""Columns of `scores` and `features`: names, types, order and values, said once."""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe.layout import Port
from aepipe.tables.arrow_arrays import array_of, texts_of

TEXT = pa.dictionary(pa.int32(), pa.string())
FLAG = "is_anomaly"
CELL_COLUMN, CELL_Z, CELL_P_VALUE, CELL_FLAG = "cell_column", "cell_z", "cell_p_value", "is_cell_anomaly"
CELLS = (CELL_COLUMN, CELL_Z, CELL_P_VALUE, CELL_FLAG)
"""Columns of the alarm for cells; bundles without it do not write them."""
OWN_OF_SAMPLES = frozenset({"model_version", "seed"})
"""Columns of `samples` that no column of the table can have the name of."""
SCORE_NAMES = frozenset(
    {
        "score",
        "p_value",
        "p_extrapolated",
        FLAG,
        "invalid_reason",
        "predicted_class",
        "class_confidence",
        *CELLS,
    }
)
"""Columns of the scores whose name no key or event time may have, and no copy of a label; not all bundles write all."""

Nulls = NDArray[np.bool_] | None


@dataclass(frozen=True, slots=True)
class Predictions:
    """Post-processed outputs of the scorer for B rows; scores, p-values and latents of invalid rows are undefined."""

    features: tuple[NDArray[np.generic], ...]
    """(B, n) each: latents and their summaries"""
    score: NDArray[np.generic]
    """(B,) float32"""
    reason: NDArray[np.generic]
    """(B, k) int32, indices into the names of reasons, strongest first"""
    reason_z: NDArray[np.generic]
    """(B, k) float32"""
    p_value: NDArray[np.float64]
    """(B,)"""
    p_extrapolated: NDArray[np.bool_]
    """(B,), True if p_value is lower than the calibration rows can resolve; False for invalid rows"""
    is_anomaly: NDArray[np.bool_]
    """(B,), True if the score or a cell is flagged; False for invalid rows"""
    predicted: NDArray[np.generic]
    """(B, 1) int32, indices into the names of classes and unknown; (B, 0) without classes"""
    confidence: NDArray[np.generic]
    """(B, 1) float32, of the class; (B, 0) without classes"""
    invalid: NDArray[np.int16]
    """(B,), 0 for scored rows, else an index into the reasons"""
    cells: "CellPredictions | None" = None
    """None for a model without an alarm for cells"""

    @property
    def nulls(self) -> Nulls:
        """Mask of the invalid rows, (B,); None if there are none, so that columns need not be copied."""
        return self.invalid != 0 if self.invalid.any() else None


@dataclass(frozen=True, slots=True)
class CellPredictions:
    """The most unusual cell of each of B rows."""

    column: NDArray[np.generic]
    """(B,) int32, index into the names of reasons"""
    score: NDArray[np.generic]
    """(B,) float32"""
    p_value: NDArray[np.float64]
    """(B,)"""
    is_anomaly: NDArray[np.bool_]
    """(B,), False for invalid rows"""


class OutputColumn(NamedTuple):
    """One column of an output."""

    name: str
    type: pa.DataType
    values: Callable[[Predictions, Nulls], pa.Array]


def score_columns(
    reasons: int,
    *,
    reason_names: pa.Array,
    class_names: pa.Array | None,
    invalid_reasons: pa.Array,
    has_cells: bool = False,
) -> tuple[OutputColumn, ...]:
    """Return the columns of `scores`; they are null for invalid rows, which are not flagged and name their reason.

    Args:
        reasons: number of reasons per row.
        reason_names: names of all reasons.
        class_names: names of the classes and unknown; None without classes.
        invalid_reasons: why a row cannot be scored, by code; code 0 is not used.
        has_cells: whether the model has an alarm for cells.
    """
    ranks = range(reasons)
    columns = [
        OutputColumn("score", pa.float32(), lambda found, nulls: _array(found.score, nulls)),
        OutputColumn("p_value", pa.float64(), lambda found, nulls: _array(found.p_value, nulls)),
        OutputColumn("p_extrapolated", pa.bool_(), lambda found, _: array_of(found.p_extrapolated, pa.bool_())),
        OutputColumn(FLAG, pa.bool_(), lambda found, _: array_of(found.is_anomaly, pa.bool_())),
    ]
    columns += [
        OutputColumn(f"reason_{rank + 1}", TEXT, partial(_names, "reason", rank, reason_names)) for rank in ranks
    ]
    columns += [
        OutputColumn(f"reason_{rank + 1}_z", pa.float32(), partial(_column, "reason_z", rank)) for rank in ranks
    ]
    if has_cells:
        columns += _cell_columns(reason_names)
    if class_names is not None:
        columns += [
            OutputColumn("predicted_class", TEXT, partial(_names, "predicted", 0, class_names)),
            OutputColumn("class_confidence", pa.float32(), partial(_column, "confidence", 0)),
        ]

    def invalid_reason(found: Predictions, nulls: Nulls) -> pa.Array:
        if nulls is None:
            return pa.nulls(len(found.invalid), pa.string())
        return invalid_reasons.take(array_of(found.invalid, pa.int16(), ~nulls))

    return (*columns, OutputColumn("invalid_reason", pa.string(), invalid_reason))


def _cell_columns(reason_names: pa.Array) -> list[OutputColumn]:
    """Return the columns of the alarm for cells; they describe the most unusual cell, flagged or not."""

    def cells(found: Predictions) -> CellPredictions:
        assert found.cells is not None
        return found.cells

    def names(found: Predictions, nulls: Nulls) -> pa.Array:
        return pa.DictionaryArray.from_arrays(_array(cells(found).column, nulls), reason_names)

    return [
        OutputColumn(CELL_COLUMN, TEXT, names),
        OutputColumn(CELL_Z, pa.float32(), lambda found, nulls: _array(cells(found).score, nulls)),
        OutputColumn(CELL_P_VALUE, pa.float64(), lambda found, nulls: _array(cells(found).p_value, nulls)),
        OutputColumn(CELL_FLAG, pa.bool_(), lambda found, _: array_of(cells(found).is_anomaly, pa.bool_())),
    ]


def feature_columns(ports: Mapping[str, Port], names: Mapping[str, Sequence[str]]) -> tuple[OutputColumn, ...]:
    """Return one column per feature, null for invalid rows; names: column names by output port of the scorer."""
    types = {port: pa.from_numpy_dtype(np.dtype(ports[port].dtype)) for port in names}
    return tuple(
        OutputColumn(name, types[port], partial(_feature_values, index, column))
        for index, (port, columns) in enumerate(names.items())
        for column, name in enumerate(columns)
    )


def without_taken_labels(passthrough: Sequence[pa.Field], labels: Container[str]) -> tuple[pa.Field, ...]:
    """Leave out labels that have one of `SCORE_NAMES`, such as `is_anomaly`, the truth and the flag.

    Evaluations read labels from the source, so that the outputs can do without them.
    """
    return tuple(field for field in passthrough if field.name not in labels or field.name not in SCORE_NAMES)


class OutputTable:
    """One output: passthrough columns of the source, columns of the predictions, then the version of the model."""

    def __init__(self, passthrough: Sequence[pa.Field], columns: Sequence[OutputColumn], *, model_version: str) -> None:
        self.passthrough = [field.name for field in passthrough]
        self._columns = columns
        self._version = texts_of([model_version])
        self.schema = pa.schema(
            [
                *(pa.field(field.name, field.type) for field in passthrough),  # without metadata
                *(pa.field(column.name, column.type) for column in columns),
                pa.field("model_version", TEXT),
            ]
        )

    def rows(self, passthrough: Mapping[str, pa.Array], predictions: Predictions) -> pa.RecordBatch:
        """Return the rows; passthrough: at least the passthrough columns, by name."""
        first = array_of(np.zeros(len(predictions.score), np.int32), pa.int32())
        arrays = [
            *(passthrough[name] for name in self.passthrough),
            *arrays_of(self._columns, predictions),
            pa.DictionaryArray.from_arrays(first, self._version),
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def with_column(self, name: str, rows: pa.RecordBatch, predictions: Predictions) -> pa.RecordBatch:
        """Replace one column of the rows by its values in other predictions."""
        index = self.schema.get_field_index(name)
        (column,) = [column for column in self._columns if column.name == name]
        return rows.set_column(index, self.schema.field(index), column.values(predictions, predictions.nulls))


def to_table(columns: Sequence[OutputColumn], predictions: Predictions) -> pa.Table:
    """Return the columns of predictions as a table."""
    schema = pa.schema([pa.field(column.name, column.type) for column in columns])
    return pa.Table.from_arrays(arrays_of(columns, predictions), schema=schema)


def arrays_of(columns: Sequence[OutputColumn], predictions: Predictions) -> list[pa.Array]:
    """Return the values of the columns."""
    nulls = predictions.nulls
    return [column.values(predictions, nulls) for column in columns]


def _array(values: NDArray[np.generic], nulls: Nulls) -> pa.Array:
    return array_of(values, pa.from_numpy_dtype(values.dtype), nulls)


def _column(field: str, column: int, found: Predictions, nulls: Nulls) -> pa.Array:
    return _array(getattr(found, field)[:, column], nulls)


def _names(field: str, column: int, names: pa.Array, found: Predictions, nulls: Nulls) -> pa.Array:
    return pa.DictionaryArray.from_arrays(_column(field, column, found, nulls), names)


def _feature_values(port: int, column: int, found: Predictions, nulls: Nulls) -> pa.Array:
    return _array(found.features[port][:, column], nulls)
