"""Column that orders the rows in time."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from aepipe.tables.arrow_types import plain
from aepipe.tables.partition_dates import Date
from aepipe.tables.roles.proposal import Proposal
from aepipe.tables.roles.sampled_values import Values, numbers_of, words_of

_TIME_NAMES = re.compile(
    r"timestamp|ts|time|datetime|date|event_time|event_ts|event_date|event_timestamp|eventtime|created|"
    r"created_at|occurred_at|transaction_time|transaction_date|recorded_at|measured_at|logged_at|at|when|"
    r"order_date|order_time"
)
_RISING = 0.95
_FEWEST_IN_ORDER = 10
_EPOCH = (946_684_800, 4_102_444_800)  # 2000 to 2100, in seconds
EPOCH_UNITS = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
_DAY_S = 86_400.0


class _Clock(NamedTuple):
    name: str
    seconds: list[Values]
    """of each group"""
    what: str


def propose_event_time(
    names: Sequence[str], groups: Sequence[pa.Table], dates: Sequence[Date | None] = ()
) -> Proposal | None:
    """Propose the column that best orders the rows in time; None if no column does.

    Args:
        names: columns to look at.
        groups: sampled rows of consecutive partitions, in order.
        dates: date of each group; empty: unknown.
    """
    best: tuple[float, Proposal] | None = None
    for name in names:
        clock = _clock(name, groups)
        if clock is None or sum(map(len, clock.seconds)) < 0.99 * sum(group.num_rows for group in groups):
            continue
        found = _ranked(clock, dates)
        if found is not None and (best is None or found[0] > best[0]):
            best = found
    return best[1] if best else None


def _clock(name: str, groups: Sequence[pa.Table]) -> _Clock | None:
    """Return the column's values in seconds if it holds moments; None if it does not."""
    kind = plain(groups[0].schema.field(name).type)
    columns = [group.column(name) for group in groups]
    if pt.is_timestamp(kind) or pt.is_date(kind):
        per_second = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}[kind.unit] if pt.is_timestamp(kind) else 1e3
        scale = 1 / _DAY_S if pt.is_date32(kind) else per_second
        return _Clock(name, [numbers_of(column) / scale for column in columns], str(kind))
    if not (pt.is_integer(kind) or pt.is_floating(kind)):
        return None
    values = [numbers_of(column) for column in columns]
    unit = epoch_unit(np.concatenate(values))
    if unit is None or (pt.is_floating(kind) and unit != "seconds"):  # floats are seconds everywhere
        return None
    return _Clock(name, [each / EPOCH_UNITS[unit] for each in values], f"{unit} since 1970")


def epoch_unit(values: np.ndarray) -> str | None:
    """Return the unit of integers that count from 1970 to moments between 2000 and 2100; None if they do not.

    >>> epoch_unit(np.array([1_767_225_600])), epoch_unit(np.array([1, 2]))
    ('seconds', None)
    """
    for unit, scale in EPOCH_UNITS.items():
        if len(values) and _EPOCH[0] * scale <= values.min() and values.max() <= _EPOCH[1] * scale:
            return unit
    return None


def is_sorted_by_time(names: Sequence[str], groups: Sequence[pa.Table]) -> bool:
    """Return True if a column of moments rises within and between groups of consecutive rows."""
    clocks = [clock for name in names if (clock := _clock(name, groups)) is not None]
    return any(_in_order(clock.seconds) and _in_order([np.concatenate(clock.seconds)]) for clock in clocks)


def _in_order(groups: Sequence[Values]) -> bool:
    """Return True if the values of every group rise, ties aside; constant groups tell nothing."""
    spans = [seconds for seconds in groups if len(seconds) >= _FEWEST_IN_ORDER and seconds.min() < seconds.max()]
    return bool(spans) and min(float(np.mean(np.diff(seconds) >= 0)) for seconds in spans) >= _RISING


def _ranked(clock: _Clock, dates: Sequence[Date | None]) -> tuple[float, Proposal] | None:
    """Return how well the values fit an event time, and the proposal."""
    filled = [seconds for seconds in clock.seconds if len(seconds)]
    words = words_of(clock.name)
    is_named = _TIME_NAMES.fullmatch("_".join(words)) is not None
    follows = _follows_dates(clock.seconds, dates)
    medians = np.array([np.median(seconds) for seconds in filled])
    rises = len(filled) >= 3 and float(np.mean(np.diff(medians) > 0)) >= _RISING
    in_order = _in_order(filled)
    varies = any(seconds.min() < seconds.max() for seconds in filled)
    reasons = [
        reason
        for holds, reason in (
            (follows, "follows the dates of the partitions"),
            (rises and not follows, "rises from partition to partition"),
            (in_order, "rises from row to row"),
        )
        if holds
    ]
    if not reasons and not (is_named and not clock.what.startswith(tuple(EPOCH_UNITS))):
        return None
    if not reasons:
        reasons = ["is named like an event time"]
    rank = 4 * follows + 3 * rises + 2 * in_order + 2.5 * is_named + 0.5 * varies
    return rank, Proposal(clock.name, "event_time", f"{clock.what} that {' and '.join(reasons)}")


def _follows_dates(seconds: Sequence[Values], dates: Sequence[Date | None]) -> bool:
    if len(dates) != len(seconds):
        return False
    hits = []
    for values, date in zip(seconds, dates, strict=True):
        if date is None or not len(values):
            continue
        begin = np.datetime64("-".join(f"{part:02d}" for part in date), ("Y", "M", "D")[len(date) - 1])
        first = begin.astype("datetime64[s]").astype(np.int64)
        last = (begin + 1).astype("datetime64[s]").astype(np.int64)
        # a day of slack: partitions are cut by local time, or hold what arrived by then
        hits.append(float(np.mean((values >= first - _DAY_S) & (values < last + _DAY_S))))
    return bool(hits) and float(np.mean(hits)) >= 0.8
