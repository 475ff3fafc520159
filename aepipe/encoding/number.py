"""Encode integers, floats, decimals, durations and truth values (0 and 1) as one float32 feature."""

from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.types as pt
from pydantic import Field

from aepipe.encoding import number_statistics as statistics
from aepipe.encoding.base import Codec, EncodedColumn, Features
from aepipe.layout import Number
from aepipe.tables.arrow_arrays import array_of, dtype_of, nulls_of, plain_values, values_of
from aepipe.tables.schema import Column

_EXACT = 2**24
"""Largest integer below which float32 is exact."""
_FLOAT64_EXACT = 2**53


class NumberCodec(Codec):
    """Encoder of a number, `num[:, j] = float32(value - offset)`.

    Exact for float32 and for integers below 2**24, else to a relative error of 6e-8.
    """

    kind: Literal["number"] = "number"
    number: Number
    unit: str | None = Field(None, description="unit of a duration: s, ms, us or ns")
    offset: int | float = Field(
        0, description="offset; an integer for integers, subtracted in integer arithmetic above 2**53"
    )
    least: int | float | None = Field(None, description="training minimum; decoded values are clipped to it")
    greatest: int | float | None = None
    decimals: int | None = Field(None, description="decimals that training values were rounded to")

    @property
    def numbers(self) -> tuple[Number, ...]:
        return (self.number,)

    def encode(self, array: pa.Array) -> Features:
        array = numeric(array, self.unit)
        return Features(numbers=(self.differences(values_of(array), nulls_of(array)),))

    def decode(self, features: EncodedColumn, kind: pa.DataType) -> pa.Array:
        numbers = features.numbers
        values = numbers[:, 0]
        nulls = np.isnan(values)
        if self.least is None or self.greatest is None:  # training had nothing but nulls
            return pa.nulls(len(values), kind)
        values = np.where(nulls, statistics.typical(self.number), values)
        nulls = nulls if self.number.may_be_missing else None
        if pt.is_boolean(kind):
            return array_of(self._integers(values, pa.uint8()), pa.uint8(), nulls).cast(kind)
        if pt.is_integer(kind) or pt.is_duration(kind):
            return array_of(self._integers(values, kind), kind, nulls)
        values = values + float(self.offset)
        rounded = values if self.decimals is None else np.round(values, self.decimals)
        values = np.clip(rounded, float(self.least), float(self.greatest))
        if pt.is_decimal(kind):
            return array_of(within(values, kind), pa.float64(), nulls).cast(kind)
        return array_of(values, kind, nulls)

    def differences(self, values: np.ndarray, nulls: np.ndarray | None) -> np.ndarray:
        """Return value - offset, NaN if missing; float64, or the dtype of the values if the offset is 0."""
        if self.offset:
            values = _subtracted(values, self.offset)
        if nulls is None:
            return values
        floats: np.ndarray = values.astype(np.float32 if values.dtype == np.float32 else np.float64)
        floats[nulls] = np.nan
        return floats

    def _integers(self, values: np.ndarray, kind: pa.DataType) -> np.ndarray:
        """Round to integers of the column's dtype, clipped exactly: float64 cannot represent 2**63 - 1."""
        least, greatest, offset = int(self.least or 0), int(self.greatest or 0), int(self.offset)
        dtype = dtype_of(kind)
        low, high = float(least - offset), float(greatest - offset)
        whole = np.clip(np.rint(values), low, high)
        inside = np.clip(whole, -(2.0**63), 2.0**64 - 4096 if low >= 0 else 2.0**63 - 1024)
        steps = inside.astype(np.uint64 if low >= 0 else np.int64).astype(np.uint64)
        found: np.ndarray = (steps + np.uint64(offset % 2**64)).astype(dtype)
        found[whole <= low] = least
        found[whole >= high] = greatest
        return found


def fit_number(column: Column, index: int, values: pa.ChunkedArray) -> NumberCodec:
    """Fit an encoder to training values of the source's plain type; non-finite values are skipped."""
    unit = values.type.unit if pt.is_duration(values.type) else None
    chunks = [numeric(chunk, unit) for chunk in values.chunks]
    observed = np.concatenate([_observed(chunk) for chunk in chunks] or [np.zeros(0)])
    usable = observed[statistics.usable(observed)]
    missing = len(values) > sum(len(_observed(chunk)) for chunk in chunks)
    whole = observed.dtype.kind in "iu"
    offset = _integer_offset(usable) if whole else 0.0 if observed.dtype.itemsize < 8 else statistics.offset(usable)
    differences = _subtracted(usable, offset) if offset else usable.astype(np.float64)
    return NumberCodec(
        name=column.name,
        number=statistics.number(
            differences.astype(np.float64),
            name=column.name,
            column=index,
            transform=column.transform,
            may_be_missing=missing,
        ),
        unit=unit,
        offset=offset,
        least=usable.min().item() if len(usable) else None,
        greatest=usable.max().item() if len(usable) else None,
        decimals=None if whole else statistics.decimals(usable.astype(np.float64), resolution(values.type)),
    )


def numeric(array: pa.Array, unit: str | None) -> pa.Array:
    """Convert to a type that numpy has; durations become integers in the training unit."""
    array = plain_values(array)
    kind = array.type
    if pt.is_integer(kind) or pt.is_floating(kind):
        return array
    if pt.is_boolean(kind):
        return array.cast(pa.uint8())
    if pt.is_duration(kind):
        return array if kind.unit == unit else array.cast(pa.duration(unit or "s"), safe=False)
    return array.cast(pa.float64())


def _observed(array: pa.Array) -> np.ndarray:
    """Return the values that are neither null nor NaN."""
    values, nulls = values_of(array), nulls_of(array)
    kept = values if nulls is None else values[~nulls]
    return kept[~np.isnan(kept)] if kept.dtype.kind == "f" else kept


def _subtracted(values: np.ndarray, offset: int | float) -> np.ndarray:
    """Return values - offset as float64, computed in integers where float64 would not be exact."""
    rough = values.astype(np.float64) - float(offset)
    if values.dtype.kind == "f" or isinstance(offset, float):
        return rough
    exact = (values.astype(np.uint64) - np.uint64(int(offset) % 2**64)).view(np.int64)
    return np.where(np.abs(rough) < _FLOAT64_EXACT, exact.astype(np.float64), rough)


def _integer_offset(values: np.ndarray) -> int:
    """Return the midpoint of large integers if that makes them exact in float32, else the mean of a small spread."""
    if len(values) == 0:
        return 0
    least, greatest = int(values.min()), int(values.max())
    if max(-least, greatest) <= _EXACT:
        return 0
    if greatest - least <= 2 * _EXACT:
        return (least + greatest) // 2
    return round(statistics.offset(values.astype(np.float64)))


def resolution(kind: pa.DataType) -> float:
    """Return the machine epsilon of a float type; that of float64 for all other types."""
    return float(np.finfo(dtype_of(kind)).eps) if pt.is_floating(kind) else 2.0**-52


def within(values: np.ndarray, kind: pa.DataType) -> np.ndarray:
    """Round to the scale of a decimal type and clip to its precision."""
    top = 10.0 ** (kind.precision - kind.scale)
    last = min(top - 10.0**-kind.scale, float(np.nextafter(top, 0)))
    return np.clip(np.round(values, max(kind.scale, 0)), -last, last)
