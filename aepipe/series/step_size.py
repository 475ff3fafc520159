"""Step, phase and window length of series, found in the training rows."""

import numpy as np
from numpy.typing import NDArray

from aepipe.series.grid import Grid

DEFAULT_WINDOW = 100
_SHORTEST, _LONGEST = 64, 200
_LEAST_AGREEMENT = 0.5
_NEAR = 0.25
_FEWEST_WINDOW = 8
_MOST_SEGMENTS = 20
_LEAST_CORRELATION = 0.3


def modal_step(entity: NDArray[np.int64], time: NDArray[np.int64]) -> int | None:
    """Return the most frequent difference between the times of a series; None if no difference is usual.

    It is usual if at least half of the differences lie within a quarter of it.

    Args:
        entity: (R,) code of the series.
        time: (R,) in any integer unit.
    """
    order = np.lexsort((time, entity))
    differences = np.diff(time[order])
    differences = differences[(np.diff(entity[order]) == 0) & (differences > 0)]
    if not len(differences):
        return None
    found, counts = np.unique(differences, return_counts=True)
    step = int(found[counts.argmax()])
    near = np.abs(differences - step) <= _NEAR * step
    return step if near.mean() >= _LEAST_AGREEMENT else None


def phases(entity: NDArray[np.int64], time: NDArray[np.int64], step: int, *, entities: int) -> NDArray[np.float64]:
    """Return the circular mean of time modulo the step for each series, (E,) as shares of a step; NaN without rows."""
    angle = (2 * np.pi / step) * np.mod(time, step)
    rows = np.bincount(entity, minlength=entities)
    cosine = np.bincount(entity, np.cos(angle), minlength=entities)
    sine = np.bincount(entity, np.sin(angle), minlength=entities)
    share = np.mod(np.arctan2(sine, cosine) / (2 * np.pi), 1.0)
    return np.where(rows > 0, share, np.nan)


def step_numbers(time: NDArray[np.int64], step: int, phase: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the number of the step nearest to each time, (R,); phase: (R,) share of a step at which steps lie."""
    whole, rest = np.divmod(time, step)
    return whole + np.floor(rest / step - phase + 0.5).astype(np.int64)


def ranks_in_series(
    entity: NDArray[np.int64], time: NDArray[np.int64] | None, used: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Return the number of each row in its series, (R,), from 1; rows of one time share it, rows not used have 0.

    Args:
        entity: (R,) code of the series.
        time: (R,); None: the order of the rows.
        used: (R,) rows to number.
    """
    found = np.zeros(len(entity), np.int64)
    rows = np.flatnonzero(used)
    if not len(rows):
        return found
    moments = np.arange(len(rows)) if time is None else time[rows]
    order = np.lexsort((moments, entity[rows]))
    of, at = entity[rows][order], moments[order]
    is_first = np.ones(len(rows), np.bool_)
    is_first[1:] = of[1:] != of[:-1]
    is_new = is_first.copy()
    is_new[1:] |= at[1:] != at[:-1]
    numbers = np.cumsum(is_new)
    begins = np.flatnonzero(is_first)
    found[rows[order]] = numbers - np.repeat(numbers[begins] - 1, np.diff(begins, append=len(rows)))
    return found


def find_window(grid: Grid) -> int:
    """Choose the window length for the training part of the series.

    The multiple of the period between 64 and 200 steps that is nearest to 100, else 100; at most a fifth of the longest
    segment, and at least 8.
    """
    longest = int(grid.segment_lengths.max(initial=0))
    limit = max(_FEWEST_WINDOW, longest // 5)
    period = find_period(grid)
    wanted = DEFAULT_WINDOW
    if period is not None:
        multiples = [count * period for count in range(1, _LONGEST // period + 1) if count * period >= _SHORTEST]
        wanted = min(multiples, key=lambda steps: abs(steps - DEFAULT_WINDOW), default=DEFAULT_WINDOW)
    return min(wanted, limit)


def find_period(grid: Grid) -> int | None:
    """Return the median period of the longest segments, in steps; None if most of them have none."""
    lengths = grid.segment_lengths
    found: list[int | None] = []
    for segment in np.argsort(-lengths, kind="stable")[:_MOST_SEGMENTS]:
        begin = grid.segment_starts[segment]
        values = grid.values[begin : begin + lengths[segment]]
        found += [_period(channel) for channel in values.T]
    known = [period for period in found if period is not None]
    return int(np.median(known)) if 2 * len(known) > len(found) else None


def _period(values: NDArray[np.float32]) -> int | None:
    """Return the lag of the highest peak of the autocorrelation, at most a third of the series; None if it is low."""
    observed = values[-20_000:].astype(np.float64)
    if len(observed) < 3 * _FEWEST_WINDOW:
        return None
    observed = np.nan_to_num(observed - np.nanmean(observed) if np.isfinite(observed).any() else observed)
    size = 2 ** (2 * len(observed) - 1).bit_length()
    spectrum = np.abs(np.fft.rfft(observed, size)) ** 2
    raw = np.fft.irfft(spectrum, size)[: len(observed) // 3]
    if raw[0] <= 0:
        return None
    lags = np.arange(len(raw))
    correlation = raw / raw[0] * len(observed) / (len(observed) - lags)  # unbiased
    inner = correlation[1:-1]
    peaks = 1 + np.flatnonzero((inner > correlation[:-2]) & (inner >= correlation[2:]) & (inner > _LEAST_CORRELATION))
    below = np.flatnonzero(correlation < 0)  # before it, noise makes peaks on the slope
    peaks = peaks[peaks >= max(4, int(below[0]) if len(below) else len(raw))]
    if not len(peaks):
        return None
    near = correlation[peaks] >= 0.9 * correlation[peaks].max()  # multiples of the period are about as high
    first = int(peaks[near][0])
    around = slice(int(0.75 * first), int(1.25 * first) + 1)  # noise splits one peak into several
    return around.start + int(correlation[around].argmax())
