"""Event-level detection metrics: anomalies as runs of rows in time. Independent of files."""

from dataclasses import dataclass
from itertools import pairwise
from typing import NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aepipe.errors import EvaluationInvalid

LONGEST = 100
"""Normal points per false episode."""


@dataclass(frozen=True, slots=True)
class EventRecall:
    """Number of events, and number of events found within a budget of false alarms."""

    events: int
    found: int
    threshold: float
    """Rows that score above it are flagged."""

    @property
    def recall(self) -> float:
        """Share of the events that are found; 0 if there are none."""
        return self.found / self.events if self.events else 0.0


@dataclass(frozen=True, slots=True)
class EpisodeRecall:
    """Events found within a budget of false episodes."""

    delays: tuple[int | None, ...]
    """steps from the start of each event to its first flagged point; None for an event that is not found"""
    threshold: float
    """Points that score above it are flagged."""

    @property
    def events(self) -> int:
        """Number of events."""
        return len(self.delays)

    @property
    def found(self) -> int:
        """Number of events with a flagged point."""
        return sum(delay is not None for delay in self.delays)

    @property
    def recall(self) -> float:
        """Share of the events that are found; 0 if there are none."""
        return self.found / self.events if self.events else 0.0

    @property
    def median_delay(self) -> float | None:
        """Median delay of the events found, in steps; None if none is found."""
        known = [delay for delay in self.delays if delay is not None]
        return float(np.median(known)) if known else None


def runs(anomalous: ArrayLike) -> tuple[slice, ...]:
    """Return the events of rows (B,) in time order: maximal runs of anomalous rows.

    >>> runs([False, True, True, False, True])
    (slice(1, 3, None), slice(4, 5, None))
    """
    edges = np.diff(np.asarray(anomalous, dtype=np.int8), prepend=0, append=0)
    begins, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return tuple(slice(int(begin), int(end)) for begin, end in zip(begins, ends, strict=True))


def event_recall(anomalous: ArrayLike, scores: ArrayLike, *, false_alarms: int) -> EventRecall:
    """Count the events found at the lowest threshold that flags at most `false_alarms` normal rows.

    An event is found if at least one of its rows is flagged, and counts once, whatever its length. Its other rows count
    neither as hits nor as misses, unlike under point adjustment.

    Args:
        anomalous: (B,), in time order.
        scores: (B,), in time order.
        false_alarms: budget of flagged normal rows.
    """
    truth, values = np.asarray(anomalous, dtype=np.bool_), np.asarray(scores, dtype=np.float64)
    normal = values[~truth]
    threshold = -np.inf  # the lowest score that at most `false_alarms` of the normal scores exceed
    if false_alarms < len(normal):
        rank = len(normal) - 1 - false_alarms
        threshold = float(np.partition(normal, rank)[rank])
    events = runs(truth)
    found = sum(float(values[event].max()) > threshold for event in events)
    return EventRecall(len(events), found, threshold)


def episode_recall(
    anomalous: ArrayLike,
    scores: ArrayLike,
    *,
    false_episodes: int,
    series: ArrayLike | None = None,
    longest: int = LONGEST,
) -> EpisodeRecall:
    """Find the events at the lowest threshold down to which no more than `false_episodes` are raised.

    An episode is a maximal run of flagged points of one series; it is false if none of its points is anomalous. People
    look into episodes, not points: of long labelled windows, a budget of points lets random scores find most. A false
    episode counts once for every `longest` points or part of them, and an episode with an anomaly counts as false once
    for every full 2 x `longest` normal points, so that flagging everything finds nothing.

    Args:
        anomalous: (T,), in time order within each series.
        scores: (T,); NaN for points without a score, which are never flagged.
        false_episodes: Budget of false episodes over all series.
        series: (T,), which series each point belongs to; the points of a series are consecutive. None for one series.
        longest: Normal points per false episode; the length of a window for scores that are means over windows.
    """
    truth = np.asarray(anomalous, dtype=np.bool_)
    values = np.nan_to_num(np.asarray(scores, dtype=np.float64), nan=-np.inf, posinf=np.inf, neginf=-np.inf)
    starts = np.zeros(len(truth), np.bool_)
    if series is not None:
        of = np.asarray(series)
        starts[1:] = of[1:] != of[:-1]
    threshold = _lowest_threshold(truth, values, starts, budget=false_episodes, longest=longest)
    delays = []
    for event in _runs_within(truth, starts):
        flagged = np.flatnonzero(values[event] > threshold)
        delays.append(int(flagged[0]) if len(flagged) else None)
    return EpisodeRecall(tuple(delays), threshold)


def point_adjusted_f1(anomalous: ArrayLike, scores: ArrayLike) -> NoReturn:
    """Refuse to compute point-adjusted F1: it raises EvaluationInvalid with the reason."""
    raise EvaluationInvalid(
        "point-adjusted F1 is not computed: one flagged point counts for its whole event, so that random scores reach "
        "values above most published methods (Kim et al. 2022). Use vus_pr or episode_recall."
    )


def _runs_within(truth: NDArray[np.bool_], starts: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Return the runs of true points, ended where another series starts."""
    return tuple(
        slice(run.start + part.start, run.start + part.stop) for run in runs(truth) for part in _split(starts[run])
    )


def _split(starts: NDArray[np.bool_]) -> list[slice]:
    edges = [0, *(int(index) for index in np.flatnonzero(starts[1:]) + 1), len(starts)]
    return [slice(begin, end) for begin, end in pairwise(edges)]


def _lowest_threshold(
    truth: NDArray[np.bool_], values: NDArray[np.float64], starts: NDArray[np.bool_], *, budget: int, longest: int
) -> float:
    """Lower the threshold from score to score until one more step exceeds the budget of false episodes."""
    order = np.argsort(-values, kind="stable")
    levels = values[order]
    edges = [0, *(int(index) for index in np.flatnonzero(levels[1:] != levels[:-1]) + 1), len(levels)]
    other_end = np.full(len(values), -1)  # known at both ends of a run of flagged points
    anomalies = np.concatenate([[0], np.cumsum(truth)])

    def cost(low: int, high: int) -> int:
        events = int(anomalies[high + 1] - anomalies[low])
        normal = high + 1 - low - events
        return normal // (2 * longest) if events else -(-normal // longest)

    false = 0
    for begin, end in pairwise(edges):
        threshold = float(levels[begin])
        if threshold == -np.inf:
            return threshold
        for point in map(int, order[begin:end]):
            low = high = point
            if point > 0 and not starts[point] and other_end[point - 1] >= 0:
                low = int(other_end[point - 1])
                false -= cost(low, point - 1)
            if point + 1 < len(values) and not starts[point + 1] and other_end[point + 1] >= 0:
                high = int(other_end[point + 1])
                false -= cost(point + 1, high)
            other_end[low], other_end[high] = high, low
            false += cost(low, high)
        if false > budget:
            return threshold
    return -np.inf
