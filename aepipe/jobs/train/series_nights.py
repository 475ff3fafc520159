"""Nights of the training rows of a series job, whose differences say what is no drift."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aepipe.bundles.drift_reference import DriftReference, Named, channel_streams
from aepipe.config.drift import Drift
from aepipe.metrics.drift import PartitionSpread
from aepipe.series.stage import SeriesRows, SeriesStage

_DAY_US = 86_400_000_000
_PARTS = 10


class Origin(NamedTuple):
    """Partition and moment of N rows or steps."""

    partition: NDArray[np.int64]
    """(N,) number of the partition"""
    moment: NDArray[np.int64]
    """(N,) time since the first row in the unit of the event time; without one, millionths of the series before it"""

    @classmethod
    def of(cls, rows: SeriesRows, partition: NDArray[np.int64]) -> "Origin":
        """Return the origins of rows; partition: number of each row's partition, (R,)."""
        if rows.time is None:
            return cls(partition, (1e6 * shares_before(rows)).astype(np.int64))
        known = rows.time[rows.reasons != 1]
        first = int(known.min()) if len(known) else 0
        return cls(partition, np.maximum(rows.time - first, 0))


def shares_before(rows: SeriesRows) -> NDArray[np.float64]:
    """Return the share of its series before each row, in the order of the rows, (R,)."""
    order = np.argsort(rows.entity, kind="stable")
    lengths = np.bincount(rows.entity, minlength=len(rows.names))
    place = np.empty(rows.rows)
    place[order] = np.arange(rows.rows) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return place / lengths[rows.entity]


def night_numbers(origin: Origin, *, is_time: bool) -> NDArray[np.int64]:
    """Return numbers that rows or steps of one night share, (N,).

    Nights are the partitions, the days if there are too few partitions to tell how much nights differ, else tenths.

    Args:
        origin: where they come from.
        is_time: moments are microseconds.
    """
    for groups in (origin.partition, origin.moment // _DAY_US if is_time else None):
        if groups is not None and len(groups):
            rows = np.unique(groups, return_counts=True)[1]
            if PartitionSpread.fit(rows[:, None]) is not None:
                return groups
    ranks = np.argsort(np.argsort(origin.moment, kind="stable"), kind="stable")
    return ranks * _PARTS // max(1, len(ranks))


def point_reference(
    stage: SeriesStage,
    rows: SeriesRows,
    origin: Origin,
    scores: NDArray[np.floating],
    of_scores: Origin,
    *,
    settings: Drift | None = None,
) -> DriftReference:
    """Return the reference of a series job: its channels and the scores of its points.

    Neighbouring points are alike, so that few of them look different every night: the scores are left out if there are
    too few to tell how much nights differ.

    Args:
        stage: stage of the model.
        rows: R training rows.
        origin: where the rows come from.
        scores: scores of the calibration points, (C,).
        of_scores: where the points come from.
        settings: `[drift]` of the job; None: the defaults.
    """
    is_time = stage.has_clock
    on_grid = rows.reasons == 0
    nights = night_numbers(Origin(origin.partition[on_grid], origin.moment[on_grid]), is_time=is_time)
    streams: list[Named] = [*channel_streams(stage, rows), ("score", "score", scores)]
    of_points = night_numbers(of_scores, is_time=is_time)
    found = DriftReference.of_streams(streams, nights, of_points, settings=settings)
    kept = tuple(stream for stream in found.streams if stream.kind == "column" or stream.spread is not None)
    return DriftReference(streams=kept)
