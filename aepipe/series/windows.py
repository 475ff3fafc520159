"""Windows of a grid as views, and the score of a point as the mean over the windows that contain it."""

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from aepipe.series.grid import Grid

_CHUNK = 8_192  # steps whose windows are averaged at a time: 7 MB of float64 for windows of 100 steps


class PointScores(NamedTuple):
    """Scores of S steps."""

    score: NDArray[np.float64]
    """(S,) mean over the windows that contain the step; NaN without any"""
    windows: NDArray[np.int32]
    """(S,) number of windows that contain the step and have a score"""
    highest: NDArray[np.int64]
    """(S,) first step of the window with the highest score among them; -1 without any"""


def window_starts(grid: Grid, window: int) -> NDArray[np.int64]:
    """Return the first step of every window, (W,) ascending; no window crosses the end of a segment."""
    counts = np.maximum(grid.segment_lengths - window + 1, 0)
    offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    starts: NDArray[np.int64] = np.repeat(grid.segment_starts, counts) + offsets
    return starts


def covered_steps(starts: NDArray[np.int64], window: int, *, steps: int) -> NDArray[np.int64]:
    """Return the steps that are in at least one of the windows, ascending.

    >>> covered_steps(np.array([0, 1, 6]), 2, steps=9)
    array([0, 1, 2, 6, 7])
    """
    change = np.bincount(starts, minlength=steps + window) - np.bincount(starts + window, minlength=steps + window)
    return np.flatnonzero(np.cumsum(change)[:steps] > 0)


def windows_at(values: NDArray[np.float32], starts: NDArray[np.int64], window: int) -> NDArray[np.float32]:
    """Return the windows that begin at `starts`, (B, F, window); the only copy of their values."""
    if not len(starts):
        return np.zeros((0, values.shape[1], window), np.float32)
    return sliding_window_view(values, window, axis=0)[starts]


def point_scores(
    scores: NDArray[np.floating],
    starts: NDArray[np.int64],
    *,
    steps: int,
    window: int,
    last: NDArray[np.int64] | None = None,
) -> PointScores:
    """Average the scores of windows at each step.

    The sum at a step has the same terms in the same order wherever the series begins, so that points have equal scores
    however the series is divided into partitions.

    Args:
        scores: (W,) score of each window; those that are not finite are left out.
        starts: (W,) first step of each window.
        steps: number of steps S.
        window: steps of a window.
        last: (S,) last step that a window of the step may contain; None: no limit.
    """
    finite = np.isfinite(scores)
    at = np.full(steps + window - 1, np.nan)  # padded: `window - 1` absent windows in front
    at[starts[finite] + window - 1] = scores[finite]
    found = PointScores(np.full(steps, np.nan), np.zeros(steps, np.int32), np.full(steps, -1, np.int64))
    ends = np.arange(steps + window - 1)  # last step of the window that each place of `at` stands for
    if not steps:
        return found
    of_step, ends_of_step = sliding_window_view(at, window), sliding_window_view(ends, window)
    for begin in range(0, steps, _CHUNK):
        part = slice(begin, begin + _CHUNK)
        mine = of_step[part]
        if last is not None:
            mine = np.where(ends_of_step[part] <= last[part, None], mine, np.nan)
        counts = np.isfinite(mine).sum(axis=1)
        known = counts > 0
        sums = np.where(np.isnan(mine), 0.0, mine).sum(axis=1)
        np.divide(sums, counts, out=found.score[part], where=known)
        found.windows[part] = counts
        best = np.where(np.isnan(mine), -np.inf, mine).argmax(axis=1)
        found.highest[part] = np.where(known, best + np.arange(begin, begin + len(mine)) - window + 1, -1)
    return found
