"""Distances between windows of series: the nearest window of the past, and of a memory.

The windows that two series share at one lag form a diagonal of the distance matrix. Along it, the squared differences
of steps are summed once and windows are differences of the sums, so that the cost does not depend on the window (Zhu et
al. 2016, "Matrix Profile II"). All sums are in float64: the result does not depend on where a series was cut.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

REACH = 100.0
"""Bound of scaled values: beyond it a window is far from all others, and sums of squares would lose digits."""

DAY_WEIGHT = 0.36
"""Weight of the time of day: 12 hours apart counts as four times this mean squared difference per channel.

On 19 series of the Numenta Anomaly Benchmark, weights of 0.09 and 0.36 raise the mean VUS-PR by 0.01 and 0.02, and 1
adds nothing.
"""


class Segment(NamedTuple):
    """Steps of one series without a gap.

    Attributes:
        first: Number of the first step on the grid of its series; differences are lags in steps.
        values: (F, S) scaled values without missing ones.
    """

    first: int
    values: Floats

    @classmethod
    def of(cls, first: int, values: NDArray[np.floating]) -> "Segment":
        """Make a segment of values (S, F), clipped at `REACH`."""
        return cls(first, np.ascontiguousarray(np.clip(values.T.astype(np.float64), -REACH, REACH)))

    @property
    def steps(self) -> int:
        """Number of steps."""
        return int(self.values.shape[1])

    def since(self, step: int) -> "Segment":
        """Return the steps from the `step`-th on."""
        return Segment(self.first + step, self.values[:, step:])

    def windows(self, window: int) -> int:
        """Return the number of windows."""
        return max(self.steps - window + 1, 0)


class Distances(NamedTuple):
    """Distances between windows of one length.

    Attributes:
        window: Steps per window.
        day: Steps per day, so that the time of day counts; None if the order of steps is not time.
    """

    window: int
    day: float | None = None

    def to_memory(self, segment: Segment, memory: Iterable[Segment], *, is_aligned: bool = True) -> Floats:
        """Return the root mean squared distance of each window to the nearest window of the memory, (W,).

        Windows that share a step are not compared; infinite where none is left.

        Args:
            segment: The windows.
            memory: Segments to compare with.
            is_aligned: False if step numbers of the memory have another origin: all windows are compared, and the
                time of day does not count.
        """
        best = np.full(segment.windows(self.window), np.inf)
        distances = self if is_aligned else self._replace(day=None)
        for other in memory:
            first, last = _lags(segment, other)
            if not is_aligned:
                distances._lower(best, segment, other, range(first, last + 1))
                continue
            distances._lower(best, segment, other, range(first, min(last, -self.window) + 1))
            distances._lower(best, segment, other, range(max(first, self.window), last + 1))
        return np.asarray(np.sqrt(best))

    def to_past(
        self,
        segment: Segment,
        earlier: Sequence[Segment],
        *,
        horizon: int,
        admitted: Sequence[Bools] = (),
        wait: int = 0,
    ) -> Floats:
        """Return the distance of each window to the nearest one that ended before it began, (W,).

        Args:
            segment: The windows.
            earlier: Segments of the same series in the order of time, `segment` among them.
            horizon: Largest lag in steps.
            admitted: Windows of each earlier segment, (W,) each, that may be compared at once; the others wait.
            wait: Least lag in steps of a window that is not admitted.
        """
        best = np.full(segment.windows(self.window), np.inf)
        masks: Sequence[Bools | None] = admitted or [None] * len(earlier)
        for other, mask in zip(earlier, masks, strict=True):
            first, last = _lags(segment, other)
            lags = range(max(first, self.window), min(last, horizon) + 1)
            if mask is None:
                self._lower(best, segment, other, lags)
                continue
            self._lower(best, segment, other, range(lags.start, min(lags.stop, wait)), admitted=mask)
            self._lower(best, segment, other, range(max(lags.start, wait), lags.stop))
        return np.asarray(np.sqrt(best))

    def of_window(self, target: Segment, other: Segment, *, is_aligned: bool = True) -> Floats:
        """Return the distance of one window to each window of a segment, (W,); infinite where they share a step.

        Args:
            target: A segment of one window.
            other: Segment to compare with.
            is_aligned: False if its step numbers have another origin, as in `to_memory`.
        """
        if not other.windows(self.window):
            return np.zeros(0)
        windows = sliding_window_view(other.values, self.window, axis=1)  # (F, W, window)
        squares = ((windows - target.values[:, None]) ** 2).mean(axis=(0, 2))
        if not is_aligned:
            return np.asarray(np.sqrt(squares))
        lag = target.first - other.first - np.arange(len(squares))
        if self.day is not None:
            squares += 2 * DAY_WEIGHT * (1 - np.cos(2 * math.pi * lag / self.day))
        return np.asarray(np.sqrt(np.where(np.abs(lag) < self.window, np.inf, squares)))

    def _lower(
        self, best: Floats, segment: Segment, other: Segment, lags: range, *, admitted: Bools | None = None
    ) -> None:
        """Lower the least mean squared distances, (W,), by the windows of another segment at these lags.

        Channel by channel in place: three channels take 15 % less time than as one array.
        """
        window, (channels, length) = self.window, segment.values.shape
        ours, others = segment.windows(window), other.windows(window)
        mine, theirs = (part.values / math.sqrt(window * channels) for part in (segment, other))
        sums, of_channel, of_all = np.zeros(length + 1), np.empty(length), np.empty(length)
        for lag in lags:
            shift = segment.first - other.first - lag
            begin, end = max(0, -shift), min(ours, others - shift)
            if begin >= end:
                continue
            steps = end - begin + window - 1
            total = of_all[:steps]
            for channel in range(channels):
                squares = of_channel[:steps] if channel else total
                before = theirs[channel, begin + shift : begin + shift + steps]
                np.subtract(mine[channel, begin : begin + steps], before, out=squares)
                squares *= squares
                if channel:
                    total += squares
            total.cumsum(out=sums[1 : steps + 1])
            found = sums[window : steps + 1] - sums[: steps + 1 - window]
            if self.day is not None:
                found += 2 * DAY_WEIGHT * (1 - math.cos(2 * math.pi * lag / self.day))
            if admitted is not None:
                found[~admitted[begin + shift : end + shift]] = np.inf
            np.minimum(best[begin:end], found, out=best[begin:end])


def shift_to(segment: Segment, memory: Sequence[Segment], *, window: int) -> int | None:
    """Return the difference of the numbers of a memory and of a segment that is part of it; None for another one.

    The segment may begin before the memory or end after it: it is part of it if all steps that both have are equal, at
    least a window of them, and no other shift has such a window.
    """
    for probe in range(0, segment.windows(window), window):
        target = segment.values[:, probe : probe + window]
        found = []
        for other in memory:
            ours = other.values[:, : other.windows(window)]
            for at in np.flatnonzero((ours == target[:, :1]).all(axis=0)).tolist():
                if np.array_equal(other.values[:, at : at + window], target):
                    found.append((other, other.first + at - segment.first - probe))
        if len(found) == 1 and _is_equal(segment, *found[0]):
            return found[0][1]
    return None


def _is_equal(segment: Segment, other: Segment, shift: int) -> bool:
    """Tell whether all steps are equal that two segments share when the other one is `shift` ahead."""
    first = max(segment.first, other.first - shift)
    last = min(segment.first + segment.steps, other.first - shift + other.steps)
    mine = segment.values[:, first - segment.first : last - segment.first]
    theirs = other.values[:, first + shift - other.first : last + shift - other.first]
    return bool(np.array_equal(mine, theirs))


def deviation(segment: Segment, window: int) -> Floats:
    """Return the standard deviation of each window, root mean square over channels, (W,)."""
    values = segment.values
    if segment.steps < window:
        return np.zeros(0)
    centred = values - values.mean(axis=1, keepdims=True)  # the deviation is the same; its sums keep their digits
    sums, squares = (np.cumsum(np.pad(part, ((0, 0), (1, 0))), axis=1) for part in (centred, centred**2))
    mean, power = ((total[:, window:] - total[:, :-window]) / window for total in (sums, squares))
    return np.asarray(np.sqrt(np.maximum(power - mean**2, 0.0).mean(axis=0)))


def _lags(segment: Segment, other: Segment) -> tuple[int, int]:
    """Return the least and the greatest lag between steps of the segments."""
    return (
        segment.first - (other.first + other.values.shape[1] - 1),
        segment.first + segment.values.shape[1] - 1 - other.first,
    )
