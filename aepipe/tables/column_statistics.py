"""Ranges and missing values of columns, by the statistics of the row groups in the footers."""

from collections.abc import Sequence
from pathlib import Path

from aepipe.tables.parquet_reader import Footer, row_groups_of


def column_ranges(files: Sequence[Path], columns: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Return the least and greatest value of flat columns of numbers and times, by the statistics of the row groups.

    Columns without complete statistics are left out. Times are in the unit of the file.

    Raises:
        DataUnreadable: a file is missing or is not a Parquet file.
    """
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in columns}
    incomplete: set[str] = set()
    for path in files:
        for chunk in (chunk for group in row_groups_of(path, None) for chunk in group.chunks):
            if chunk.path not in found or chunk.nulls == chunk.values:
                continue
            if chunk.range is not None:
                found[chunk.path].append(chunk.range)
            else:
                incomplete.add(chunk.path)
    return {
        name: (min(low for low, _ in spans), max(high for _, high in spans))
        for name, spans in found.items()
        if spans and name not in incomplete
    }


def null_counts(footers: Sequence[Footer]) -> dict[str, int]:
    """Return the number of missing values of each column, by the statistics of the row groups.

    A file that lacks a column has no value of it. Columns without complete statistics are left out.

    Raises:
        DataUnreadable: a file is missing or is not a Parquet file.
    """
    names = dict.fromkeys(name for footer in footers for name in footer.schema.names)
    found = dict.fromkeys(names, 0)
    unknown: set[str] = set()
    for footer in footers:
        groups = footer.all_groups
        stated: dict[str, list[int]] = {name: [] for name in footer.schema.names}
        for chunk in (chunk for group in groups for chunk in group.chunks):
            if chunk.nulls is not None and chunk.path in stated:
                stated[chunk.path].append(chunk.nulls)
        has_all_groups = sum(group.rows for group in groups) == footer.rows
        counts = {
            name: sum(nulls) if has_all_groups and len(nulls) == len(groups) else None for name, nulls in stated.items()
        }
        for name in names:
            number = counts.get(name, footer.rows)
            found[name] += number or 0
            unknown |= {name} if number is None else set()
    return {name: number for name, number in found.items() if name not in unknown}
