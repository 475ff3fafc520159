"""Find out whether a table is a long table of series: entities, each with one row per step of a clock."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, islice
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aepipe.errors import DataUnreadable, SchemaMismatch
from aepipe.series.stage import entities_of, times_of
from aepipe.tables.arrow_arrays import plain_values
from aepipe.tables.arrow_types import sort_of
from aepipe.tables.parquet_reader import slices
from aepipe.tables.partitions import Partition
from aepipe.tables.roles.event_time import EPOCH_UNITS, epoch_unit
from aepipe.tables.roles.proposal import Proposal
from aepipe.tables.schema_check import Schema
from aepipe.tables.text_values import notation_of

_ROWS = 50_000
_FEWEST_STEPS = 32
_MOST_CANDIDATES = 6
_REGULAR = 0.95
_UNIQUE = 0.999
_NEAR = 0.25
_MOST_WITHOUT_TIME = 0.01
"""Share of rows without an event time up to which the others tell whether the table is one of series."""


class SeriesProposal(NamedTuple):
    """Columns that identify a series, and why the table is one of series."""

    entity: tuple[str, ...]
    why: str
    without_score: str = ""
    """Sentence about rows that would have no score; empty if there are none."""


def propose_series(
    partitions: Sequence[Partition],
    schema: Schema,
    proposals: Sequence[Proposal],
    *,
    entity: Sequence[str] = (),
) -> SeriesProposal | None:
    """Return what identifies a series if the first rows are series of equally spaced steps, else None.

    Args:
        partitions: partitions in order.
        schema: inferred schema.
        proposals: proposed roles; without an event time there are no series.
        entity: columns that must identify a series; empty: they are looked for.
    """
    roles = {proposal.column: proposal.role for proposal in proposals}
    time = next((name for name, role in roles.items() if role == "event_time"), None)
    modelled = [column for column in schema.columns if column.kind != "ignore" and column.name not in roles]
    numbers = [column.name for column in modelled if column.kind == "number"]
    if time is None or not numbers or any(column.kind in ("image", "series") for column in modelled):
        return None
    rows = _first_rows(partitions, schema, time)
    if rows is None:
        return None
    batches, moments, absent = rows
    for candidate in [tuple(entity)] if entity else _candidates(batches, schema, roles):
        others = [name for name in numbers if name not in candidate]
        rest = [column for column in modelled if column.name not in candidate]
        if not others or 2 * len(others) < len(rest):
            continue
        series, codes = entities_of(batches, candidate)
        step = _regular_step(codes[~absent], moments[~absent], len(series))
        if step is not None:
            what = f"{len(series):,} series" if len(series) > 1 else "one series"
            words = _count_words(step, moments[~absent]) if _holds_integers(batches[0], time) else _words(step)
            why = f"{what} of rows that are {words} apart"
            return SeriesProposal(candidate or _constant(batches, roles), why, _without_score(time, absent))
    return None


def _candidates(
    batches: Sequence[pa.RecordBatch], schema: Schema, roles: Mapping[str, str]
) -> Iterator[tuple[str, ...]]:
    """Yield columns that may identify a series: none, each column alone, then pairs; text of numbers comes last."""
    found = [
        field.name
        for field in batches[0].schema
        if sort_of(field.type) in ("text", "number", "boolean")
        and not pa.types.is_floating(field.type)
        and roles.get(field.name) in (None, "key")
    ]
    names = sorted(found, key=lambda name: _is_text_of_numbers(schema.arrow.field(name)))[:_MOST_CANDIDATES]
    yield from ((), *combinations(names, 1), *combinations(names, 2))


def _is_text_of_numbers(field: pa.Field) -> bool:
    return notation_of(field) is not None and sort_of(field.type) == "number"


def _constant(batches: Sequence[pa.RecordBatch], roles: Mapping[str, str]) -> tuple[str, ...]:
    """Return the only column of text that has one value: that of a table that has begun with one entity."""
    found = []
    for field in batches[0].schema:
        if sort_of(field.type) == "text" and field.name not in roles:
            values = pa.chunked_array([plain_values(batch.column(field.name)) for batch in batches])
            if not values.null_count and pc.count_distinct(values).as_py() == 1:
                found.append(field.name)
    return tuple(found) if len(found) == 1 else ()


def _first_rows(
    partitions: Sequence[Partition], schema: Schema, time: str
) -> tuple[list[pa.RecordBatch], NDArray[np.int64], NDArray[np.bool_]] | None:
    """Return consecutive rows of the first partitions, their times, (R,), and which of them are missing, (R,).

    None if too many times are missing, or if they are unreadable.
    """
    fields = [
        pa.field(field.name, pa.string()) if _is_text_of_numbers(field) and field.name != time else field
        for field in schema.arrow
        if sort_of(field.type) in ("text", "number", "boolean", "time")
    ]
    files = [file for partition in partitions for file in partition.files]
    batches: list[pa.RecordBatch] = []
    try:
        for batch in islice(slices(files, None, rows=_ROWS, schema=pa.schema(fields)), 1_000):
            batches.append(batch)
            if sum(each.num_rows for each in batches) >= _ROWS:
                break
        found = [times_of(batch.column(time)) for batch in batches]
    except (DataUnreadable, SchemaMismatch):
        return None
    if not batches:
        return None
    moments, absent = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return (batches, moments, absent) if absent.mean() <= _MOST_WITHOUT_TIME else None


def _without_score(time: str, absent: NDArray[np.bool_]) -> str:
    count = int(absent.sum())
    if not count:
        return ""
    return (
        f"{count:,} of the first {len(absent):,} rows have no '{time}': rows without "
        "a time have no score in a series job"
    )


def _regular_step(entity: NDArray[np.int64], time: NDArray[np.int64], entities: int) -> int | None:
    """Return the step if nearly all rows of each series are one step apart; None if not."""
    if len(time) < _FEWEST_STEPS * entities:
        return None
    order = np.lexsort((time, entity))
    differences, is_same = np.diff(time[order]), np.diff(entity[order]) == 0
    within = differences[is_same]
    if not len(within) or (within > 0).mean() < _UNIQUE:
        return None
    step = int(np.median(within))
    near = np.abs(within - step) <= _NEAR * step
    return step if step > 0 and near.mean() >= _REGULAR else None


def _holds_integers(batch: pa.RecordBatch, time: str) -> bool:
    return bool(pa.types.is_integer(plain_values(batch.column(time)).type))


def _count_words(step: int, moments: NDArray[np.int64]) -> str:
    """Return a difference between integers as a duration if they count from 1970, else as a number.

    >>> _count_words(900, np.array([1_767_225_600])), _count_words(5, np.array([10, 15]))
    ('15 min', '5')
    """
    unit = epoch_unit(moments)
    return f"{step:,}" if unit is None else _words(round(step * 1e6 / EPOCH_UNITS[unit]))


def _words(step: int) -> str:
    """Return microseconds as a duration.

    >>> _words(300_000_000), _words(86_400_000_000)
    ('5 min', '24 h')
    """
    for name, size in (("h", 3_600_000_000), ("min", 60_000_000), ("s", 1_000_000)):
        if step % size == 0:
            return f"{step // size} {name}"
    return f"{step / 1e6:g} s"
