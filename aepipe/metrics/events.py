"""Event-level detection metrics: anomalies as runs of rows in time. Independent of files."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


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
