"""The alarms with the lowest p-values among scored partitions, with their keys and reasons."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from aepipe.inference.output_schema import CELL_COLUMN, CELL_FLAG, CELL_P_VALUE
from aepipe.jobs.results import Result
from aepipe.storage import PartitionResult
from aepipe.tables.column_statistics import column_ranges
from aepipe.tables.entities import value_text
from aepipe.tables.parquet_reader import READ_ROWS, read_footer, slices

MOST_ALARMS = 5
MOST_REASONS = 2


class Alarm(Result):
    """Flagged row: where it is, how unusual, and the columns that contribute most."""

    partition: str
    row: int
    """position in the partition, from 0"""
    keys: dict[str, str | None]
    """values of keys and entity as text; None for a missing one"""
    score: float
    p_value: float
    reasons: tuple[str, ...]
    cell: str | None = None
    """column of the flagged cell; None if the score of the row alone is flagged"""
    cell_p_value: float | None = None

    @property
    def place(self) -> str:
        """Keys of the row, or its position as `aepipe explain --row` takes it."""
        named = ", ".join(f"{name} {value_text(value)}" for name, value in self.keys.items())
        return named or f"{self.partition}:{self.row}"

    @property
    def lowest_p(self) -> float:
        """The lower of the p-values of the row and of its flagged cell."""
        return self.p_value if self.cell_p_value is None else min(self.p_value, self.cell_p_value)

    @property
    def alarm(self) -> str:
        """Name what is flagged: the row, or a cell by its column."""
        return "row" if self.cell is None else f"cell {self.cell}"

    def cells(self) -> tuple[object, ...]:
        """Return the cells of a table row: partition, row, p-value, what is flagged, reasons."""
        return self.partition, self.place, f"{self.lowest_p:.3g}", self.alarm, ", ".join(self.reasons)


ALARM_HEADER = ("partition", "row", "p-value", "alarm", "reasons")


def top_alarms(nights: Sequence[PartitionResult], keys: Sequence[str], *, most: int = MOST_ALARMS) -> tuple[Alarm, ...]:
    """Return at most `most` flagged rows of the partitions written by this run, the lowest p-value first.

    If nothing was written, they are alarms of the last partition.
    """
    readable = [night for night in nights if night.scores is not None and night.scores.exists()]
    chosen = [night for night in readable if night.status == "written"] or readable[-1:]
    found: list[Alarm] = []
    for night in chosen:
        if night.flagged and not (len(found) == most and _lowest_p(night) > found[-1].lowest_p):
            found = sorted([*found, *_alarms(night, keys, most)], key=_rank)[:most]
    return tuple(found)


def _rank(alarm: Alarm) -> tuple[float, float]:
    return alarm.lowest_p, -alarm.score


def _lowest_p(night: PartitionResult) -> float:
    """Return a lower bound of the p-values of a partition, by the statistics of its scores; 0 if there is none."""
    if night.written is not None:
        return night.written.lowest_p
    assert night.scores is not None
    names = [name for name in ("p_value", CELL_P_VALUE) if name in read_footer(night.scores).schema.names]
    lowest = [low for low, _ in column_ranges([night.scores], names).values()]
    return min(lowest) if len(lowest) == len(names) else 0.0


def _alarms(night: PartitionResult, keys: Sequence[str], most: int) -> list[Alarm]:
    """Return the strongest alarms of a partition."""
    assert night.scores is not None
    names = read_footer(night.scores).schema.names
    kept = [name for name in keys if name in names]
    reasons = [name for name in (f"reason_{rank + 1}" for rank in range(MOST_REASONS)) if name in names]
    if night.events is not None:
        reasons = ["channel"]  # of the points of a series
    cells = [CELL_COLUMN, CELL_P_VALUE, CELL_FLAG] if CELL_FLAG in names else []
    found: list[Alarm] = []
    begin = 0
    for batch in slices([night.scores], [*kept, *reasons, *cells, "score", "p_value", "is_anomaly"], rows=READ_ROWS):
        rows, places = _strongest(batch, most)
        texts = {name: as_texts(rows.column(name)) for name in (*kept, *reasons)}
        cell_values = {name: rows.column(name).to_pylist() for name in cells}
        for at, place in enumerate(places):
            cell = {name: values[at] for name, values in cell_values.items()} if cells else {}
            is_cell = cell.get(CELL_FLAG) is True
            alarm = Alarm(
                partition=night.partition,
                row=begin + place,
                keys={name: texts[name][at] for name in kept},
                score=rows.column("score")[at].as_py(),
                p_value=rows.column("p_value")[at].as_py(),
                reasons=tuple(text for name in reasons if (text := texts[name][at]) is not None),
                cell=cell[CELL_COLUMN] if is_cell else None,
                cell_p_value=cell[CELL_P_VALUE] if is_cell else None,
            )
            found.append(alarm)
        found = sorted(found, key=_rank)[:most]
        begin += batch.num_rows
    return found


def _strongest(batch: pa.RecordBatch, most: int) -> tuple[pa.RecordBatch, list[int]]:
    """Return the strongest alarms of a batch, and their positions in it."""
    places = pc.indices_nonzero(batch.column("is_anomaly"))
    flagged = batch.take(places)
    lowest = flagged.column("p_value")
    if CELL_FLAG in flagged.schema.names:
        # neither a scalar nor pa.table, which would import pandas
        of_cells = pc.if_else(flagged.column(CELL_FLAG), flagged.column(CELL_P_VALUE), lowest)
        lowest = pc.min_element_wise(lowest, of_cells)
    by_rank = pa.RecordBatch.from_arrays([lowest, flagged.column("score")], names=["p", "score"])
    order = pc.sort_indices(by_rank, sort_keys=[("p", "ascending"), ("score", "descending")])[:most]
    return flagged.take(order), places.take(order).to_pylist()


def as_texts(column: pa.Array) -> list[str | None]:
    """Return values as text; Arrow casts them without pandas, which its Python timestamps would import."""
    try:
        return list(column.cast(pa.string()).to_pylist())
    except pa.ArrowException:  # lists, structs and bytes that are not UTF-8
        return [None if value is None else str(value) for value in column.to_pylist()]
