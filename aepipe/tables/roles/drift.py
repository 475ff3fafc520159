"""Columns whose values move on: later partitions hold values that earlier ones never had."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aepipe.tables.arrow_types import sort_of
from aepipe.tables.roles.sampled_values import Values, joined, numbers_of

NOTEWORTHY = 0.5
"""Smallest share of later values outside the earlier range at which a column is reported."""
COUNTER = 0.8
"""Smallest such share at which a column that keeps its direction is a counter, a clock or a version."""
_COMMON = 0.02
"""Share of all rows from which a value that several groups hold is a placeholder, such as -1 or 9999-12-31."""
_MOST_REPEATED = 0.2
"""Largest number of distinct texts per row at which unseen texts are news; names of customers are always unseen."""
_FEWEST_GROUPS = 3


class Drift(NamedTuple):
    """Column whose values in later partitions lie outside the range of earlier partitions."""

    column: str
    outside: float
    """Share of the values of later groups that no earlier group covers, mean over the groups."""
    moves: Literal["rises", "falls", "changes"]
    is_counter: bool
    """Nearly every partition lies beyond all earlier ones, in one direction."""

    @property
    def sentence(self) -> str:
        """Describe the drift; continues the name of the column."""
        where = "are new" if self.moves == "changes" else "lie outside the range of earlier ones"
        return f"{self.moves} over time: {self.outside:.0%} of later values {where}"


class Ranges(NamedTuple):
    """Least and greatest value of each column in one partition, by the statistics of its row groups."""

    of_column: dict[str, tuple[float, float]]


def find_drift(groups: Sequence[pa.Table], ranges: Sequence[Ranges] = ()) -> tuple[Drift, ...]:
    """Find the columns that drift, in the order of the table.

    Args:
        groups: rows of consecutive partitions in order, of one schema; fewer than two show no drift.
        ranges: least and greatest value of each column in every partition, by the footers; they acquit columns that
            return to earlier values, such as the day of the week, which a few sampled partitions may not show.
    """
    if len(groups) < 2:
        return ()
    found = []
    for field in groups[0].schema:
        sort = sort_of(field.type)
        columns = [group.column(field.name) for group in groups]
        if sort in ("number", "time"):
            drift = _of_numbers(field.name, [numbers_of(column) for column in columns], is_time=sort == "time")
            if drift is not None and _returns(field.name, ranges):
                continue
        elif sort == "text":
            drift = _of_texts(field.name, columns)
        else:
            continue
        if drift is not None:
            found.append(drift)
    return tuple(found)


def _of_numbers(name: str, groups: Sequence[Values], *, is_time: bool) -> Drift | None:
    rows = [len(values) for values in groups]
    kept = [(values, n) for values, n in zip(_without_placeholders(groups), rows, strict=True) if len(values)]
    groups = [values for values, _ in kept]
    if len(groups) < 2:
        return None
    shares = []
    low, high = groups[0].min(), groups[0].max()
    for values, n in kept[1:]:
        shares.append(np.count_nonzero((values < low) | (values > high)) / n)
        low, high = min(low, values.min()), max(high, values.max())
    outside = float(np.mean(shares))
    if outside < NOTEWORTHY:
        return None
    steps = np.sign(np.diff([np.median(values) for values in groups]))
    rising, falling = float(np.mean(steps > 0)), float(np.mean(steps < 0))
    one_way = max(rising, falling) >= COUNTER
    # moments and counters seldom repeat: two groups suffice for them
    distinct = [np.unique(values) for values in groups]
    repeats = any(2 * len(own) <= len(all_) or (own % 1).any() for own, all_ in zip(distinct, groups, strict=True))
    is_counter = one_way and outside >= COUNTER and (is_time or len(groups) >= _FEWEST_GROUPS or not repeats)
    return Drift(name, outside, "changes" if not one_way else "rises" if rising > falling else "falls", is_counter)


def _without_placeholders(groups: Sequence[Values]) -> list[Values]:
    """Drop values that several groups hold and that are common, such as -1 for an unknown number."""
    rows = sum(len(values) for values in groups)
    distinct = [np.unique(values) for values in groups]
    values, held_by = np.unique(np.concatenate(distinct), return_counts=True)
    shared = values[held_by >= 2]
    counts = np.zeros(len(shared))
    for group in groups:
        ordered = np.sort(group)
        counts += np.searchsorted(ordered, shared, side="right") - np.searchsorted(ordered, shared, side="left")
    common = shared[counts >= _COMMON * max(1, rows)]
    return [group[~np.isin(group, common)] for group in groups] if len(common) else list(groups)


def _of_texts(name: str, columns: Sequence[pa.ChunkedArray]) -> Drift | None:
    texts = [joined([column]).drop_null() for column in columns]
    filled = [group for group in texts if len(group)]
    if len(filled) < _FEWEST_GROUPS:
        return None
    known = pc.unique(filled[0])
    shares = []
    for group in filled[1:]:
        distinct = pc.unique(group)
        if len(distinct) > max(1, _MOST_REPEATED * len(group)):
            return None
        shares.append(1 - float(pc.mean(pc.is_in(group, value_set=known)).as_py()))
        known = pc.unique(pa.concat_arrays([known, distinct]))
    outside = float(np.mean(shares))
    return Drift(name, outside, "changes", outside >= COUNTER) if outside >= NOTEWORTHY else None


def _returns(name: str, ranges: Sequence[Ranges]) -> bool:
    """Return True if most partitions exceed neither the least nor the greatest value of all earlier ones."""
    known = [found.of_column[name] for found in ranges if name in found.of_column]
    if len(known) < 2:
        return False
    lows, highs = np.array(known).T
    bounds = (lows, highs, -lows, -highs)
    records = max(float(np.mean(each[1:] > np.maximum.accumulate(each)[:-1])) for each in bounds)
    return records < NOTEWORTHY
