"""Encode dates, timestamps and times of day; week, weekday and time of day are separate features."""

from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from pydantic import Field

from aepipe.encoding import number_statistics as statistics
from aepipe.encoding.base import Codec, EncodedColumn, Features
from aepipe.layout import FIRST_VALUE, MISSING, Category, Number, absent_codes
from aepipe.tables.arrow_arrays import array_of, nulls_of, plain_values, values_of
from aepipe.tables.schema import Column

_DAY_S = 86_400
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
MONDAY = 3
"""1970-01-01 was a Thursday, three days after a Monday."""
_LONGEST = 2**62


class DatetimeCodec(Codec):
    """Encoder of dates and timestamps.

    Features: `.week` (since the first training week), `.weekday` and, unless all are midnight, `.time` (seconds of the
    day). Exact to the day for dates, to the second for timestamps, to 8 ms if they are finer. Weekday and time use the
    zone's offset at the median training row: daylight saving time would make one hour per year ambiguous.
    """

    kind: Literal["datetime"] = "datetime"
    week: Number
    weekday: Category
    time: Number | None
    first_week: int = Field(description="weeks from 1969-12-29 to week 0")
    shift_s: int = Field(0, description="seconds added to UTC")
    step: int = Field(1, description="greatest step that divides the training times, in the column's unit")
    least: int | None = Field(
        None, description="training minimum in the column's unit; decoded values are clipped to it"
    )
    greatest: int | None = None

    @property
    def numbers(self) -> tuple[Number, ...]:
        return (self.week,) if self.time is None else (self.week, self.time)

    @property
    def categories(self) -> tuple[Category, ...]:
        return (self.weekday,)

    def encode(self, array: pa.Array) -> Features:
        array = plain_values(array)
        nulls = nulls_of(array)
        days, seconds = days_and_seconds(array, self.shift_s)
        weeks, weekdays = np.divmod(days + MONDAY, 7)
        codes = (weekdays + FIRST_VALUE).astype(np.int32)
        numbers = [(weeks - self.first_week).astype(np.float64)]
        if self.time is not None:
            numbers.append(seconds)
        if nulls is not None:
            codes[nulls] = MISSING
            numbers = [np.where(nulls, np.nan, values) for values in numbers]
        return Features(numbers=tuple(numbers), codes=(codes,))

    def decode(self, features: EncodedColumn, kind: pa.DataType) -> pa.Array:
        numbers, codes = features.numbers, features.codes
        if self.least is None or self.greatest is None:  # training had nothing but nulls
            return pa.nulls(len(numbers), kind)
        nulls = np.isnan(numbers[:, 0])
        weeks = np.where(nulls, 0.0, np.clip(numbers[:, 0], self.week.low, self.week.high))
        weekdays = np.maximum(codes[:, 0], FIRST_VALUE) - FIRST_VALUE
        days = (np.rint(weeks).astype(np.int64) + self.first_week) * 7 + weekdays - MONDAY
        of_day = np.zeros(len(numbers), np.int64)
        if self.time is not None:
            seconds = np.where(np.isnan(numbers[:, 1]), self.time.mean, numbers[:, 1])
            of_day = _stepped(seconds, self.step, kind.unit)
        ticks = _ticks(days, of_day, self.shift_s, kind)
        ticks = np.clip(ticks, self.least, self.greatest)
        return array_of(ticks, kind, nulls if self.week.may_be_missing else None)


class ClockCodec(Codec):
    """Encoder of times of day without a date: `.time`, seconds since midnight.

    Exact to the second, to 8 ms if the times are finer.
    """

    kind: Literal["clock"] = "clock"
    time: Number
    step: int = 1

    @property
    def numbers(self) -> tuple[Number, ...]:
        return (self.time,)

    def encode(self, array: pa.Array) -> Features:
        array = plain_values(array)
        nulls, seconds = nulls_of(array), _clock_seconds(array)
        return Features(numbers=(seconds if nulls is None else np.where(nulls, np.nan, seconds),))

    def decode(self, features: EncodedColumn, kind: pa.DataType) -> pa.Array:
        numbers = features.numbers
        if self.time.low is None or self.time.high is None:
            return pa.nulls(len(numbers), kind)
        nulls = np.isnan(numbers[:, 0])
        seconds = np.clip(np.where(nulls, self.time.mean, numbers[:, 0]), self.time.low, self.time.high)
        return array_of(_stepped(seconds, self.step, kind.unit), kind, nulls if self.time.may_be_missing else None)


def fit_datetime(column: Column, index: int, values: pa.ChunkedArray) -> DatetimeCodec | ClockCodec:
    """Fit an encoder to training values of the source's plain type."""
    known = pa.chunked_array([chunk.drop_null() for chunk in values.chunks], values.type).combine_chunks()
    missing = values.null_count > 0
    if pt.is_time(values.type):
        clock = _number(_clock_seconds(known), f"{column.name}.time", index, missing)
        step = _step(values_of(known).astype(np.int64), known.type.unit)
        return ClockCodec(name=column.name, time=clock, step=step)
    shift_s = shift_of(known)
    days, seconds = days_and_seconds(known, shift_s)
    weeks = (days + MONDAY) // 7
    first_week = int(weeks.min()) if len(weeks) else 0
    ticks = values_of(known).astype(np.int64)
    week, time = f"{column.name}.week", f"{column.name}.time"
    return DatetimeCodec(
        name=column.name,
        week=_number((weeks - first_week).astype(np.float64), week, index, missing),
        weekday=Category(
            name=f"{column.name}.weekday",
            column=index,
            size=FIRST_VALUE + 7,
            absent=absent_codes(missing=missing, rare=False),
        ),
        time=_number(seconds, time, index, missing) if seconds.any() else None,
        first_week=first_week,
        shift_s=shift_s,
        step=_step(ticks, values.type.unit, shift_s) if pt.is_timestamp(values.type) else 1,
        least=int(ticks.min()) if len(ticks) else None,
        greatest=int(ticks.max()) if len(ticks) else None,
    )


def _number(values: np.ndarray, name: str, index: int, missing: bool) -> Number:
    return statistics.number(values, name=name, column=index, may_be_missing=missing)


def days_and_seconds(array: pa.Array, shift_s: int) -> tuple[np.ndarray, np.ndarray]:
    """Return days since 1970, int64 (B,), and seconds of the day, float64 (B,); floored, also before 1970."""
    if pt.is_null(array.type):
        return np.zeros(len(array), np.int64), np.zeros(len(array))
    ticks = values_of(array)
    if pt.is_date(array.type):
        days = ticks.astype(np.int64) if pt.is_date32(array.type) else ticks // (_DAY_S * 1_000)
        return days, np.zeros(len(array))
    per_second = _PER_SECOND[array.type.unit]
    # Whole seconds first: adding the shift to nanoseconds overflows at the ends of their range.
    whole, part = np.divmod(ticks, per_second) if per_second > 1 else (ticks, np.zeros(1))
    days, seconds = np.divmod(whole + shift_s, _DAY_S)
    return days, seconds + part / per_second


def _ticks(days: np.ndarray, of_day: np.ndarray, shift_s: int, kind: pa.DataType) -> np.ndarray:
    if pt.is_date32(kind):
        return days
    if pt.is_date64(kind):
        return days * (_DAY_S * 1_000)
    per_second = _PER_SECOND[kind.unit]
    furthest = _LONGEST // (_DAY_S * per_second) * 2 - 2
    ticks: np.ndarray = (np.clip(days, -furthest, furthest) * _DAY_S - shift_s) * per_second + of_day
    return ticks


def _stepped(seconds: np.ndarray, step: int, unit: str) -> np.ndarray:
    """Convert seconds to ticks since midnight, rounded to the step and clipped to the day."""
    per_second = _PER_SECOND[unit]
    steps = np.rint(np.clip(seconds, 0, _DAY_S) * per_second / step)
    ticks: np.ndarray = np.minimum(steps, (_DAY_S * per_second - 1) // step).astype(np.int64) * step
    return ticks


def _step(ticks: np.ndarray, unit: str, shift_s: int = 0) -> int:
    """Return the longest of hour, minute, second, ms and us that divides all shifted ticks, in ticks."""
    per_second = _PER_SECOND[unit]
    shift = shift_s * per_second
    lengths = [3600 * per_second, 60 * per_second, per_second, per_second // 1_000, per_second // 1_000_000]
    return next((length for length in lengths if length and not ((ticks % length + shift) % length).any()), 1)


def _clock_seconds(array: pa.Array) -> np.ndarray:
    if pt.is_null(array.type):
        return np.zeros(len(array))
    return values_of(array) / _PER_SECOND[array.type.unit]


def shift_of(known: pa.Array) -> int:
    """Return the zone's offset from UTC at the median value, in seconds; 0 without a zone."""
    if len(known) == 0 or not pt.is_timestamp(known.type) or known.type.tz is None:
        return 0
    median = known.take(pc.sort_indices(known).slice(len(known) // 2, 1))
    local = values_of(pc.local_timestamp(median))[0] - values_of(median)[0]
    return int(local // _PER_SECOND[known.type.unit])
