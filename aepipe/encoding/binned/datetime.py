"""Encode dates, timestamps and times of day as codes: one per moment if few, else week, weekday and time."""

from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.types as pt
from pydantic import Field

from aepipe.encoding.base import Codec, EncodedColumn, Features
from aepipe.encoding.binned.number import coded, known_values
from aepipe.encoding.binned.quantile_bins import LEAST_COUNT, Bins, fit_bins
from aepipe.encoding.datetime import MONDAY, shift_of
from aepipe.layout import FIRST_VALUE, MISSING, Category, absent_codes
from aepipe.tables.arrow_arrays import array_of, nulls_of, plain_values, values_of
from aepipe.tables.schema import Column

LEAST_SHARE = 0.01
"""Of the training rows: a moment that more of them have is a code of its own."""

_TICKS = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}


class DatetimeCodes(Codec):
    """Encoder of moments: `.week`, `.weekday` and, unless all are midnight, `.time`; or one code if each is an atom.

    Decoded moments have a weekday and a time of day seen in training. Both use the zone's offset at the median
    training row: daylight saving time would make one hour per year ambiguous.
    """

    kind: Literal["datetime_codes"] = "datetime_codes"
    features: tuple[Category, ...] = Field(description="one, or week, weekday and, unless all are midnight, time")
    bins: tuple[Bins, ...] = Field(
        description="bins of each feature in the training unit; weekdays are numbered from Monday"
    )
    day: int = Field(description="ticks per day in the training unit: 1 for dates in days")
    shift: int = Field(0, description="ticks added to UTC")
    may_be_missing: bool = False
    least: int = Field(0, description="training minimum in its unit; decoded values are clipped to it")
    greatest: int = 0
    moments: tuple[int, ...] = Field(
        (), description="frequent moments, each with a code of its own after the codes of the week"
    )

    @property
    def categories(self) -> tuple[Category, ...]:
        return self.features

    @property
    def code_orders(self) -> tuple[tuple[int, ...] | None, ...]:
        """See `Codec`; weeks have no order if frequent moments have codes of their own."""
        return tuple(
            bins.codes_by_value if bins.size == feature.size else None
            for bins, feature in zip(self.bins, self.features, strict=True)
        )

    @property
    def is_shared(self) -> bool:
        return True

    def with_values(self, values: pa.ChunkedArray) -> "DatetimeCodes":
        known, _ = known_values(values.chunks)
        ticks = known.astype(np.int64)
        ticks = ticks[~np.isin(ticks, self.moments)]
        parts = _calendar(ticks, self.day, self.shift) if len(self.bins) > 1 else (ticks,)
        is_near = self.bins[0].is_near(parts[0])
        if not is_near.any():
            return self
        bins = tuple(each.with_values(part[is_near]) for each, part in zip(self.bins, parts, strict=False))
        least, greatest = int(ticks[is_near].min()), int(ticks[is_near].max())
        return self.model_copy(update={"bins": bins, "least": least, "greatest": greatest})

    def widened(self) -> "DatetimeCodes":
        return self.model_copy(update={"bins": tuple(each.widened() for each in self.bins)})

    def encode(self, array: pa.Array) -> Features:
        array = plain_values(array)
        ticks, nulls = _in_days_of(self.day, array), nulls_of(array)
        columns = _calendar(ticks, self.day, self.shift) if len(self.bins) > 1 else (ticks,)
        found = [
            coded(bins, column, nulls, may_be_missing=self.may_be_missing)
            for bins, column in zip(self.bins, columns, strict=False)  # no time if all are midnight
        ]
        if self.moments:
            self._mark_moments([each.codes[0] for each in found], ticks, nulls)
        return Features(
            codes=tuple(codes for each in found for codes in each.codes),
            unseen=max(each.unseen for each in found),
            reasons=found[0].reasons,
        )

    def decode(self, features: EncodedColumn, kind: pa.DataType) -> pa.Array:
        """Decode codes; a moment without a week is missing."""
        codes, uniform = features.codes, features.uniform
        if self.bins[0].is_empty:
            return pa.nulls(len(codes), kind)  # training had nothing but nulls
        nulls = codes[:, 0] == MISSING if self.may_be_missing else None
        weeks = np.minimum(codes[:, 0], self.bins[0].size - 1) if self.moments else codes[:, 0]
        drawn = [bins.values(weeks if at == 0 else codes[:, at], uniform[:, at]) for at, bins in enumerate(self.bins)]
        ticks = np.clip(drawn[0] if len(drawn) == 1 else self._moments(drawn), self.least, self.greatest)
        if self.moments:
            index = codes[:, 0].astype(np.int64) - self.bins[0].size
            ticks = np.where(index >= 0, np.asarray(self.moments)[np.maximum(index, 0)], ticks)
        return array_of(ticks, kind, nulls)

    def _mark_moments(self, codes: list[np.ndarray], ticks: np.ndarray, nulls: np.ndarray | None) -> None:
        """Give rows at a frequent moment its code, and the first known code of the other features."""
        place = np.minimum(np.searchsorted(self.moments, ticks), len(self.moments) - 1)
        found = np.asarray(self.moments)[place] == ticks
        if nulls is not None:
            found &= ~nulls
        codes[0][found] = self.bins[0].size + place[found]
        for other in codes[1:]:
            other[found] = FIRST_VALUE

    def _moments(self, drawn: list[np.ndarray]) -> np.ndarray:
        """Combine the parts; moments outside the training range move by a week, which keeps weekday and time."""
        furthest = (2**63 - 1) // self.day - 2
        days = np.clip(drawn[0] * 7 + drawn[1] - MONDAY, -furthest, furthest)
        moments: np.ndarray = days * self.day - self.shift + (drawn[2] if len(drawn) == 3 else 0)
        early, late = moments < self.least, moments > self.greatest
        moments[early] += 7 * self.day
        moments[late] -= 7 * self.day
        return moments


def fit_datetime_codes(column: Column, index: int, values: pa.ChunkedArray) -> DatetimeCodes:
    """Fit an encoder to training values of the source's plain type."""
    known, missing = known_values(values.chunks)
    ticks, day = known.astype(np.int64), _day_of(values.type)
    shift = 0 if pt.is_time(values.type) else shift_of(values.drop_null().combine_chunks()) * (day // 86_400)
    absent = absent_codes(missing=missing, rare=False)
    moments, whole = np.zeros(0, np.int64), fit_bins(ticks)
    if not pt.is_time(values.type) and not whole.is_exact:
        # Placeholders such as 9999-12-31, and defaults.
        distinct, counts = np.unique(ticks, return_counts=True)
        moments = distinct[counts >= max(LEAST_COUNT, LEAST_SHARE * len(ticks))]
        if len(moments):
            ticks = ticks[~np.isin(ticks, moments)]
            whole = fit_bins(ticks)
    parts = _parts(column.name, ticks, whole, day, None if pt.is_time(values.type) else shift)
    return DatetimeCodes(
        name=column.name,
        features=tuple(
            Category(name=name, column=index, size=bins.size + (0 if at else len(moments)), absent=absent)
            for at, (name, bins) in enumerate(parts.items())
        ),
        bins=tuple(parts.values()),
        day=day,
        shift=shift,
        may_be_missing=missing,
        least=int(ticks.min()) if len(ticks) else 0,
        greatest=int(ticks.max()) if len(ticks) else 0,
        moments=tuple(moments.tolist()),
    )


def _parts(name: str, ticks: np.ndarray, whole: Bins, day: int, shift: int | None) -> dict[str, Bins]:
    """Fit the bins of each feature, by name; `whole` is kept if it is exact. `shift` is None for times of day."""
    if whole.is_exact or shift is None:
        return {name: whole}
    weeks, weekdays, times = _calendar(ticks, day, shift)
    parts = {f"{name}.week": fit_bins(weeks), f"{name}.weekday": fit_bins(weekdays)}
    return parts | ({f"{name}.time": fit_bins(times)} if times.any() else {})


def _calendar(ticks: np.ndarray, day: int, shift: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return weeks since 1969-12-29, weekdays from Monday = 0 and ticks since midnight; floored, also before 1970."""
    days, of_day = np.divmod(ticks, day)
    # Shifted within the day: adding the shift to nanoseconds overflows at the ends of their range.
    more, of_day = np.divmod(of_day + shift, day)
    weeks, weekdays = np.divmod(days + more + MONDAY, 7)
    return weeks, weekdays, of_day


def _day_of(kind: pa.DataType) -> int:
    if pt.is_date32(kind):
        return 1
    return _TICKS["ms" if pt.is_date64(kind) else kind.unit]


def _in_days_of(day: int, array: pa.Array) -> np.ndarray:
    """Convert times of any unit to int64 ticks, `day` ticks per day; finer units are floored."""
    if pt.is_null(array.type):
        return np.zeros(len(array), np.int64)
    ticks, own = values_of(array).astype(np.int64), _day_of(array.type)
    return ticks * (day // own) if day >= own else ticks // (own // day)
