"""Events of scored partitions of a series job, as lines of an alert: one per entity, the most unusual first."""

from collections.abc import Collection, Iterator, Sequence

import pyarrow as pa

from aepipe.jobs.results import Result
from aepipe.storage import PartitionResult, read_parquet
from aepipe.tables.entities import Entities, value_text
from aepipe.tables.parquet_reader import READ_ROWS, slices
from aepipe.tables.text_values import short_time


class EventLine(Result):
    """Event: alarms of one entity that lie less than a window apart."""

    partition: str
    entity: str
    """its values, separated by commas; empty for a table of one series"""
    first: str
    last: str
    peak: str
    points: int
    """alarms"""
    score: float
    """highest score"""
    p_value: float
    channels: tuple[str, ...]
    """the most frequent first"""
    continues: bool
    """it continues an event of the partition before"""
    events: int = 1
    """events of the entity that this line stands for"""

    @property
    def text(self) -> str:
        """Describe the event: partition, entity, times, alarms, p-value, channels."""
        who = f"{self.entity}  " if self.entity else ""
        span = self.first if self.first == self.last else f"{self.first} to {self.last}, peak {self.peak}"
        points = f"{self.points:,} point{'' if self.points == 1 else 's'}"
        more = f" and {self.events - 1:,} more event{'' if self.events == 2 else 's'}" if self.events > 1 else ""
        since = ", continues an earlier one" if self.continues else ""
        channels = f": {', '.join(self.channels)}" if self.channels else ""
        return f"{self.partition}  {who}{span}, {points}{since}{more}, p = {self.p_value:.2g}{channels}"


def read_events(
    nights: Sequence[PartitionResult], entity: Sequence[str], *, time: str | None, muted: Collection[tuple[str, int]]
) -> list[EventLine]:
    """Return the events of partitions, the lowest p-value first; events whose peak is muted are left out.

    Args:
        nights: results of the partitions.
        entity: columns that identify a series.
        time: event time; None: events name row numbers.
        muted: partition and row of each muted point.
    """
    found = [line for night in nights for line in _of_night(night, entity, time, muted)]
    return sorted(found, key=lambda line: (line.p_value, -line.score))


def one_per_entity(events: Sequence[EventLine]) -> tuple[EventLine, ...]:
    """Return the first event of each entity with the number of its events."""
    groups: dict[str, list[EventLine]] = {}
    for event in events:
        groups.setdefault(event.entity, []).append(event)
    return tuple(lines[0].model_copy(update={"events": len(lines)}) for lines in groups.values())


def _of_night(
    night: PartitionResult, entity: Sequence[str], time: str | None, muted: Collection[tuple[str, int]]
) -> Iterator[EventLine]:
    if night.events is None or night.scores is None or not night.details.events:
        return
    table = read_parquet(night.events)
    rows = {row for partition, row in muted if partition == night.partition}
    is_muted = _muted_peaks(night, entity, time, rows) if rows else set()
    names = _names(table, entity)
    texts = {name: _times(table[name].combine_chunks()) for name in ("first", "last", "peak")}
    for at, event in enumerate(table.select(["points", "peak_score", "p_value", "channels", "continues"]).to_pylist()):
        if (names[at], texts["peak"][at]) in is_muted:
            continue
        yield EventLine(
            partition=night.partition,
            entity=names[at],
            first=texts["first"][at],
            last=texts["last"][at],
            peak=texts["peak"][at],
            points=event["points"],
            score=event["peak_score"],
            p_value=event["p_value"],
            channels=tuple(event["channels"]),
            continues=event["continues"],
        )


def _muted_peaks(
    night: PartitionResult, entity: Sequence[str], time: str | None, rows: Collection[int]
) -> set[tuple[str, str]]:
    """Return entity and time of the muted points of a partition."""
    assert night.scores is not None
    columns = [*entity, *([] if time is None else [time])]
    found, begin = set(), 0
    for batch in slices([night.scores], list(dict.fromkeys([*columns, "is_anomaly"])), rows=READ_ROWS):
        places = sorted(row - begin for row in rows if begin <= row < begin + batch.num_rows)
        chosen = pa.Table.from_batches([batch.take(pa.array(places, pa.int64()))])
        times = [str(begin + place) for place in places] if time is None else _times(chosen[time].combine_chunks())
        found |= set(zip(_names(chosen, entity), times, strict=True))
        begin += batch.num_rows
    return found


def _names(table: pa.Table, entity: Sequence[str]) -> list[str]:
    if not entity:
        return [""] * table.num_rows
    return list(Entities.of([table[name] for name in entity]).texts.to_pylist())


def _times(array: pa.Array) -> list[str]:
    """Return times as text; Arrow casts them without pandas."""
    return [short_time(value_text(text)) for text in array.cast(pa.string()).to_pylist()]
