"""Calendar of series: the cycle that their values follow, and their means along it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

HOUR = 3_600_000_000
DAY = 24 * HOUR
WEEK = 7 * DAY
"""Microseconds."""

_MONDAY = 4 * DAY  # 1970-01-05
_DAYS = {
    "the day": (0, 0, 0, 0, 0, 0, 0),
    "workdays and weekends": (0, 0, 0, 0, 0, 1, 1),
    "the week": (0, 1, 2, 3, 4, 5, 6),
}
"""Groups of weekdays that are alike."""

_LEAST_GAIN = 0.005
"""Share of the error by which a finer cycle must be better."""
_BLOCK_STEPS = 100
_FEWEST_MOMENTS = 3
_CLOSED = 0.05
"""Share of the steps of a cell that have rows although it is closed."""


class Cycle(NamedTuple):
    """Cycle of moments: cells of `unit` that begin again after `length`, on some weekdays apart from others."""

    name: str
    length: int
    unit: int
    block: int
    """Neighbouring moments that are left out together when the cycle is compared with others"""
    groups: tuple[int, ...] = (0,)
    """Group of each weekday, from Monday; one: moments have no weekdays"""
    is_smooth: bool = False
    """Means are interpolated between the middles of the cells"""

    def cells_of(self, moments: Ints) -> Ints:
        """Return the cell of each moment, (S,)."""
        cells = np.mod(moments, self.length) // self.unit
        if len(self.groups) > 1:
            weekday = np.mod(moments - _MONDAY, WEEK) // DAY
            cells = cells + self._cells_each * np.array(self.groups)[weekday]
        return np.asarray(cells)

    @property
    def cells(self) -> int:
        """Number of cells."""
        return self._cells_each * (max(self.groups) + 1)

    @property
    def _cells_each(self) -> int:
        return -(-self.length // self.unit)

    def neighbours(self, moments: Ints) -> tuple[Ints, Ints, Floats]:
        """Return the cells whose middles lie before and after each moment, and the share of the way, (S,) each."""
        half = self.unit // 2
        return (
            self.cells_of(moments - half),
            self.cells_of(moments + half),
            np.mod(moments - half, self.unit) / self.unit,
        )


class History(NamedTuple):
    """Known part of one series."""

    moments: Ints
    """(S,) local time in microseconds, or numbers of steps"""
    values: Floats
    """(S, F), NaN where missing"""


class ChannelProfile(NamedTuple):
    """Means of one channel along the cycle that it follows."""

    cycle: Cycle
    means: Floats
    """(C,)"""

    @classmethod
    def fit(cls, cycle: Cycle, moments: Ints, values: Floats) -> "ChannelProfile":
        """Take the mean of each cell; a cell without values has the mean of all."""
        known = np.isfinite(values)
        cells, found = cycle.cells_of(moments[known]), values[known]
        sums, counts = (np.bincount(cells, weights, minlength=cycle.cells) for weights in (found, None))
        overall = float(found.mean()) if len(found) else 0.0
        return cls(cycle, np.where(counts > 0, sums / np.maximum(counts, 1), overall))

    def at(self, moments: Ints) -> Floats:
        """Return the mean at each moment, (S,)."""
        if not self.cycle.is_smooth:
            return np.asarray(self.means[self.cycle.cells_of(moments)])
        before, after, share = self.cycle.neighbours(moments)
        return np.asarray((1 - share) * self.means[before] + share * self.means[after])


class Profile(NamedTuple):
    """Means of all channels of a series along their cycles."""

    channels: tuple[ChannelProfile, ...]

    @classmethod
    def fit(cls, history: History, candidates: Sequence[Cycle]) -> "Profile":
        """Fit each channel along the cycle that predicts it best."""
        moments, columns = history.moments, history.values.T
        return cls(
            tuple(ChannelProfile.fit(choose_cycle(moments, values, candidates), moments, values) for values in columns)
        )

    def at(self, moments: Ints) -> Floats:
        """Return the means at each moment, (S, F)."""
        return np.stack([channel.at(moments) for channel in self.channels], axis=1)


def cycles(step: int | None, *, period: int | None) -> tuple[Cycle, ...]:
    """Return the cycles that series may follow, the coarsest first; the first one has a single cell.

    Args:
        step: Microseconds between steps; None: moments are numbers of steps.
        period: Steps of the period that the series have; None: no period.
    """
    if step is None:
        block = period or _BLOCK_STEPS
        none = Cycle("no cycle", 1, 1, block)
        return (none, Cycle(f"{period} steps", period, 1, block)) if period else (none,)
    found = [Cycle("no cycle", DAY, DAY, DAY)]
    hour = max(HOUR, step)
    for days, groups in _DAYS.items():
        if len(set(groups)) > 1 and step <= DAY:
            found.append(Cycle(days, DAY, DAY, DAY, groups))
        if 2 * hour <= DAY:
            found += [
                Cycle(f"hour of {days}", DAY, hour, DAY, groups, smooth) for smooth in (True, False)[step == hour :]
            ]
        if step < hour:
            found.append(Cycle(f"step of {days}", DAY, step, DAY, groups))
    if period:
        found.append(Cycle(f"{period} steps", period * step, step, max(DAY, period * step)))
    return tuple(sorted(found, key=lambda cycle: cycle.cells))


def hours_of_week(step: int | None) -> Cycle | None:
    """Return the hours of the week, or longer steps; None if steps are no time, or longer than a day."""
    if step is None or step > DAY:
        return None
    return Cycle("hour of the week", DAY, max(HOUR, step), DAY, _DAYS["the week"])


def closed_cells(cycle: Cycle, moments: Ints, has_row: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the cells that have practically no rows, (C,), such as nights and weekends.

    Args:
        cycle: The cycle.
        moments: Moments of all steps from the first row to the last one, (S,).
        has_row: Steps with a row, (S,).
    """
    cells = cycle.cells_of(moments)
    rows, steps = (np.bincount(each, minlength=cycle.cells) for each in (cells[has_row], cells))
    return np.asarray((steps >= _FEWEST_MOMENTS) & (rows <= _CLOSED * steps))


def choose_cycle(moments: Ints, values: Floats, candidates: Sequence[Cycle]) -> Cycle:
    """Return the cycle whose means predict days best that they are taken without; the coarsest one if none is better.

    Days are left out as a whole (cross-validation), since neighbouring steps are alike.

    Args:
        moments: (S,) moments.
        values: (S,) values of a channel, NaN where missing.
        candidates: Cycles, the coarsest first.
    """
    best, least = candidates[0], np.inf
    for cycle in candidates:
        error = left_out_error(cycle, moments, values)
        if error < (1 - _LEAST_GAIN) * least:
            best, least = cycle, error
    return best


def left_out_error(cycle: Cycle, moments: Ints, values: Floats) -> float:
    """Return the mean square of values less the mean of their cell without their own block; NaN without values.

    A cell that only this block has is predicted by the mean of all other blocks.
    """
    known = np.isfinite(values)
    if not known.any():
        return float("nan")
    values, moments = values[known], moments[known]
    blocks = np.unique(moments // cycle.block, return_inverse=True)[1]
    find = _smooth_predictions if cycle.is_smooth else _predictions
    return float(((values - find(cycle, moments, values, blocks)) ** 2).mean())


def _predictions(cycle: Cycle, moments: Ints, values: Floats, blocks: Ints) -> Floats:
    """Return the mean of each value's cell without its block, (S,)."""
    cells, ahead = cycle.cells_of(moments), int(blocks.max()) + 1
    pairs, pair = np.unique(cells * ahead + blocks, return_inverse=True)
    near, alike = _without(pair, values, np.unique(pairs // ahead, return_inverse=True)[1])
    rest, others = _without(blocks, values, np.zeros(ahead, np.int64))
    fallback = np.where(others > 0, rest / np.maximum(others, 1), 0.0)[blocks]
    return np.where(alike[pair] > 0, near[pair] / np.maximum(alike[pair], 1), fallback)


def _smooth_predictions(cycle: Cycle, moments: Ints, values: Floats, blocks: Ints) -> Floats:
    """Return the interpolated means at each value without its block, (S,)."""
    shape = (int(blocks.max()) + 1, cycle.cells)
    place = blocks * cycle.cells + cycle.cells_of(moments)
    sums, counts = (np.bincount(place, weights, shape[0] * shape[1]).reshape(shape) for weights in (values, None))
    sums, counts = sums.sum(axis=0) - sums, counts.sum(axis=0) - counts
    others = counts.sum(axis=1, keepdims=True)
    fallback = np.where(others > 0, sums.sum(axis=1, keepdims=True) / np.maximum(others, 1), 0.0)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), fallback)
    before, after, share = cycle.neighbours(moments)
    return np.asarray((1 - share) * means[blocks, before] + share * means[blocks, after])


def _without(part: Ints, values: Floats, group: Ints) -> tuple[Floats, Ints]:
    """Return sum and count of the values of each part's group without the part itself, (P,) each.

    Args:
        part: Part of each value.
        values: The values.
        group: Group of each part, (P,).
    """
    sums, counts = np.bincount(part, values, minlength=len(group)), np.bincount(part, minlength=len(group))
    of_group = np.bincount(group, sums)[group] - sums
    return np.asarray(of_group, np.float64), np.rint(np.bincount(group, counts)[group] - counts).astype(np.int64)
