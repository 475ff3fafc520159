"""VUS-PR: area under the precision-recall curve of a series, averaged over tolerances around the labelled events.

Paparrizos et al. 2022, "Volume Under the Surface", with the thresholds of the TSB-AD benchmark (Liu & Paparrizos 2024).
A detection near an event counts in part, so that the exact edges of a label decide little.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aepipe.errors import ArgumentInvalid
from aepipe.metrics.events import runs
from aepipe.metrics.ranking import checked_labels

BUFFER = 100
"""Largest tolerance, in steps: half of it lies before an event and half after."""
THRESHOLDS = 250

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


class _Flagged(NamedTuple):
    """Points at or above each of the K thresholds, highest threshold first."""

    levels: Floats
    """(K,)"""
    points: Counts
    """number of points, (K,)"""
    first: Counts
    """first threshold that flags each point, (T,)"""

    def total(self, points: Counts, weights: Floats) -> Floats:
        """Sum the weights of the flagged ones among these points, (K,)."""
        added = np.bincount(self.first[points], weights, minlength=len(self.levels))
        return np.cumsum(added, dtype=np.float64)


def vus_pr(anomalous: ArrayLike, scores: ArrayLike, *, buffer: int = BUFFER) -> float:
    """Compute the mean range-based area under the precision-recall curve over all tolerances from 0 to `buffer`.

    With tolerance w, a point at distance d <= w / 2 from an event has the label sqrt(1 - d / w). Recall is weighted by
    the share of events in which at least one point is flagged.

    Args:
        anomalous: (T,), boolean or 0 and 1, in time order.
        scores: (T,), in time order; higher is more anomalous.
        buffer: Largest tolerance in steps. Compare only figures of one buffer: they grow with it.

    Raises:
        EvaluationInvalid: A score is missing, or all points are of one class.
        ArgumentInvalid: The buffer is negative.

    >>> round(vus_pr([0, 0, 1, 1, 0, 0], [0, 1, 5, 4, 2, 0], buffer=0), 3)
    1.0
    """
    if buffer < 0:
        raise ArgumentInvalid("buffer", [f"expected 0 steps or more, got {buffer}"])
    truth, values = checked_labels(anomalous, scores)
    flagged = _thresholds(values)
    events = runs(truth)
    hits = flagged.total(np.flatnonzero(truth), np.ones(int(truth.sum())))
    return float(np.mean([_range_auc_pr(truth, values, events, flagged, hits, width) for width in range(buffer + 1)]))


def _thresholds(values: Floats) -> _Flagged:
    descending = -np.sort(-values)
    levels = descending[np.linspace(0, len(values) - 1, THRESHOLDS).astype(np.int64)]
    first = np.searchsorted(-levels, -values, side="left")
    points = np.searchsorted(-descending, -levels, side="right")
    return _Flagged(levels, points, first)


def _range_auc_pr(
    truth: NDArray[np.bool_], values: Floats, events: tuple[slice, ...], flagged: _Flagged, hits: Floats, width: int
) -> float:
    """Compute the area at one tolerance.

    truth, values: (T,). hits: flagged points of events at each threshold, (K,).
    """
    near, weights = _buffers(events, width, len(truth))
    outside = ~truth[near]
    near_hits = flagged.total(near[outside], np.minimum(weights[outside], 1.0))
    true_positives = hits + near_hits
    positives = truth.sum() + near_hits / 2
    recall = np.minimum(true_positives / positives, 1.0) * _existence(events, values, flagged, width)
    precision = true_positives / flagged.points
    return float(np.diff(recall, prepend=0.0) @ precision)


def _buffers(events: tuple[slice, ...], width: int, length: int) -> tuple[Counts, Floats]:
    """Return the points in the buffers, ascending, and the sum of their labels over events."""
    distance = np.arange(1, width // 2 + 1)
    label = np.sqrt(1 - distance / max(width, 1))
    after = [event.stop - 1 + distance for event in events]
    before = [event.start - distance for event in events]
    points = np.concatenate([*after, *before])
    labels = np.tile(label, 2 * len(events))
    inside = (points >= 0) & (points < length)
    distinct, place = np.unique(points[inside], return_inverse=True)
    return distinct, np.bincount(place, labels[inside], minlength=len(distinct)).astype(np.float64)


def _existence(events: tuple[slice, ...], values: Floats, flagged: _Flagged, width: int) -> Floats:
    """Return the share of events with a flagged point, (K,); events whose buffers touch count as one."""
    half = width // 2
    spans = [[max(event.start - half, 0), event.stop + half] for event in events]
    merged = spans[:1]
    for start, stop in spans[1:]:
        if start <= merged[-1][1] - 1:
            merged[-1][1] = stop
        else:
            merged.append([start, stop])
    peaks = np.array([values[start:stop].max() for start, stop in merged])
    return np.asarray((peaks[None] >= flagged.levels[:, None]).mean(axis=1), dtype=np.float64)
