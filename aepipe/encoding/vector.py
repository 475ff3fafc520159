"""Encode lists of numbers of one length: one feature per element."""

from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from aepipe.encoding import number_statistics as statistics
from aepipe.encoding.base import FINE, OTHER, Codec, EncodedColumn, Features
from aepipe.encoding.nested_lists import flat
from aepipe.layout import Number
from aepipe.tables.arrow_arrays import array_of, dtype_of, nulls_of, values_of
from aepipe.tables.schema import Column


class VectorCodec(Codec):
    """Encoder of vectors, `num[:, j] = float32(element)`.

    All elements of a null or empty list are missing; a list of another length is invalid.
    """

    kind: Literal["vector"] = "vector"
    elements: tuple[Number, ...]

    @property
    def numbers(self) -> tuple[Number, ...]:
        return self.elements

    @property
    def reasons(self) -> tuple[str, ...]:
        return (*super().reasons, f"{self.name} has another length than {len(self.elements)}")

    def encode(self, array: pa.Array) -> Features:
        grid, wrong = grid_of(array, len(self.elements))
        reasons = np.where(wrong, OTHER, FINE).astype(np.int8) if wrong.any() else None
        grid[wrong] = [number.mean for number in self.elements]
        return Features(numbers=tuple(grid.T), reasons=reasons)

    def decode(self, features: EncodedColumn, kind: pa.DataType) -> pa.Array:
        numbers = features.numbers
        nulls = np.isnan(numbers)
        low = [number.low or 0.0 for number in self.elements]
        high = [number.high or 0.0 for number in self.elements]
        return lists_of(np.clip(np.where(nulls, 0.0, numbers), low, high), nulls, kind)


def fit_vector(column: Column, index: int, values: pa.ChunkedArray) -> VectorCodec:
    """Fit an encoder to training lists; lists of another length than the schema's are skipped."""
    length = (column.shape or (0,))[0]
    grids = [grid[~wrong] for grid, wrong in (grid_of(chunk, length) for chunk in values.chunks)]
    grid = np.concatenate([*grids, np.zeros((0, length))])
    elements = []
    for at, element in enumerate(grid.T):
        elements.append(
            statistics.number(
                element[statistics.usable(element)],
                name=f"{column.name}[{at}]",
                column=index,
                transform="linear",
                may_be_missing=bool(np.isnan(element).any()),
            )
        )
    return VectorCodec(name=column.name, elements=tuple(elements))


def grid_of(array: pa.Array, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return elements float64 (B, length), NaN if missing, and the mask of rows of another length, bool (B,)."""
    lists = flat(array)
    sizes = lists.ends - lists.starts
    missing = lists.nulls | (sizes == 0)
    wrong = (sizes != length) & ~missing
    right = ~wrong & ~missing
    grid = np.full((len(sizes), length), np.nan)
    elements = lists.values.cast(pa.float64(), safe=False)
    values, nulls = values_of(elements), nulls_of(elements)
    if nulls is not None:
        values = np.where(nulls, np.nan, values)
    grid[right] = values[lists.starts[right, None] + np.arange(length)]
    return grid, wrong


def lists_of(values: np.ndarray, nulls: np.ndarray, kind: pa.DataType) -> pa.Array:
    """Build lists of a plain type from elements (B, L) and the mask of missing ones; a row of missing ones is null."""
    lost = np.all(nulls, axis=1, keepdims=True)[:, 0] if nulls.size else np.zeros(len(values), np.bool_)
    inner = kind.value_type
    stored = pa.float64() if pt.is_decimal(inner) else inner
    elements = array_of(_as_type(values.ravel(), inner), stored, nulls.ravel()).cast(inner)
    valid = pa.py_buffer(np.packbits(~lost, bitorder="little")) if lost.any() else None
    if pt.is_fixed_size_list(kind):
        return pa.Array.from_buffers(kind, len(lost), [valid], children=[elements])
    offsets = np.arange(len(lost) + 1, dtype=np.int32) * values.shape[1]
    return pa.Array.from_buffers(kind, len(lost), [valid, pa.py_buffer(offsets)], children=[elements])


def _as_type(values: np.ndarray, kind: pa.DataType) -> np.ndarray:
    """Cast to the type's dtype: round for integers, clip to the range, which float64 may round out of."""
    if values.dtype.kind in "iu" or not (pt.is_integer(kind) or pt.is_duration(kind)):
        return values
    dtype = dtype_of(kind)
    edge = np.iinfo(dtype)
    inside = np.clip(np.rint(values), np.nextafter(float(edge.min), 0), np.nextafter(float(edge.max), 0))
    whole: np.ndarray = np.rint(inside).astype(dtype)
    return whole
