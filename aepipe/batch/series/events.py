"""Events: alarms of one entity that lie less than a window apart."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe.inference.output_schema import TEXT
from aepipe.tables.arrow_arrays import array_of, texts_of


class Alarms(NamedTuple):
    """Flagged points of a partition, A in all, in the order of entity and step."""

    row: NDArray[np.int64]
    """(A,) a row of the partition at the point"""
    entity: NDArray[np.int64]
    step: NDArray[np.int64]
    score: NDArray[np.float64]
    p_value: NDArray[np.float64]
    channel: NDArray[np.int64]


class Event(NamedTuple):
    """Alarms `first` to `last`, as indices into `Alarms`, both inclusive."""

    first: int
    last: int
    peak: int
    """alarm with the highest score"""
    channels: tuple[int, ...]
    """the most frequent first"""


def find_events(alarms: Alarms, *, window: int) -> list[Event]:
    """Join the alarms of one entity that lie less than a window apart."""
    if not len(alarms.row):
        return []
    is_new = np.ones(len(alarms.row), np.bool_)
    is_new[1:] = (np.diff(alarms.entity) != 0) | (np.diff(alarms.step) >= window)
    firsts = np.flatnonzero(is_new)
    lasts = np.append(firsts, len(alarms.row))[1:] - 1
    found = []
    for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
        inside = slice(first, last + 1)
        counts = Counter(alarms.channel[inside].tolist())
        channels = tuple(channel for channel, _ in counts.most_common())
        found.append(Event(first, last, first + int(alarms.score[inside].argmax()), channels))
    return found


def event_schema(entity: Sequence[pa.Field], time: pa.Field | None) -> pa.Schema:
    """Return the columns of events: entity; first, last and peak as event times, or as row numbers without one."""
    kind = pa.int64() if time is None else time.type
    return pa.schema(
        [
            *(pa.field(field.name, field.type) for field in entity),
            *(pa.field(name, kind) for name in ("first", "last", "peak")),
            pa.field("points", pa.int64()),
            pa.field("peak_score", pa.float32()),
            pa.field("p_value", pa.float64()),
            pa.field("channels", pa.list_(pa.string())),
            pa.field("continues", pa.bool_()),
            pa.field("model_version", TEXT),
        ]
    )


def event_rows(
    events: Sequence[Event],
    alarms: Alarms,
    schema: pa.Schema,
    *,
    passthrough: dict[str, pa.Array],
    entity: Sequence[str],
    time: str | None,
    channels: Sequence[str],
    continues: Sequence[bool],
    version: str,
) -> pa.RecordBatch:
    """Return one row per event.

    Args:
        events: the events.
        alarms: the flagged points.
        schema: from `event_schema`.
        passthrough: passthrough columns of the rows of the partition.
        entity: names of the columns of the entity.
        time: name of the event time; None for row numbers.
        channels: names of the channels.
        continues: whether each event continues one of the partition before.
        version: version of the model.
    """

    def rows_at(places: Sequence[int]) -> pa.Array:
        return array_of(alarms.row[np.array(places, np.int64)], pa.int64())

    ends = [[each.first for each in events], [each.last for each in events], [each.peak for each in events]]
    times = [rows_at(places) if time is None else passthrough[time].take(rows_at(places)) for places in ends]
    peaks = np.array(ends[2], np.int64)
    inside = [slice(each.first, each.last + 1) for each in events]
    arrays = [
        *(passthrough[name].take(rows_at(ends[2])) for name in entity),
        *times,
        pa.array([each.last + 1 - each.first for each in events], pa.int64()),
        pa.array(alarms.score[peaks].astype(np.float32), pa.float32()),
        pa.array([float(np.nanmin(alarms.p_value[part])) for part in inside], pa.float64()),
        pa.array([[channels[channel] for channel in each.channels] for each in events], pa.list_(pa.string())),
        pa.array(list(continues), pa.bool_()),
        pa.DictionaryArray.from_arrays(array_of(np.zeros(len(events), np.int32), pa.int32()), texts_of([version])),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
