"""Scores and events by entity of a series job, for the report page."""

import numpy as np
import pyarrow as pa

from aepipe.jobs.scored_partitions import ScoredPartitions
from aepipe.report import formatting
from aepipe.report.series import SeriesEvent, SeriesLine
from aepipe.series.stage import entities_of, times_of
from aepipe.tables.arrow_arrays import plain_values
from aepipe.tables.unification import unified_table

MOST_ENTITIES, MOST_EVENTS = 12, 8


def build_series(scored: ScoredPartitions) -> tuple[SeriesLine, ...]:
    """Return the entities with the highest scores, each with its latest events; none for a job of rows."""
    stage = scored.model.bundle.series
    if stage is None or not scored.manifests:
        return ()
    source = stage.source
    columns = [*source.entity, *([] if source.time is None else [source.time]), "score", "is_anomaly"]
    rows = unified_table(
        [scored.read("scores", manifest, list(dict.fromkeys(columns))) for manifest in scored.manifests]
    )
    moments = (
        pa.array(np.arange(rows.num_rows))
        if source.time is None
        else pa.concat_arrays([plain_values(chunk) for chunk in rows[source.time].chunks])
    )
    lengths = [manifest.details.rows for manifest in scored.manifests]
    names_of_partitions = pa.array([manifest.partition for manifest in scored.manifests])
    partitions = pa.DictionaryArray.from_arrays(np.repeat(np.arange(len(lengths)), lengths), names_of_partitions)
    events = [scored.read("events", each) for each in scored.manifests if "events" in each.files]
    names, entity = entities_of(rows.combine_chunks().to_batches(), source.entity)
    time = np.arange(rows.num_rows)
    if source.time is not None:
        time = np.concatenate([times_of(chunk)[0] for chunk in rows[source.time].chunks] or [time])
    score = rows["score"].to_numpy().astype(np.float32)
    flagged = rows["is_anomaly"].to_numpy().astype(np.bool_)
    highest = np.full(len(names), -np.inf)
    np.maximum.at(highest, entity, np.nan_to_num(score, nan=-np.inf))
    found = _events_by_entity(events, source.entity)
    lines = []
    for code in np.argsort(-highest, kind="stable")[:MOST_ENTITIES].tolist():
        mine = np.flatnonzero(entity == code)
        mine = mine[np.argsort(time[mine], kind="stable")]
        own = found.get(names[code], [])
        lines.append(
            SeriesLine(
                entity=names[code],
                time=time[mine],
                score=score[mine],
                flagged=flagged[mine],
                threshold=scored.model.bundle.calibration.threshold,
                moments=moments.take(mine),
                partitions=partitions.take(mine),
                events=tuple(own[::-1][:MOST_EVENTS]),
                count=len(own),
            )
        )
    return tuple(lines)


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
