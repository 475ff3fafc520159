"""Rows that both sides flag, or one of them alone: their number, and the rows with the lowest p-values."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aepipe.inference.output_schema import FLAG
from aepipe.jobs.report.page_data import unusualness
from aepipe.jobs.top_alarms import as_texts
from aepipe.report import formatting
from aepipe.report.compare_page import AlarmGroup, PairedAlarm
from aepipe.tables.entities import value_text

MOST_ROWS = 12
FIRST_REASONS = ("reason_1", "channel")
"""Column with the first attribution of rows, and of the points of series."""

Flags = NDArray[np.bool_]


class SideRows(NamedTuple):
    """Rows of one side, (B,) each; `p_value` is the lower one of the row and of its flagged cell, inf if invalid."""

    p_value: NDArray[np.float64]
    flagged: Flags
    reason: Sequence[str | None]

    @classmethod
    def of(cls, table: pa.Table) -> "SideRows":
        """Read the columns of the scores output."""
        reason = next((name for name in FIRST_REASONS if name in table.column_names), None)
        texts: Sequence[str | None] = [None] * len(table)
        flagged = np.asarray(table[FLAG].to_numpy())
        if reason is not None:
            shown = pc.if_else(pa.array(flagged), table[reason].cast(pa.string()), None)
            texts = shown.to_pylist()
        return cls(unusualness(table)[0], flagged, texts)

    def alarm(self, at: int) -> tuple[float | None, str]:
        """Return p-value and first attribution of a row; the attribution of a flagged row only."""
        return float(self.p_value[at]) if np.isfinite(self.p_value[at]) else None, self.reason[at] or ""


def paired_alarm(
    name: str, sides: Sequence[SideRows], rows: tuple[int | None, int | None], *, most: int = 120
) -> PairedAlarm:
    """Return one alarm: the row of each side with its p-value; None where the side has no such row."""
    found = [(None, "") if row is None else side.alarm(row) for side, row in zip(sides, rows, strict=True)]
    (p_first, why_first), (p_second, why_second) = found
    return PairedAlarm(formatting.text(name, most=most), (p_first, p_second), (why_first, why_second))


def row_names(keys: pa.Table | None, partition: str, begin: int, rows: Sequence[int]) -> list[str]:
    """Return the names of rows: their keys, else partition and position.

    Args:
        keys: key columns of the batch; None or no columns: there are no keys.
        partition: name of the partition.
        begin: position of the first row of the batch in the partition.
        rows: positions in the batch.
    """
    if keys is None or not keys.num_columns:
        return [f"{partition}, row {formatting.count(begin + row + 1)}" for row in rows]
    columns = [as_texts(keys[name].combine_chunks().take(pa.array(rows, pa.int64()))) for name in keys.column_names]
    shown = ([formatting.text(value_text(value), most=60) for value in column] for column in columns)
    return [", ".join(values) for values in zip(*shown, strict=True)]


@dataclass(slots=True)
class AlarmTally:
    """Running groups of alarms, by title: their number, and the rows with the lowest p-values."""

    titles: tuple[str, ...]
    sides: tuple[tuple[int, ...], ...] = ()
    """sides that the rows of each group are known on; empty: both"""
    counts: list[int] = field(init=False)
    rows: list[list[tuple[float, PairedAlarm]]] = field(init=False)

    def __post_init__(self) -> None:
        self.counts = [0] * len(self.titles)
        self.rows = [[] for _ in self.titles]

    def add(self, group: int, count: int, found: Sequence[PairedAlarm]) -> None:
        """Add alarms of a group: their number, and some of their rows."""
        self.counts[group] += count
        ranked = [(min(p for p in row.p_values if p is not None), row) for row in found]
        self.rows[group] = sorted([*self.rows[group], *ranked], key=lambda each: each[0])[:MOST_ROWS]

    def groups(self) -> tuple[AlarmGroup, ...]:
        """Return the groups in the order of the titles."""
        sides = self.sides or ((0, 1),) * len(self.titles)
        return tuple(
            AlarmGroup(title, count, tuple(row for _, row in rows), known)
            for title, count, rows, known in zip(self.titles, self.counts, self.rows, sides, strict=True)
        )


def lowest(p_values: NDArray[np.float64], chosen: Flags) -> NDArray[np.int64]:
    """Return the positions of the chosen rows with the lowest p-values, at most MOST_ROWS.

    >>> lowest(np.array([0.3, 0.1, 0.2]), np.array([True, False, True])).tolist()
    [2, 0]
    """
    rows = np.flatnonzero(chosen)
    return rows[np.argsort(p_values[rows], kind="stable")[:MOST_ROWS]]
