"""Rows of a partition of a series job with the rows of other partitions that its windows reach into."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aepipe.batch.scan_plan import plan_scan
from aepipe.batch.series.neighbours import Neighbours, find_neighbours, rows_in_reach
from aepipe.bundles.bundle import Bundle
from aepipe.series.stage import SeriesRows, SeriesStage
from aepipe.tables.partitions import Partition


def with_context(
    stage: SeriesStage, mine: SeriesRows, neighbours: Neighbours, *, history: int
) -> tuple[SeriesRows, NDArray[np.bool_]]:
    """Return the rows of a partition and its neighbours in order, and which rows are its own, (R,).

    Args:
        stage: stage of the model.
        mine: rows of the partition.
        neighbours: partitions that its windows reach into.
        history: steps before the earliest window that serve for comparison.
    """
    first, last = 0, 0
    if mine.time is not None and (mine.reasons != 1).any():
        known = mine.time[mine.reasons != 1]
        first, last = int(known.min()), int(known.max())

    def read(partition: Partition) -> SeriesRows:
        files = plan_scan(partition.files, stage.source.encoding).files
        found = [
            batch for scan in files for batch in rows_in_reach(stage, scan.batches(), first, last, history=history)
        ]
        return stage.source.read(found)

    before = [read(partition) for partition in (*neighbours.history, *neighbours.before)]
    parts = [*before, mine, *(read(partition) for partition in neighbours.after)]
    is_own = np.concatenate([np.full(part.rows, part is mine) for part in parts])
    return joined(parts), is_own


def read_with_context(
    bundle: Bundle, stage: SeriesStage, partition: Partition, table: Sequence[Partition]
) -> tuple[SeriesRows, NDArray[np.bool_]]:
    """Read the rows of a partition and its neighbours, and which rows are its own, (R,).

    Args:
        bundle: model.
        stage: stage of the model.
        partition: name and source files.
        table: all partitions of the table, which windows reach into.

    Raises:
        DataUnreadable, SchemaMismatch: a file cannot be read, or has other columns than the bundle was trained on.
    """
    history = 0 if bundle.memory is None else bundle.memory.history
    plan = plan_scan(partition.files, stage.source.encoding)
    own = [batch for scan in plan.files for batch in scan.batches()]
    neighbours = find_neighbours(stage, partition, table, history=history)
    return with_context(stage, stage.source.read(own), neighbours, history=history)


def joined(parts: Sequence[SeriesRows]) -> SeriesRows:
    """Concatenate the rows of several tables, with one code per entity."""
    names = tuple(dict.fromkeys(name for part in parts for name in part.names))
    codes = {name: code for code, name in enumerate(names)}
    entity = [np.array([codes[name] for name in part.names], np.int64)[part.entity] for part in parts]
    times = [part.time for part in parts if part.time is not None]
    return SeriesRows(
        names=names,
        entity=np.concatenate(entity),
        time=np.concatenate(times) if times else None,
        values=np.concatenate([part.values for part in parts]),
        reasons=np.concatenate([part.reasons for part in parts]),
    )
