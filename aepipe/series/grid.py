"""Grid of steps: rows in any order become series of equally spaced steps, split at gaps."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Grid:
    """Steps of all series, one series after another, in the order of time.

    A segment is a stretch of one series without a gap; missing steps inside a segment are steps too.
    """

    values: NDArray[np.float32]
    """(S, F), NaN where a step has no value"""
    segment_starts: NDArray[np.int64]
    """(G,) first step of each segment"""
    row_step: NDArray[np.int64]
    """(R,) step of each row, -1 for a row that is on no step"""
    duplicates: int
    """Rows that another row of the same series and step replaces."""
    segment_entity: NDArray[np.int64]
    """(G,) code of the series of each segment"""
    segment_number: NDArray[np.int64]
    """(G,) number of the first step of each segment within its series, as given"""

    @property
    def steps(self) -> int:
        """Number of steps."""
        return len(self.values)

    @property
    def segment_lengths(self) -> NDArray[np.int64]:
        """Steps of each segment, (G,)."""
        return np.diff(self.segment_starts, append=self.steps)


def build_grid(
    entity: NDArray[np.int64],
    index: NDArray[np.int64],
    values: NDArray[np.float32],
    *,
    order: NDArray[np.int64],
    longest_gap: int,
) -> Grid:
    """Place rows on the steps of their series; the last row of a step gives its values.

    A row without any value is on no step.

    Args:
        entity: (R,) code of the series.
        index: (R,) number of the step within the series.
        values: (R, F), NaN where missing.
        order: (R,) ranks rows of one step, for instance by their exact time; ties are ranked by position.
        longest_gap: missing steps in a row up to which a segment continues.
    """
    used = np.flatnonzero(~np.isnan(values).all(axis=1))
    used = used[np.lexsort((order[used], index[used], entity[used]))]  # stable: ties stay in the order of the rows
    of, at = entity[used], index[used]
    is_new = np.ones(len(used), np.bool_)
    is_new[1:] = (of[1:] != of[:-1]) | (at[1:] != at[:-1])
    first = np.flatnonzero(is_new)
    last = np.append(first, len(used))[1:] - 1
    distance = np.diff(at[first], prepend=0)
    begins = np.ones(len(first), np.bool_)
    begins[1:] = (of[first][1:] != of[first][:-1]) | (distance[1:] > longest_gap + 1)
    places = np.cumsum(np.where(begins, 1, distance)) - 1
    steps = np.full((int(places[-1]) + 1 if len(places) else 0, values.shape[1]), np.nan, np.float32)
    steps[places] = values[used[last]]
    row_step = np.full(len(entity), -1, np.int64)
    row_step[used] = places[np.cumsum(is_new) - 1]
    firsts = first[begins]
    return Grid(steps, places[begins], row_step, len(used) - len(first), of[firsts], at[firsts])


def filled(grid: Grid, *, longest_gap: int) -> NDArray[np.float32]:
    """Return the values without missing ones, (S, F): the last value up to `longest_gap` steps before, else 0.

    The value at a step depends on at most `longest_gap` steps before it, so that it is the same however the series
    is divided into partitions.
    """
    values = grid.values.copy()
    may_continue = np.ones(grid.steps, np.bool_)
    may_continue[grid.segment_starts] = False
    for _ in range(longest_gap):
        rows, channels = np.nonzero(np.isnan(values) & may_continue[:, None])
        if not len(rows):
            break
        values[rows, channels] = values[rows - 1, channels]
    return np.nan_to_num(values, copy=False, nan=0.0)
