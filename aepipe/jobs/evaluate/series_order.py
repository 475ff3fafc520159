"""Labelled points of a series job in the order of their series, and measures that depend on the order."""

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe.jobs.evaluate.labelled_scores import LabelledScores
from aepipe.jobs.scored_partitions import ScoredPartitions
from aepipe.metrics.events import EpisodeRecall, episode_recall
from aepipe.metrics.volume_under_surface import vus_pr
from aepipe.series.stage import entities_of, times_of


class SeriesMeasures(NamedTuple):
    """Measures of the scores of points."""

    vus_pr: float | None
    """mean over the series with points of both classes; None without such a series"""
    events: EpisodeRecall


@dataclass(frozen=True, slots=True)
class SeriesOrder:
    """Order of B labelled points by series, then time."""

    order: NDArray[np.int64]
    """(B,) index of each point"""
    series: NDArray[np.int64]
    """(B,) code of the series of each point in this order"""
    window: int

    def measure(self, truth: NDArray[np.bool_], scores: NDArray[np.float64], *, budget: int) -> SeriesMeasures:
        """Return the measures of scores, (B,); budget: false episodes allowed over all series."""
        ordered, values = truth[self.order], scores[self.order]
        values = np.where(np.isneginf(values), np.min(values[np.isfinite(values)], initial=0.0) - 1, values)
        areas = []
        edges = [0, *(np.flatnonzero(np.diff(self.series)) + 1).tolist(), len(self.series)]
        for part in (slice(begin, end) for begin, end in pairwise(edges)):
            if ordered[part].any() and not ordered[part].all():
                areas.append(vus_pr(ordered[part], values[part], buffer=self.window))
        events = episode_recall(
            ordered, scores[self.order], false_episodes=budget, series=self.series, longest=self.window
        )
        return SeriesMeasures(float(np.mean(areas)) if areas else None, events)

    def count_events(self, truth: NDArray[np.bool_]) -> int:
        """Count the runs of anomalies within series; truth: (B,)."""
        found = truth[self.order]
        begins = found.copy()
        begins[1:] &= ~found[:-1] | (self.series[1:] != self.series[:-1])
        return int(begins.sum())


def order_by_series(scored: ScoredPartitions, labelled: LabelledScores, *, window: int) -> SeriesOrder:
    """Return the order of the labelled points; without an event time, rows are in the order of time."""
    source = scored.model.bundle.source.schema
    time = [] if source.event_time is None else [source.event_time]
    columns = list(dict.fromkeys((*source.entity, *time)))
    batches, times = [], []
    for night in labelled.nights:
        rows = scored.read("scores", night.manifest, columns or ["score"]).take(pa.array(night.rows))
        batches += (found := rows.combine_chunks().to_batches())
        times += [times_of(batch.column(name))[0] for name in time for batch in found]
    _, entity = entities_of(batches, source.entity)
    moments = np.concatenate(times) if times else np.arange(len(entity))
    order = np.lexsort((moments, entity))
    return SeriesOrder(order, entity[order], window)
