"""Read Parquet files in order, in batches of bounded size; page checksums are verified if the file has them.

Without page checksums a flipped bit inside a page can go unnoticed; only a digest from elsewhere finds it.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from aepipe.errors import DataUnreadable, SchemaMismatch
from aepipe.tables.struct_fields import flatten_structs, struct_of_field, with_struct_fields
from aepipe.tables.unification import cast_batch

READ_ROWS = 65_536
"""Default number of rows per batch."""

# Pages are read as they are needed, so that memory does not grow with the size of a row group. Memory-mapping is no
# faster, counts as resident, and ends the process with SIGBUS if the file is cut short meanwhile.
_BUFFER = 64 << 10
_LARGE_GROUPS = 8
"""Number of batches after which a batch may be cut short by the end of a row group."""
_OPEN_BYTES = 9 << 18
"""Upper bound per column: writers end dictionaries and pages at 1 MiB; 64 columns of floats took 150 MB."""
_HEADERS = 128  # bytes per column and row group that hold no values
_VARIABLE_BYTES = 64  # assumed for a value without fixed width, unless the file says more


class Footer(NamedTuple):
    """Footer of a Parquet file."""

    path: Path
    schema: pa.Schema
    """Columns of the file; the fields of a struct follow it as columns of their own."""
    rows: int
    row_bytes: int
    """Estimated size of a row in memory, in bytes."""
    open_bytes: int
    """Estimated size of dictionaries and pages while the largest row group is read, in bytes."""


def read_footer(path: Path, columns: Sequence[str] | None = None) -> Footer:
    """Read the footer of a file.

    Args:
        path: the file.
        columns: columns to count in the sizes; None for all.

    Raises:
        DataUnreadable: the file is missing or is not a Parquet file.
    """
    with _open(path) as file:
        schema = with_struct_fields(file.schema_arrow)
        tops = struct_of_field(file.schema_arrow)
        stored = None if columns is None else {tops.get(name, name) for name in columns}
        wanted = [field for field in file.schema_arrow if stored is None or field.name in stored]
        groups = (file.metadata.row_group(group) for group in range(file.metadata.num_row_groups))
        largest = max(groups, key=lambda group: group.num_rows, default=None)
        sizes = () if largest is None else _stored_bytes(largest, wanted)
        open_bytes = sum(min(2 * size, _OPEN_BYTES) for size in sizes)
        return Footer(path, schema, file.metadata.num_rows, _row_bytes(file.metadata, wanted), open_bytes)


def slices(
    files: Sequence[Path],
    columns: Sequence[str] | None,
    *,
    rows: int,
    as_codes: Sequence[str] = (),
    schema: pa.Schema | None = None,
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of the files in order, in batches that never span two files.

    Args:
        files: Parquet files.
        columns: columns to read, `address.city` for a field of a struct; None for all, fields of structs included.
        rows: maximum rows per batch.
        as_codes: text columns to read as dictionary arrays, which is faster if values repeat.
        schema: types to cast the columns to; columns missing from a file are null then. None keeps the file's types.

    Raises:
        DataUnreadable: a file cannot be read; names the file and the row group.
        SchemaMismatch: a file lacks a column.
    """
    for path in files:
        with _open(path, as_codes) as file:
            names = with_struct_fields(file.schema_arrow).names
            if schema is None:
                absent = [name for name in columns or () if name not in names]
                if absent:
                    raise SchemaMismatch(str(path), [f"has no column '{name}'" for name in absent])
                has_fields = len(names) > len(file.schema_arrow.names)
                for batch in _batches(path, file, columns, rows):
                    yield flatten_structs(batch, columns) if has_fields else batch
            else:
                wanted = [name for name in (schema.names if columns is None else columns) if name in schema.names]
                common = pa.schema([schema.field(name) for name in wanted])
                present = [name for name in wanted if name in names]
                for batch in _batches(path, file, present, rows):
                    yield cast_batch(flatten_structs(batch), common)


def _batches(path: Path, file: pq.ParquetFile, columns: Sequence[str] | None, rows: int) -> Iterator[pa.RecordBatch]:
    done = end = 0
    for groups in _row_groups(file.metadata, at_least=_LARGE_GROUPS * rows):
        end += sum(file.metadata.row_group(group).num_rows for group in groups)
        # Arrow's own threads cost more than they gain: the caller is one of several workers.
        batches = file.iter_batches(rows, row_groups=groups, columns=columns, use_threads=False)
        while True:
            try:
                batch = next(batches, None)
            except (OSError, pa.ArrowException) as error:
                place = _place(file.metadata, done, min(rows, end - done))
                raise DataUnreadable(
                    f"{path}, {place}, cannot be read: {_said(error)}. Write the file again."
                ) from None
            if batch is None:
                break
            done += batch.num_rows
            yield batch
        del batches  # frees its dictionaries before the next ones are read
    if done != file.metadata.num_rows:
        promised = file.metadata.num_rows
        raise DataUnreadable(f"{path} is incomplete: expected {promised:,} rows, got {done:,}. Write the file again.")


def _row_groups(metadata: pq.FileMetaData, *, at_least: int) -> Iterator[list[int]]:
    """Yield the row groups in order; small ones are combined until they hold `at_least` rows."""
    groups_read: list[int] = []
    rows = 0
    for group in range(metadata.num_row_groups):
        groups_read.append(group)
        rows += metadata.row_group(group).num_rows
        if rows >= at_least:
            yield groups_read
            groups_read, rows = [], 0
    if groups_read:
        yield groups_read


def _open(path: Path, as_codes: Sequence[str] = ()) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(
            path, read_dictionary=as_codes, pre_buffer=False, buffer_size=_BUFFER, page_checksum_verification=True
        )
    except FileNotFoundError:
        raise DataUnreadable(f"{path} does not exist. Write it again, or remove it from the job.") from None
    except (OSError, pa.ArrowException) as error:
        raise DataUnreadable(f"{path} is not a complete Parquet file: {_said(error)}. Write the file again.") from None


def _place(metadata: pq.FileMetaData, done: int, rows: int) -> str:
    """Name the row groups that hold the `rows` rows after the first `done`."""
    ends = list(accumulate(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)))
    first = sum(end <= done for end in ends)
    last = max(first, sum(end < done + rows for end in ends))
    last = min(last, metadata.num_row_groups - 1)
    return f"row group {first}" if first >= last else f"row groups {first} to {last}"


def _said(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


def _row_bytes(metadata: pq.FileMetaData, fields: Sequence[pa.Field]) -> int:
    """Estimate bytes per row: the larger of the types' widths and the first row group's size."""
    by_type = sum(_type_bytes(field.type) for field in fields)
    if metadata.num_row_groups == 0:
        return by_type
    group = metadata.row_group(0)
    stored = sum(_stored_bytes(group, fields))
    return max(by_type, -(-stored // max(1, int(group.num_rows))))


def _stored_bytes(group: pq.RowGroupMetaData, fields: Sequence[pa.Field]) -> Iterator[int]:
    """Yield the uncompressed size of each of these columns."""
    names = {field.name for field in fields}
    chunks = (group.column(index) for index in range(group.num_columns))
    wanted = (chunk for chunk in chunks if chunk.path_in_schema.split(".")[0] in names)
    return (max(0, int(chunk.total_uncompressed_size) - _HEADERS) for chunk in wanted)


def _type_bytes(kind: pa.DataType) -> int:
    try:
        return -(-int(kind.bit_width) // 8)
    except ValueError:  # no fixed width
        return _VARIABLE_BYTES


def column_ranges(files: Sequence[Path], columns: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Return the least and greatest value of flat columns of numbers and times, by the statistics of the row groups.

    Columns without complete statistics are left out. Times are in the unit of the file.

    Raises:
        DataUnreadable: a file is missing or is not a Parquet file.
    """
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in columns}
    incomplete: set[str] = set()
    for path in files:
        with _open(path) as file:
            groups = [file.metadata.row_group(group) for group in range(file.metadata.num_row_groups)]
            for chunk in (group.column(index) for group in groups for index in range(group.num_columns)):
                name, known = chunk.path_in_schema, chunk.statistics
                if name not in found or (known is not None and known.null_count == chunk.num_values):
                    continue
                span = (known.min_raw, known.max_raw) if known is not None and known.has_min_max else ()
                if span and all(isinstance(each, int | float) and not isinstance(each, bool) for each in span):
                    found[name].append((float(span[0]), float(span[1])))
                else:
                    incomplete.add(name)
    return {
        name: (min(low for low, _ in spans), max(high for _, high in spans))
        for name, spans in found.items()
        if spans and name not in incomplete
    }
