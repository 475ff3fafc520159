"""Rows of a job's data, found by their keys as text."""

import csv
import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from itertools import islice
from operator import and_
from pathlib import Path

import numpy as np
import pyarrow as pa

from aepipe.config.job import Job
from aepipe.errors import DataUnreadable, JobInvalid, OptionInvalid, SchemaMismatch, did_you_mean
from aepipe.expressions.condition import Condition
from aepipe.tables.arrow_types import sort_of
from aepipe.tables.entities import join_parts
from aepipe.tables.parquet_reader import READ_ROWS, read_footer, readable_footers, slices
from aepipe.tables.partitions import Partition, discover
from aepipe.tables.text_values import guess_as, parse_texts
from aepipe.tables.unification import unified_table

log = logging.getLogger(__name__)

_MOST_COMPARED = 100_000  # keys; comparing them with a text takes less than a second

Place = tuple[Partition, Path, int]
"""Partition and file of a row, and its position in the file."""


def find_rows(
    job: Job,
    texts: Sequence[str],
    *,
    columns: Sequence[str],
) -> pa.Table:
    """Find one row per key, in the order of the keys; columns: columns to read; a file may lack some.

    Raises:
        JobInvalid, OptionInvalid: As `find_places`.
    """
    return unified_table([_read(file, row, columns) for _, file, row in find_places(job, texts)])


def find_places(job: Job, texts: Sequence[str], table: Sequence[Partition] | None = None) -> list[Place]:
    """Find the place of one row per key, in the order of the keys.

    Args:
        job: The job.
        texts: Keys as text; the values of several key columns in the order of `[data] keys`, separated by commas.
        table: All partitions; None: they are listed.

    Raises:
        JobInvalid: The job has no key column.
        OptionInvalid: A key matches no row, or several; the message suggests similar keys.
    """
    keys = job.data.keys
    if not keys:
        raise JobInvalid(str(job.source), ["[data] keys is missing: rows are looked up by key. Name the key columns."])
    wanted = {text: _condition(keys, text) for text in texts}
    found: dict[str, list[Place]] = {text: [] for text in texts}
    faults: list[str] = []
    for partition in discover(job) if table is None else table:
        for file in partition.files:
            try:
                matches = list(_matches(file, job, wanted))
            except (DataUnreadable, SchemaMismatch) as error:  # the row may be in another file
                faults.append(str(error))
                continue
            for text, row in matches:
                found[text].append((partition, file, row))
    for fault in faults:
        log.warning("not searched: %s", fault)
    return [_the_one(job, text, found[text]) for text in texts]


def row_in_partition(place: Place) -> int:
    """Return the position of a row in its partition, from 0."""
    partition, file, row = place
    return row + sum(read_footer(path).rows for path in partition.files[: partition.files.index(file)])


def _key_texts(job: Job) -> Iterator[str]:
    """Yield the key of every row that has one, in the format that `find_rows` takes."""
    keys = job.data.keys
    for partition in discover(job):
        footers, _ = readable_footers(partition.files)
        usable = [footer.path for footer in footers if set(keys) <= set(footer.schema.names)]
        for batch in slices(usable, keys, rows=READ_ROWS):
            for values in zip(*(batch.column(name).to_pylist() for name in keys), strict=True):
                if None not in values:  # no text names a missing value
                    yield join_parts([str(value) for value in values])


def _condition(keys: Sequence[str], text: str) -> Condition:
    """Return a condition such as `"shop" = 'north' and "id" = '12'`; literals take the types of the columns."""
    values = [text] if len(keys) == 1 else next(csv.reader([text], skipinitialspace=True), [])
    if len(values) != len(keys):
        raise OptionInvalid(
            f"key '{text}' has the wrong number of parts: expected {len(keys)} ({', '.join(keys)}), got {len(values)}"
        )
    return reduce(and_, map(Condition.equals, keys, values))


def _matches(file: Path, job: Job, wanted: Mapping[str, Condition]) -> Iterator[tuple[str, int]]:
    begin, keys = 0, job.data.keys
    for batch in slices([file], keys, rows=READ_ROWS):
        batch = _with_text_of_uuids(batch)
        parsed = _with_parsed_times(batch, job)
        for text, condition in wanted.items():
            held = _holds(batch, text, condition, keys)
            if parsed is not None:
                held |= _holds_parsed(parsed, condition)
            for row in np.flatnonzero(held):
                yield text, begin + int(row)
        begin += batch.num_rows


def _with_parsed_times(batch: pa.RecordBatch, job: Job) -> pa.RecordBatch | None:
    """Return the rows with the event time as scores have it, if it is a key and text of a format that the job names."""
    time = job.data.event_time
    notation = job.columns[time].format if time in job.columns and time in batch.schema.names else None
    if notation is None or sort_of(batch.schema.field(time).type) != "text":
        return None
    texts = batch.column(time)
    kind = guess_as(texts, notation).type
    return batch.set_column(batch.schema.names.index(time), time, parse_texts(texts, kind, notation))


def _holds_parsed(batch: pa.RecordBatch, condition: Condition) -> np.ndarray:
    try:
        return _rows_of(condition.mask(batch))
    except OptionInvalid:  # the text is no time: it was compared as text
        return np.zeros(batch.num_rows, np.uint8)


def _with_text_of_uuids(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the rows with the text of UUIDs, as people name a row."""
    for at, field in enumerate(batch.schema):
        if isinstance(field.type, pa.UuidType):
            texts = [None if value is None else str(value) for value in batch.column(at).to_pylist()]
            batch = batch.set_column(at, field.name, pa.array(texts, pa.string()))
    return batch


def _holds(batch: pa.RecordBatch, text: str, condition: Condition, keys: Sequence[str]) -> np.ndarray:
    try:
        held = condition.mask(batch)
    except OptionInvalid:
        types = ", ".join(f"{name} ({batch.schema.field(name).type})" for name in keys)
        raise OptionInvalid(f"key '{text}' cannot be compared with {types}") from None
    return _rows_of(held)


def _rows_of(held: pa.BooleanArray) -> np.ndarray:
    return np.array(held.cast(pa.uint8()).to_numpy(zero_copy_only=False))


def _the_one(job: Job, text: str, places: Sequence[Place]) -> Place:
    keys = ", ".join(job.data.keys)
    if not places:
        hint = did_you_mean(text, islice(_key_texts(job), _MOST_COMPARED), most=3)
        raise OptionInvalid(f"no row of {job.data_path} has the key {keys} = '{text}'{hint}")
    if len(places) > 1:
        rows = ", ".join(f"{place[0].name}:{row_in_partition(place)}" for place in places[:5])
        more = f" and {len(places) - 5} more" if len(places) > 5 else ""
        raise OptionInvalid(
            f"key {keys} = '{text}' is ambiguous: expected one row, got {len(places)}: {rows}{more}. Name a place."
        )
    return places[0]


def _read(file: Path, row: int, columns: Sequence[str]) -> pa.Table:
    there = read_footer(file).schema.names
    wanted = [name for name in columns if name in there]
    begin = 0
    for batch in slices([file], wanted, rows=READ_ROWS):
        if row < begin + batch.num_rows:
            return pa.Table.from_batches([batch.take(pa.array([row - begin]))])
        begin += batch.num_rows
    raise AssertionError(f"{file} has no row {row}")
