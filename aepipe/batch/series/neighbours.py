"""Partitions that the windows of another partition reach into."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from aepipe.batch.scan_plan import plan_scan
from aepipe.errors import DataUnreadable, SchemaMismatch
from aepipe.series.stage import SeriesStage, entities_of, parsed_times, refuse_other_unit
from aepipe.storage import source_digest
from aepipe.tables.parquet_reader import READ_ROWS, read_footer, slices
from aepipe.tables.partitions import Partition
from aepipe.tables.source_files import printable
from aepipe.tables.text_values import notation_of

log = logging.getLogger(__name__)

_MOST_BY_ORDER = 31
"""Partitions that are searched for the last rows of every series where steps follow the order of the rows.

Times tell when to stop; without them, a series that is new or ended long ago would be looked for in the whole table, so
that each night would cost more than the one before. A month of nights holds the windows of series that report daily.
"""


class Neighbours(NamedTuple):
    """Partitions before and after another one that share windows with it, in order."""

    before: tuple[Partition, ...]
    after: tuple[Partition, ...]
    history: tuple[Partition, ...] = ()
    """Partitions before these, whose steps serve for comparison only: a change there does not score others again."""

    def digests(self, *, check: Callable[[], None]) -> dict[str, str]:
        """Return digests of the files that share a window, by path; `check` may raise between two chunks to stop."""
        files = [file for partition in (*self.before, *self.after) for file in partition.files]
        return {printable(file): source_digest(file, check=check) for file in files}


class _Span(NamedTuple):
    """First and last time of a file in microseconds; None without rows."""

    first: int
    last: int


def find_neighbours(
    stage: SeriesStage, partition: Partition, table: Sequence[Partition], *, history: int = 0
) -> Neighbours:
    """Return the partitions whose steps are in windows of a partition, or fill missing values there.

    Args:
        stage: stage of the model.
        partition: the partition to score.
        table: all partitions, in order.
        history: steps before the earliest window that serve for comparison.

    Raises:
        DataUnreadable, SchemaMismatch: a file of the partition or of a neighbour cannot be read.
    """
    names = [each.name for each in table]
    if partition.name not in names:
        return Neighbours((), ())
    at = names.index(partition.name)
    earlier = table[at - 1 :: -1] if at and stage.context else ()
    later = table[at + 1 :] if stage.revise else ()
    reach = _ByOrder(stage, partition) if stage.step is None else _ByTime(stage, partition)
    before = reach.before(earlier, stage.reach)
    known = reach.before(earlier, stage.reach + history)[len(before) :] if history else []
    found = Neighbours(tuple(reversed(before)), tuple(reach.after(later)), tuple(reversed(known)))
    return Neighbours(*(tuple(each for each in side if _is_readable(stage, each)) for side in found))


def _is_readable(stage: SeriesStage, neighbour: Partition) -> bool:
    """Return whether a neighbour fits the model; one that does not has its own quarantine, and counts as absent."""
    if not neighbour.files:
        return False
    try:
        plan_scan(neighbour.files, stage.source.encoding)
        if stage.source.time is not None:
            for file in neighbour.files:
                kind = read_footer(file, ()).schema.field(stage.source.time).type
                refuse_other_unit(kind, stage.source.time_field)
    except (DataUnreadable, SchemaMismatch) as error:
        log.warning("%s is left out of the windows of its neighbours: %s", neighbour.name, error)
        return False
    return True


class _ByTime:
    """Neighbours by their times: those within the reach of a window."""

    def __init__(self, stage: SeriesStage, partition: Partition) -> None:
        assert stage.step is not None, "find_neighbours() asks"
        self._time = stage.source.time_field
        self._step, self._ahead = stage.step, (stage.window - 1) * stage.step
        self._own = self._span(partition)

    def before(self, earlier: Iterable[Partition], steps: int) -> list[Partition]:
        found, back = list[Partition](), steps * self._step
        for partition in earlier if self._own is not None else ():
            span = self._span(partition)
            if span is not None and self._own is not None and span.last < self._own.first - back:
                break
            found.append(partition)
        return found

    def after(self, later: Iterable[Partition]) -> list[Partition]:
        found = []
        for partition in later if self._own is not None else ():
            span = self._span(partition)
            if span is not None and self._own is not None and span.first > self._own.last + self._ahead:
                break
            found.append(partition)
        return found

    def _span(self, partition: Partition) -> _Span | None:
        try:
            found = [_span_of(*_identity(file), self._time, notation_of(self._time)) for file in partition.files]
        except (DataUnreadable, SchemaMismatch):  # the partition itself reports it, and a neighbour is left out
            return None
        spans = [span for span in found if span is not None]
        return _Span(min(span.first for span in spans), max(span.last for span in spans)) if spans else None


class _ByOrder:
    """Neighbours by their rows, until every series of the partition has the rows of a window."""

    def __init__(self, stage: SeriesStage, partition: Partition) -> None:
        self._columns = stage.source.entity
        self._own = self._counts(partition)
        self._reach = stage.reach

    def before(self, earlier: Iterable[Partition], steps: int) -> list[Partition]:
        return self._until_complete(earlier, steps)

    def after(self, later: Iterable[Partition]) -> list[Partition]:
        return self._until_complete(later, self._reach)

    def _until_complete(self, others: Iterable[Partition], rows: int) -> list[Partition]:
        missing = dict.fromkeys(self._own, rows)
        found: list[Partition] = []
        for partition in others:
            if not missing or len(found) == _MOST_BY_ORDER:
                break
            found.append(partition)
            counts = self._counts(partition)
            left = {name: absent - counts.get(name, 0) for name, absent in missing.items()}
            missing = {name: absent for name, absent in left.items() if absent > 0}
        return found

    def _counts(self, partition: Partition) -> dict[str, int]:
        counts = Counter[str]()
        try:
            for file in partition.files:
                counts.update(_rows_by_entity(*_identity(file), self._columns))
        except (DataUnreadable, SchemaMismatch):  # as above
            return {}
        return counts


def _identity(file: Path) -> tuple[Path, int, int]:
    """Return the path with size and time of modification, so that a file that was replaced is read again."""
    try:
        stat = file.stat()
    except OSError:  # reading it names the reason
        return file, 0, 0
    return file, stat.st_size, stat.st_mtime_ns


@lru_cache(maxsize=4_096)
def _span_of(file: Path, size: int, modified: int, field: pa.Field, notation: str | None) -> _Span | None:
    """Return the span of a file; notation: that of the field, since fields are equal whatever their notations."""
    first, last = None, None
    for batch in slices([file], [field.name], rows=READ_ROWS):
        times, absent = parsed_times(batch.column(field.name), field)
        known = times[~absent]
        if len(known):
            least, greatest = int(known.min()), int(known.max())
            first = least if first is None else min(first, least)
            last = greatest if last is None else max(last, greatest)
    return None if first is None or last is None else _Span(first, last)


@lru_cache(maxsize=256)
def _rows_by_entity(file: Path, size: int, modified: int, columns: tuple[str, ...]) -> dict[str, int]:
    batches = list(slices([file], columns or None, rows=READ_ROWS))
    names, entity = entities_of(batches, columns)
    return dict(zip(names, np.bincount(entity, minlength=len(names)).tolist(), strict=True))


def rows_in_reach(
    stage: SeriesStage, batches: Iterable[pa.RecordBatch], first: int, last: int, *, history: int = 0
) -> list[pa.RecordBatch]:
    """Return the rows of neighbours within the reach of windows of points from `first` to `last`, and the history."""
    if stage.step is None or stage.source.time is None:
        return list(batches)
    low, high = first - (stage.reach + history) * stage.step, last + stage.window * stage.step
    kept = []
    for batch in batches:
        times, absent = parsed_times(batch.column(stage.source.time), stage.source.time_field)
        kept.append(batch.filter(pa.array((times >= low) & (times <= high) & ~absent)))
    return kept
