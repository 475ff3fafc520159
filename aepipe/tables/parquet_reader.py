"""Read Parquet files in order, in batches of bounded size; page checksums are verified if the file has them.

Without page checksums a flipped bit inside a page can go unnoticed; only a digest from elsewhere finds it.
"""

import errno
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, islice
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from aepipe.errors import DataUnreadable, SchemaMismatch
from aepipe.stores import StorePath
from aepipe.stores.connection import is_from_store, retried, unavailable
from aepipe.tables.arrow_arrays import schema_without_views, without_views
from aepipe.tables.arrow_memory import return_freed_memory
from aepipe.tables.decoded_sizes import DecodedSizes, ReadLimits, large_open_bytes
from aepipe.tables.last_schema import OfLastSchema
from aepipe.tables.open_files import FooterContent, ParsedFooter, Stamp, is_kept_open, of_file, stamp_of
from aepipe.tables.parquet_sizes import Chunk, RowGroup, footer_bytes, read_pages, read_row_groups
from aepipe.tables.source_files import describe_read_error, is_encrypted, printable, refuse_irregular
from aepipe.tables.struct_fields import flatten_structs, struct_of_field, with_struct_fields
from aepipe.tables.unification import cast_batch

READ_ROWS = 65_536
"""Default number of rows per batch."""

# Pages are read as they are needed, so that memory does not grow with the size of a row group. Memory-mapping is no
# faster, counts as resident, and ends the process with SIGBUS if the file is cut short meanwhile.
_BUFFER = 64 << 10
_PLACES = 8
"""Number of places of a file that `spread_rows` reads."""
_MOST_SPREAD = 1 << 17
"""Rows that `spread_rows` decodes at most."""
_LIMITS = ReadLimits()
_SPREAD_LIMITS = ReadLimits(batch=32 << 20)  # the batches of all places are kept
_LARGE_GROUPS = 8
"""Number of batches after which a batch may be cut short by the end of a row group."""
_OPEN_BYTES = 9 << 18
"""Upper bound per column: writers end dictionaries and pages at 1 MiB; 64 columns of floats took 150 MB."""
_MOST_FOOTER_BYTES = 48 << 20
_FOOTER_FACTOR = 19
"""Bytes that Arrow takes per byte of a footer without statistics: 350 MB for 100,000 row groups of four columns."""
_LARGE_FOOTER_BYTES = 2 << 20
_MOST_CHUNKS_KEPT = 10_000
_READ_ERRORS = (OSError, pa.ArrowException, ValueError, MemoryError, OverflowError)
"""Errors of Arrow for damaged bytes; names that are not UTF-8 are a ValueError."""
_CHECKED_CHUNKS = 16
_HEADERS = 128  # bytes per column and row group that hold no values
_VARIABLE_BYTES = 64  # assumed for a value without fixed width, unless the file says more


class GroupRange(NamedTuple):
    """Consecutive row groups of a file, from `first` to the one before `end`."""

    first: int
    end: int
    rows: int


@dataclass(frozen=True)
class Footer:
    """Footer of a Parquet file."""

    path: Path
    schema: pa.Schema
    """Columns of the file; the fields of a struct follow it as columns of their own."""
    rows: int
    _fields: tuple[pa.Field, ...]
    """Columns to count in the sizes."""
    _footer_bytes: int
    _stamp: Stamp
    _metadata: pq.FileMetaData | None = field(repr=False, compare=False)

    @cached_property
    def row_bytes(self) -> int:
        """Estimated size of a row in memory, in bytes. Raises DataUnreadable."""
        by_type = sum(_type_bytes(field.type) for field in self._fields)
        stored = [
            -(-sum(max(0, max(chunk.stored, _nested_bytes(chunk)) - _HEADERS) for chunk in chunks) // max(1, rows))
            for rows, chunks in self._groups[:1] + self._nested_groups
        ]
        return max([by_type, *stored])

    @cached_property
    def has_checksums(self) -> bool:
        """True if the first page of each column has a checksum, as writers write them for all pages or for none."""
        chunks = self._groups[0].chunks if self._groups else ()
        try:
            with self.path.open("rb") as file:
                first = [next(read_pages(file, chunk), None) for chunk in chunks[:_CHECKED_CHUNKS]]
        except OSError as error:
            raise _incomplete(self.path, error) from None
        return all(page is None or page.has_checksum for page in first)

    @cached_property
    def open_bytes(self) -> int:
        """Estimated memory of footer, dictionaries and pages while rows are read. Raises DataUnreadable."""
        return _open_bytes(self.path, self._groups, self._footer_bytes)

    @property
    def parsed(self) -> ParsedFooter | None:
        """Footer for the next reader of the file, to be taken once; None if it was not to be kept."""
        if self._metadata is None:
            return None
        is_complete = len(self._groups) == self._metadata.num_row_groups
        is_small = sum(len(group.chunks) for group in self._groups) <= _MOST_CHUNKS_KEPT
        content = FooterContent(self._metadata, self._groups if is_complete and is_small else None)
        return ParsedFooter(self.path, self._stamp, content)

    @property
    def bytes(self) -> int | None:
        """Size of the file; None for an object in a store."""
        return None if self._stamp is None else self._stamp[1]

    @cached_property
    def all_groups(self) -> tuple[RowGroup, ...]:
        """Row groups with the chunks of all columns. Raises DataUnreadable."""
        return row_groups_of(self.path, None)

    @cached_property
    def _groups(self) -> tuple[RowGroup, ...]:
        return _chunks_of(self.all_groups, {field.name for field in self._fields})

    @property
    def _nested_groups(self) -> tuple[RowGroup, ...]:
        if not any(pa.types.is_nested(field.type) for field in self._fields):
            return ()
        return self._groups[1:]


def read_footer(path: Path, columns: Sequence[str] | None = None, *, keep: bool = False) -> Footer:
    """Read the footer of a file; its sizes are read when they are used.

    Args:
        path: the file.
        columns: columns to count in the sizes; None for all.
        keep: keep what Arrow parsed, for `Footer.parsed`.

    Raises:
        DataUnreadable: the file is missing or is not a Parquet file.
    """
    with _opening(path):
        stamp = stamp_of(path)
    with _open(path) as file:
        schema, wanted = _described(file.schema_arrow, None if columns is None else tuple(columns))
        metadata = file.metadata
        size = metadata.serialized_size
        return Footer(path, schema, metadata.num_rows, wanted, size, stamp, metadata if keep else None)


def _describe(stored: pa.Schema, columns: tuple[str, ...] | None) -> tuple[pa.Schema, tuple[pa.Field, ...]]:
    """Return the columns of a file, with the fields of structs, and those to count in its sizes."""
    tops = struct_of_field(stored)
    counted = None if columns is None else {tops.get(name, name) for name in columns}
    fields = tuple(field for field in stored if counted is None or field.name in counted)
    return with_struct_fields(schema_without_views(stored)), fields


_described = OfLastSchema(_describe)


def open_bytes(path: Path, columns: Sequence[str]) -> int:
    """Return the memory of a file while it is read, as `Footer.open_bytes`; Arrow does not read the footer.

    Args:
        path: the file.
        columns: columns to count, `address.city` for a field of a struct.

    Raises:
        DataUnreadable: the file is missing or is not a Parquet file.
    """
    with _opening(path):
        refuse_irregular(path)
        size = retried(lambda: _footer_bytes(path))
    tops = {".".join(parts[: end + 1]) for parts in (name.split(".") for name in columns) for end in range(len(parts))}
    return _open_bytes(path, row_groups_of(path, tops), size)


def row_groups_of(path: Path, columns: Collection[str] | None) -> tuple[RowGroup, ...]:
    """Return the row groups with the chunks of these columns; None for all. Raises DataUnreadable."""
    try:
        groups = of_file(path, "row groups", lambda: retried(lambda: tuple(read_row_groups(path))))
    except (OSError, ValueError) as error:
        if is_from_store(error):
            raise unavailable(str(path), error) from None
        raise _incomplete(path, error) from None
    return groups if columns is None else _chunks_of(groups, columns)


def _chunks_of(groups: Sequence[RowGroup], columns: Collection[str]) -> tuple[RowGroup, ...]:
    return tuple(RowGroup(rows, tuple(c for c in chunks if c.column in columns)) for rows, chunks in groups)


def readable_footers(files: Iterable[Path]) -> tuple[list[Footer], dict[Path, str]]:
    """Read the footers of the files that can be opened, and return what is wrong with each of the others."""
    footers: list[Footer] = []
    faults: dict[Path, str] = {}
    for path in files:
        try:
            footers.append(read_footer(path))
        except DataUnreadable as error:
            faults[path] = str(error)
    return footers, faults


def group_ranges(path: Path, rows: int) -> list[GroupRange]:
    """Return the row groups that `slices` reads together for batches of at most `rows` rows. Raises DataUnreadable."""
    with _open(path) as file:
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
        together = _row_groups(file.metadata, range(len(sizes)), at_least=_LARGE_GROUPS * rows)
        return [GroupRange(each[0], each[-1] + 1, sum(sizes[group] for group in each)) for each in together]


def slices(
    files: Sequence[Path],
    columns: Sequence[str] | None,
    *,
    rows: int,
    groups: GroupRange | None = None,
    as_codes: Sequence[str] = (),
    schema: pa.Schema | None = None,
    limits: ReadLimits = _LIMITS,
    parsed: ParsedFooter | None = None,
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of the files in order, in batches that never span two files.

    Args:
        files: Parquet files.
        columns: columns to read, `address.city` for a field of a struct; None for all, fields of structs included.
        rows: maximum rows per batch; batches of large rows have fewer.
        groups: row groups to read of each file; None for all.
        as_codes: text columns to read as dictionary arrays, which is faster if values repeat.
        schema: types to cast the columns to; columns missing from a file are null then. None keeps the file's types.
        limits: most bytes of a batch in memory, and of large pages that are open meanwhile.
        parsed: footer of the only file, which is taken.

    Raises:
        DataUnreadable: a file cannot be read, or a row of it exceeds the limits; names the row group.
        SchemaMismatch: a file lacks a column.
    """
    for path in files:
        with _opening(path):
            known = FooterContent() if parsed is None else parsed.take()
        with _open(path, as_codes, known.metadata) as file:
            stored = file.schema_arrow
            names = with_struct_fields(stored).names
            known_names = set(names)
            if schema is None:
                absent = [name for name in columns or () if name not in known_names]
                if absent:
                    raise SchemaMismatch(str(path), [f"has no column '{name}'" for name in absent])
                common, present = None, columns
            else:
                common_names = schema.names
                wanted = common_names if columns is None else [name for name in columns if name in common_names]
                common = schema_without_views(pa.schema([schema.field(name) for name in wanted]))
                present = [name for name in wanted if name in known_names]
            has_fields = len(names) > len(stored)
            sizes = DecodedSizes(path, file, present, as_codes=as_codes, limits=limits, groups=known.groups)
            for batch in _batches(path, file, present, rows, groups, sizes=sizes):
                if common is not None:
                    yield cast_batch(flatten_structs(batch), common)
                else:
                    yield flatten_structs(batch, columns) if has_fields else batch


def spread_rows(file: Path, rows: int, schema: pa.Schema) -> pa.Table:
    """Read rows that lie apart, in file order: a file sorted by a column shows several of its values then.

    The rows are from up to eight places: row groups, or, where there are fewer, places within their first rows. At most
    131,072 rows are decoded.

    Args:
        file: the file.
        rows: maximum number of rows.
        schema: types to cast the columns to; columns missing from the file are null.

    Raises:
        DataUnreadable: the file cannot be read.
    """
    with _open(file) as opened:
        known = set(with_struct_fields(opened.schema_arrow).names)
        present = [name for name in schema.names if name in known]
        filled = [at for at in range(opened.metadata.num_row_groups) if opened.metadata.row_group(at).num_rows]
        groups = (
            [filled[(2 * at + 1) * len(filled) // (2 * _PLACES)] for at in range(_PLACES)]
            if len(filled) > _PLACES
            else filled
        )
        is_small = opened.metadata.num_rows <= rows
        sizes = DecodedSizes(file, opened, present, as_codes=(), limits=_SPREAD_LIMITS)
        found: list[pa.RecordBatch] = []
        for group in filled if is_small else groups:
            readable = min(opened.metadata.row_group(group).num_rows, _MOST_SPREAD // len(groups))
            places = 1 if is_small else max(1, min(_PLACES, rows) // len(groups))
            share = rows if is_small else max(1, rows // (len(groups) * places))
            step = _fitting_rows(file, sizes, [group], max(share, readable // places))
            batches = _read_batches(file, opened, [group], present, step, done=0)
            places = -(-rows // step) if is_small else places
            found += [flatten_structs(batch.slice(0, share)) for batch in islice(batches, places)]
        return pa.Table.from_batches([cast_batch(batch, schema) for batch in found], schema).slice(0, rows)


def _batches(
    path: Path,
    file: pq.ParquetFile,
    columns: Sequence[str] | None,
    most_rows: int,
    wanted: GroupRange | None,
    *,
    sizes: DecodedSizes,
) -> Iterator[pa.RecordBatch]:
    first, end = (0, file.metadata.num_row_groups) if wanted is None else (wanted.first, wanted.end)
    done = sum(file.metadata.row_group(group).num_rows for group in range(first))
    promised = file.metadata.num_rows if wanted is None else done + wanted.rows
    for groups in _row_groups(file.metadata, range(first, end), at_least=_LARGE_GROUPS * most_rows):
        rows = _fitting_rows(path, sizes, groups, most_rows)
        for batch in _read_batches(path, file, groups, columns, rows, done=done):
            done += batch.num_rows
            if done > promised:
                break
            yield batch
    if done != promised:
        raise DataUnreadable(f"{path} is incomplete: expected {promised:,} rows, got {done:,}. Write the file again.")


def _fitting_rows(path: Path, sizes: DecodedSizes, groups: Sequence[int], most: int) -> int:
    try:
        return sizes.rows_per_batch(groups, most)
    except _READ_ERRORS as error:
        if is_from_store(error):
            raise unavailable(str(path), error) from None
        raise _incomplete(path, error) from None


def _read_batches(
    path: Path, file: pq.ParquetFile, groups: list[int], columns: Sequence[str] | None, rows: int, *, done: int
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of some row groups; `done` rows of the file were read before. Raises DataUnreadable."""
    end = done + sum(file.metadata.row_group(group).num_rows for group in groups)
    batches = _GroupBatches(file, groups, columns, rows)
    while True:
        try:
            batch = retried(batches.next)
        except _READ_ERRORS as error:
            if is_from_store(error):
                raise unavailable(str(path), error) from None
            place = _place(file.metadata, done, min(rows, end - done))
            raise DataUnreadable(f"{path}, {place}, cannot be read: {describe_read_error(error)}") from None
        if batch is None:
            return
        done += batch.num_rows
        yield without_views(batch)


class _GroupBatches:
    """Batches of some row groups; after an error, `next` reads the same batch again."""

    def __init__(self, file: pq.ParquetFile, groups: list[int], columns: Sequence[str] | None, rows: int) -> None:
        self._file, self._groups, self._columns, self._rows = file, groups, columns, rows
        self._count = 0
        self._batches: Iterator[pa.RecordBatch] | None = None

    def next(self) -> pa.RecordBatch | None:
        """Return the next batch; None at the end."""
        if self._batches is None:
            # Arrow's own threads cost more than they gain: the caller is one of several workers.
            options = {"row_groups": self._groups, "columns": self._columns, "use_threads": False}
            self._batches = islice(self._file.iter_batches(self._rows, **options), self._count, None)
        try:
            batch = next(self._batches, None)
        except BaseException:
            self._batches = None
            raise
        self._count += 1
        return batch


def _row_groups(metadata: pq.FileMetaData, wanted: range, *, at_least: int) -> Iterator[list[int]]:
    """Yield the wanted row groups in order; small ones are combined until they hold `at_least` rows."""
    groups_read: list[int] = []
    rows = 0
    for group in wanted:
        groups_read.append(group)
        rows += metadata.row_group(group).num_rows
        if rows >= at_least:
            yield groups_read
            groups_read, rows = [], 0
    if groups_read:
        yield groups_read


@contextmanager
def _open(
    path: Path, as_codes: Sequence[str] = (), metadata: pq.FileMetaData | None = None
) -> Iterator[pq.ParquetFile]:
    """Open a file, or take it from the files that stay open; metadata: its footer. Raises DataUnreadable."""
    with _opening(path):
        refuse_irregular(path)
        file = of_file(path, ("reader", *as_codes), lambda: _reader(path, as_codes, metadata))
    with nullcontext() if is_kept_open() else file:
        yield file


@contextmanager
def _opening(path: Path) -> Iterator[None]:
    """Turn errors while a file is opened into DataUnreadable."""
    try:
        yield
    except FileNotFoundError:
        raise DataUnreadable(f"{path} does not exist. Write it again, or remove it from the job.") from None
    except _READ_ERRORS as error:
        if is_from_store(error):
            raise unavailable(str(path), error) from None
        raise _incomplete(path, error) from None


def _reader(path: Path, as_codes: Sequence[str], metadata: pq.FileMetaData | None) -> pq.ParquetFile:
    if metadata is None and retried(lambda: _footer_bytes(path)) > _LARGE_FOOTER_BYTES:
        return_freed_memory()  # of the footers before this one
    file = retried(lambda: _parquet_file(path, as_codes, metadata))
    str(file.schema_arrow)  # a name that is not UTF-8 is an error only now
    return file


def _footer_bytes(path: Path) -> int:
    """Return the length of the footer. Raises DataUnreadable if it is too large."""
    size = footer_bytes(path)
    if size > _MOST_FOOTER_BYTES:
        raise DataUnreadable(
            f"{printable(path)} has a footer that does not fit into memory: expected at most "
            f"{_MOST_FOOTER_BYTES >> 20} MB, got {size >> 20} MB. Write the file with larger row groups."
        )
    return size


def _parquet_file(path: Path, as_codes: Sequence[str], metadata: pq.FileMetaData | None) -> pq.ParquetFile:
    in_store = isinstance(path, StorePath)
    return pq.ParquetFile(
        path.open_arrow() if isinstance(path, StorePath) else path,
        metadata=metadata,
        read_dictionary=as_codes,
        pre_buffer=in_store,  # the chunks of all columns in a few large requests
        buffer_size=0 if in_store else _BUFFER,
        page_checksum_verification=True,
    )


def _incomplete(path: Path, error: Exception) -> DataUnreadable:
    """Return the error for a file that cannot be opened, with the remedy that fits."""
    name = printable(path)
    if isinstance(error, PermissionError) or is_encrypted(error):
        return DataUnreadable(f"{name} cannot be read: {describe_read_error(error)}")
    if isinstance(error, UnicodeEncodeError):
        return DataUnreadable(f"{name} has a name that is not UTF-8. Rename the file.")
    if isinstance(error, OSError) and error.errno in (errno.ELOOP, errno.EIO, errno.EMFILE, errno.ENAMETOOLONG):
        return DataUnreadable(f"{name} cannot be opened: {os.strerror(error.errno)}. Check the file system.")
    return DataUnreadable(f"{name} is not a complete Parquet file: {describe_read_error(error)}")


def _place(metadata: pq.FileMetaData, done: int, rows: int) -> str:
    """Name the row groups that hold the `rows` rows after the first `done`."""
    ends = list(accumulate(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)))
    first = sum(end <= done for end in ends)
    last = max(first, sum(end < done + rows for end in ends))
    last = min(last, metadata.num_row_groups - 1)
    return f"row group {first}" if first >= last else f"row groups {first} to {last}"


def _open_bytes(path: Path, groups: Sequence[RowGroup], footer: int) -> int:
    """Estimate the memory of a file while it is read, from its row groups and the length of its footer."""
    largest = max(groups, key=lambda group: group.rows, default=None)
    chunks = () if largest is None else largest.chunks
    ordinary = sum(min(2 * max(0, chunk.stored - _HEADERS), _OPEN_BYTES) for chunk in chunks)
    try:
        large = large_open_bytes(path, () if largest is None else (largest,))
    except OSError as error:
        raise _incomplete(path, error) from None
    return _FOOTER_FACTOR * footer + ordinary + large


def _nested_bytes(chunk: Chunk) -> int:
    """Return the bytes of the values of a list; encodings can store equal values in almost nothing."""
    return chunk.values * chunk.width if chunk.is_nested and chunk.width is not None else 0


def _type_bytes(kind: pa.DataType) -> int:
    try:
        return -(-int(kind.bit_width) // 8)
    except ValueError:  # no fixed width
        return _VARIABLE_BYTES
