"""Scores, events and the most unusual windows of the entities of a series job, for the report page."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe.errors import DataUnreadable
from aepipe.inference.point_explanation import main_steps
from aepipe.jobs.explain_points import PointPlace, explain_places
from aepipe.jobs.explanation import Explanation
from aepipe.jobs.scored_partitions import ScoredPartitions
from aepipe.report import formatting
from aepipe.report.series import SeriesEvent, SeriesLine
from aepipe.report.unusual_windows import UnusualWindow, WindowChannel
from aepipe.series.stage import entities_of, times_of
from aepipe.tables.arrow_arrays import plain_values
from aepipe.tables.partitions import discover
from aepipe.tables.unification import unified_table

MOST_ENTITIES, MOST_EVENTS, MOST_WINDOWS = 12, 8, 6


class _Points(NamedTuple):
    """Points of all partitions, R in all."""

    names: tuple[str, ...]
    entity: NDArray[np.int64]
    """(R,) index into `names`"""
    time: NDArray[np.int64]
    moments: pa.Array
    """(R,) times as in the source"""
    score: NDArray[np.float32]
    flagged: NDArray[np.bool_]
    partition: NDArray[np.int64]
    """(R,) index of the partition"""
    row: NDArray[np.int64]
    """(R,) position in the partition"""


def build_series(scored: ScoredPartitions) -> tuple[tuple[SeriesLine, ...], tuple[UnusualWindow, ...]]:
    """Return the entities with the highest scores, each with its latest events, and the most unusual windows.

    Both are empty for a job of rows.
    """
    stage = scored.model.bundle.series
    if stage is None or not scored.manifests:
        return (), ()
    points = _read_points(scored)
    events = [scored.read("events", each) for each in scored.manifests if "events" in each.files]
    return _lines(scored, points, _events_by_entity(events, stage.source.entity)), _windows(scored, points)


def _read_points(scored: ScoredPartitions) -> _Points:
    stage = scored.model.bundle.series
    assert stage is not None, "build_series() asks"
    source = stage.source
    columns = [*source.entity, *([] if source.time is None else [source.time]), "score", "is_anomaly"]
    rows = unified_table(
        [scored.read("scores", manifest, list(dict.fromkeys(columns))) for manifest in scored.manifests]
    )
    lengths = [manifest.details.rows for manifest in scored.manifests]
    moments, time = pa.array(np.arange(rows.num_rows)), np.arange(rows.num_rows)
    if source.time is not None:
        moments = pa.concat_arrays([plain_values(chunk) for chunk in rows[source.time].chunks])
        time = np.concatenate([times_of(chunk)[0] for chunk in rows[source.time].chunks] or [time])
    names, entity = entities_of(rows.combine_chunks().to_batches(), source.entity)
    return _Points(
        names=names,
        entity=entity,
        time=time,
        moments=moments,
        score=rows["score"].to_numpy().astype(np.float32),
        flagged=rows["is_anomaly"].to_numpy().astype(np.bool_),
        partition=np.repeat(np.arange(len(lengths)), lengths),
        row=np.concatenate([np.arange(length) for length in lengths]),
    )


def _lines(scored: ScoredPartitions, points: _Points, events: dict[str, list[SeriesEvent]]) -> tuple[SeriesLine, ...]:
    partitions = pa.DictionaryArray.from_arrays(points.partition, [each.partition for each in scored.manifests])
    highest = np.full(len(points.names), -np.inf)
    np.maximum.at(highest, points.entity, np.nan_to_num(points.score, nan=-np.inf))
    lines = []
    for code in np.argsort(-highest, kind="stable")[:MOST_ENTITIES].tolist():
        mine = np.flatnonzero(points.entity == code)
        mine = mine[np.argsort(points.time[mine], kind="stable")]
        own = events.get(points.names[code], [])
        lines.append(
            SeriesLine(
                entity=points.names[code],
                time=points.time[mine],
                score=points.score[mine],
                flagged=points.flagged[mine],
                threshold=scored.model.bundle.calibration.threshold,
                moments=points.moments.take(mine),
                partitions=partitions.take(mine),
                events=tuple(own[::-1][:MOST_EVENTS]),
                count=len(own),
            )
        )
    return tuple(lines)


def _windows(scored: ScoredPartitions, points: _Points) -> tuple[UnusualWindow, ...]:
    """Return the windows of the points with the highest scores, of partitions whose source is still the same."""
    stage = scored.model.bundle.series
    assert stage is not None, "build_series() asks"
    try:
        table = discover(scored.job)
    except DataUnreadable:  # the page says that the source is missing
        return ()
    found = {partition.name: partition for partition in table}
    manifests = scored.manifests
    is_same = np.array([each.partition in found and scored.is_same(each, found[each.partition]) for each in manifests])
    score = np.where(is_same[points.partition], points.score, np.nan)
    places = [
        PointPlace(str(at), found[manifests[points.partition[at]].partition], int(points.row[at]))
        for at in most_unusual_points(points.entity, points.time, score, apart=2 * stage.window)
    ]
    explained = explain_places(scored.job, scored.model, places, table)
    return tuple(
        _window(each, place.partition.name, stage.source.channels)
        for each, place in zip(explained, places, strict=True)
        if each.point is not None
    )


def most_unusual_points(
    entity: NDArray[np.int64], time: NDArray[np.int64], score: NDArray[np.floating], *, apart: int
) -> list[int]:
    """Return the points with the highest scores, the highest first; two of an entity are at least `apart` points apart.

    Args:
        entity: (R,) code of the series.
        time: (R,).
        score: (R,), NaN for points to leave out.
        apart: points of one entity from one choice to the next.
    """
    order = np.lexsort((time, entity))
    left = np.nan_to_num(score[order].astype(np.float64), nan=-np.inf, posinf=-np.inf)
    of = entity[order]
    found: list[int] = []
    while len(found) < MOST_WINDOWS and len(left):
        best = int(left.argmax())
        if not np.isfinite(left[best]):
            break
        found.append(int(order[best]))
        near = slice(max(best - apart + 1, 0), best + apart)
        left[near][of[near] == of[best]] = -np.inf
    return found


def _window(explained: Explanation, partition: str, channels: Sequence[str]) -> UnusualWindow:
    point, steps = explained.point, explained.steps
    assert point is not None, "_windows() asks"
    window, known = point.windows[point.highest], point.known
    read = np.array([step.read for step in steps], np.float64)
    nearest = None if known is None else np.array([step.known for step in steps], np.float64)
    places = {name: at for at, name in enumerate(channels)}
    main = main_steps(np.array([step.share or 0.0 for step in steps]))
    return UnusualWindow(
        entity=point.entity,
        partition=partition,
        first=window.first,
        last=window.last,
        score=np.nan if explained.score is None else explained.score,
        p_value=np.nan if explained.p_value is None else explained.p_value,
        flagged=explained.is_anomaly,
        channels=tuple(
            WindowChannel(
                name=line.name,
                read=read[:, places[line.name]],
                known=None if nearest is None else nearest[:, places[line.name]],
            )
            for line in explained.columns
        ),
        main=(main.start / len(steps), main.stop / len(steps)),
        known=("", "") if known is None else (known.first, known.last),
        distance=None if known is None else known.distance,
        is_past=known is not None and known.is_past,
    )


def _events_by_entity(tables: list[pa.Table], columns: tuple[str, ...]) -> dict[str, list[SeriesEvent]]:
    """Return the events of each entity in order."""
    found: dict[str, list[SeriesEvent]] = {}
    for table in tables:
        names, codes = entities_of(table.combine_chunks().to_batches(), columns)
        for code, event in zip(codes.tolist(), table.to_pylist(), strict=True):
            found.setdefault(names[code], []).append(
                SeriesEvent(
                    first=str(event["first"]),
                    last=str(event["last"]),
                    peak=str(event["peak"]),
                    score=formatting.number(event["peak_score"]),
                    points=event["points"],
                    channels=", ".join(event["channels"]),
                )
            )
    return found
