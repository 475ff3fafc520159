"""Roles that columns of a table could have, and columns that drift, by rows of partitions that lie evenly apart."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa

from aepipe.errors import DataUnreadable, SchemaMismatch
from aepipe.tables.arrow_types import sort_of
from aepipe.tables.column_statistics import column_ranges
from aepipe.tables.parquet_reader import Footer, read_footer, slices, spread_rows
from aepipe.tables.partition_dates import Date, date_of_partition
from aepipe.tables.partitions import Partition
from aepipe.tables.roles.drift import Drift, Ranges, find_drift
from aepipe.tables.roles.event_time import is_sorted_by_time
from aepipe.tables.roles.proposal import Proposal
from aepipe.tables.roles.propose import propose_roles
from aepipe.tables.roles.sampled_values import count_distinct, joined
from aepipe.tables.schema_check import Schema
from aepipe.tables.unification import unify_with_faults

T = TypeVar("T")

SAMPLE_ROWS = 20_000
GROUPS = 16
MOST_ROWS_CUT = 500_000
MOST_FILES = 256
_FEWEST_ROWS = 50


class SampledGroups:
    """Rows of partitions that lie evenly apart, the first and the last among them; neighbours are one group if small.

    Args:
        partitions: partitions in order; those without rows are skipped.
        footers: footers of their files.
        arrow: columns to read, and their types.
    """

    def __init__(self, partitions: Sequence[Partition], footers: Sequence[Footer], arrow: pa.Schema) -> None:
        folders = {
            part.partition("=")[0] for partition in partitions for part in partition.name.split("/") if "=" in part
        }
        _, unreadable = unify_with_faults(
            [(str(footer.path), footer.schema) for footer in [each for each in footers if each.rows] or footers[:1]]
        )
        arrow = pa.schema([field for field in arrow if field.name not in folders | unreadable.keys()])
        self._names = arrow.names
        rows = {footer.path: footer.rows for footer in footers}
        filled = [
            (partition, [file for file in partition.files if rows.get(file)])
            for partition in partitions
            if any(rows.get(file) for file in partition.files)
        ]
        typical = float(np.median([sum(rows[file] for file in files) for _, files in filled])) if filled else 0.0
        joined = max(1, min(MOST_FILES // GROUPS, round(_FEWEST_ROWS / max(typical, 1.0))))
        chosen = _evenly([filled[at : at + joined] for at in range(0, len(filled), joined)], GROUPS)
        self.ranges = [Ranges(column_ranges(files, arrow.names)) for _, files in _evenly(filled, MOST_FILES)]
        self.dates: list[Date | None] = []
        self.tables: list[pa.Table] = []
        for group in chosen:
            share = SAMPLE_ROWS // (len(chosen) * len(group))
            rows_of = [spread_rows_of(files[0], share, arrow) for _, files in group]
            dates = {date_of_partition(partition.name) for partition, _ in group}
            self.dates.append(dates.pop() if len(dates) == 1 else None)
            self.tables.append(pa.concat_tables([arrow.empty_table(), *rows_of]))
        self._rows_are_in_time = len(chosen) > 1
        if len(chosen) == 1:
            self._cut_rows(chosen[0], arrow)

    def _cut_rows(self, group: Sequence[tuple[Partition, Sequence[Path]]], arrow: pa.Schema) -> None:
        """Take consecutive rows of the only partition as groups, if a column shows that they are in order of time."""
        files = [file for _, files in group for file in files]
        rows = min(MOST_ROWS_CUT, sum(read_footer(file, ()).rows for file in files))
        if rows < 2 * _FEWEST_ROWS:
            return
        step = -(-rows // min(GROUPS, rows // _FEWEST_ROWS))
        try:
            batches = list(islice(slices(files, None, rows=step, schema=arrow), GROUPS))
        except (DataUnreadable, SchemaMismatch):
            return
        tables = [pa.Table.from_batches([batch.slice(0, SAMPLE_ROWS // GROUPS)]) for batch in batches]
        if is_sorted_by_time(arrow.names, tables):
            self.tables, self.dates, self._rows_are_in_time = tables, [self.dates[0]] * len(tables), True

    def drift(self) -> tuple[Drift, ...]:
        """Find the columns whose values move on, as `find_drift` does; none if the rows are not in order of time."""
        return find_drift(self.tables, self.ranges) if self._rows_are_in_time else ()

    def constants(self) -> tuple[str, ...]:
        """Return the columns that have one value, and no null, in all sampled rows."""
        columns = pa.concat_tables(self.tables).columns if self.tables else []
        values = {name: joined([column]) for name, column in zip(self._names, columns, strict=False)}
        return tuple(name for name, found in values.items() if count_distinct(found) == 1 and not found.null_count)

    def proposals(self) -> tuple[Proposal, ...]:
        """Propose roles of columns."""
        return propose_roles(self.tables, dates=self.dates, drift=self.drift()) if self.tables else ()


def spread_rows_of(file: Path, rows: int, schema: pa.Schema) -> pa.Table:
    """Read rows that lie apart in a file; none if it cannot be read, which other steps report."""
    try:
        return spread_rows(file, rows, schema)
    except (DataUnreadable, SchemaMismatch):
        return schema.empty_table()


def readable_columns(schema: Schema) -> pa.Schema:
    """Return the columns that can have a role: numbers, times, texts and the like, but no index written by pandas."""
    sorts = ("number", "boolean", "text", "time", "bytes", "null")
    kinds = {column.name: column.kind for column in schema.columns}
    fields = [
        field
        for field in schema.arrow
        if sort_of(field.type) in sorts
        and kinds.get(field.name) != "image"
        and not field.name.startswith("__index_level_")
    ]
    return pa.schema(fields)


def _evenly(items: Sequence[T], most: int) -> list[T]:
    """Choose at most `most` items that lie evenly apart, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(at)] for at in np.linspace(0, len(items) - 1, most)]
