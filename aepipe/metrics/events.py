"""Anomalies that last: runs of anomalous rows in time, and how many of them are noticed. Nothing here knows files."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class EventRecall(NamedTuple):
    """How many events there are, and of how many a row is flagged where false alarms are kept to a budget."""

    events: int
    found: int
    threshold: float
    """Rows that score above it are flagged."""

    @property
    def recall(self) -> float:
        """Share of the events that are found; 0 where there are none."""
        return self.found / self.events if self.events else 0.0


def runs(anomalous: ArrayLike) -> tuple[slice, ...]:
    """The events of rows in the order of time, (B,): each the longest stretch of anomalous rows without a normal one.

    >>> runs([False, True, True, False, True])
    (slice(1, 3, None), slice(4, 5, None))
    """
    edges = np.diff(np.asarray(anomalous, dtype=np.int8), prepend=0, append=0)
    begins, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return tuple(slice(int(begin), int(end)) for begin, end in zip(begins, ends, strict=True))


def event_recall(anomalous: ArrayLike, scores: ArrayLike, *, false_alarms: int) -> EventRecall:
    """The events of which a row scores above the lowest threshold that flags at most so many normal rows.

    anomalous, scores: (B,) in the order of time. An event is found by one alarm and counts once however long it is;
    its other rows are neither hits nor credited, unlike under point adjustment.
    """
    truth, values = np.asarray(anomalous, dtype=np.bool_), np.asarray(scores, dtype=np.float64)
    threshold = _threshold(values[~truth], false_alarms)
    events = runs(truth)
    found = sum(float(values[event].max()) > threshold for event in events)
    return EventRecall(len(events), found, threshold)


def _threshold(normal: NDArray[np.float64], false_alarms: int) -> float:
    """The least score that at most so many of these exceed."""
    if false_alarms >= len(normal):
        return -np.inf
    return float(np.partition(normal, len(normal) - 1 - false_alarms)[len(normal) - 1 - false_alarms])
