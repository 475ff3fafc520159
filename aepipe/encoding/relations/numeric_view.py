"""Columns as float64 numbers for relations between them: times in microseconds, clock integers in minutes."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.types as pt
from numpy.typing import NDArray

from aepipe.encoding import number_statistics
from aepipe.encoding.number import resolution, within
from aepipe.tables.arrow_arrays import array_of, nulls_of, plain_values, values_of
from aepipe.tables.arrow_types import plain, sort_of

View = Literal["number", "time", "duration", "clock"]
DAY_MINUTES = 1_440
_LEAST_CLOCKS = 30
"""Minimum number of distinct values of a clock column."""


@dataclass(frozen=True, slots=True)
class NumericColumn:
    """Values of a column, NaN if missing, and the size of the step that they are rounded to."""

    name: str
    view: View
    values: NDArray[np.float64]
    step: float
    """0 for unrounded values"""

    @property
    def known(self) -> NDArray[np.bool_]:
        return ~np.isnan(self.values)


def view_of(kind: pa.DataType) -> View | None:
    """Return how values of a type are viewed as numbers; None if they are not."""
    kind = plain(kind)
    if pt.is_duration(kind):
        return "duration"
    if pt.is_date(kind) or pt.is_timestamp(kind):
        return "time"
    return "number" if sort_of(kind) == "number" else None


def numbers_of(array: pa.Array) -> NDArray[np.float64]:
    """Return the values of a column of numbers, durations, dates or timestamps, (B,): NaN if missing."""
    array = plain_values(array)
    if pt.is_duration(array.type):
        array = array.cast(pa.duration("us"), safe=False)
    elif pt.is_date(array.type) or pt.is_timestamp(array.type):
        array = array.cast(pa.timestamp("us", tz=getattr(array.type, "tz", None)), safe=False)
    elif pt.is_decimal(array.type):
        array = array.cast(pa.float64())
    values = values_of(array).astype(np.float64)
    nulls = nulls_of(array)
    if nulls is not None:
        values[nulls] = np.nan
    return values


def column_of(values: NDArray[np.float64], kind: pa.DataType) -> pa.Array:
    """Convert numbers to a column of the plain type; the inverse of `numbers_of`, clipped to the range of the type."""
    nulls = np.isnan(values)
    known = np.where(nulls, 0.0, values)
    if pt.is_duration(kind):
        return array_of(np.rint(known).astype(np.int64), pa.duration("us"), nulls).cast(kind, safe=False)
    if pt.is_date(kind) or pt.is_timestamp(kind):
        moments = array_of(np.rint(known).astype(np.int64), pa.timestamp("us"), nulls)
        zone = getattr(kind, "tz", None)
        return (moments.cast(pa.timestamp("us", tz=zone)) if zone else moments).cast(kind, safe=False)
    if pt.is_decimal(kind):
        return array_of(within(known, kind), pa.float64(), nulls).cast(kind)
    if pt.is_integer(kind):
        limits = np.iinfo(kind.to_pandas_dtype())
        top = np.nextafter(float(limits.max), 0) if kind.bit_width == 64 else float(limits.max)
        return array_of(np.clip(np.rint(known), float(limits.min), top), kind, nulls)
    return array_of(known, kind, nulls)


def step_of(values: NDArray[np.float64], kind: pa.DataType) -> float:
    """Return the step that known values are rounded to, 0 for unrounded ones."""
    if not (pt.is_floating(kind) or pt.is_decimal(kind)):
        return 1.0
    known = values[np.isfinite(values)]
    places = number_statistics.decimals(known, resolution(kind)) if len(known) else None
    return 0.0 if places is None else 10.0**-places


def is_clock(values: NDArray[np.float64], kind: pa.DataType) -> bool:
    """Tell whether integers are clock times such as 1345: at most 2400, with minutes below 60."""
    known = values[~np.isnan(values)]
    if not pt.is_integer(kind) or not len(known) or known.min() < 0 or not 1_200 < known.max() <= 2_400:
        return False
    distinct = np.unique(known)
    return len(distinct) >= _LEAST_CLOCKS and bool((distinct % 100 < 60).all())


def to_minutes(clocks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert clock integers to minutes since midnight.

    >>> to_minutes(np.array([5.0, 1345.0, 2400.0])).tolist()
    [5.0, 825.0, 1440.0]
    """
    return np.floor(clocks / 100) * 60 + clocks % 100


def to_clock(minutes: NDArray[np.float64], *, midnight: float) -> NDArray[np.float64]:
    """Convert minutes, of any day, to clock integers; `midnight` is 0 or 2400.

    >>> to_clock(np.array([825.0, -15.0, 1440.0]), midnight=2400.0).tolist()
    [1345.0, 2345.0, 2400.0]
    """
    of_day = np.rint(minutes) % DAY_MINUTES
    clocks = np.floor(of_day / 60) * 100 + of_day % 60
    return np.where(clocks == 0, midnight, clocks)


def nearest_known(asked: NDArray[np.float64], known: NDArray[np.float64], *, slack: float) -> NDArray[np.int64]:
    """Return the place of the known value (n,) nearest to each asked one (B,); -1 if it is farther than `slack`.

    slack: largest difference, as a share of the asked value. Values that are not finite have no place.

    >>> nearest_known(np.array([0.3, 0.31, np.nan]), np.array([5.0, 0.1 + 0.2]), slack=1e-15).tolist()
    [1, -1, -1]
    """
    order = np.argsort(known)
    order = order[np.isfinite(known[order])]
    if not len(order):
        return np.full(len(asked), -1)
    finite = np.where(np.isfinite(asked), asked, 0.0)
    after = np.minimum(np.searchsorted(known[order], finite), len(order) - 1)
    before = np.maximum(after - 1, 0)
    is_before = np.abs(known[order[before]] - finite) < np.abs(known[order[after]] - finite)
    nearest = order[np.where(is_before, before, after)]
    is_near = np.isfinite(asked) & (np.abs(known[nearest] - finite) <= slack * np.abs(finite))
    found: NDArray[np.int64] = np.where(is_near, nearest, -1)
    return found
