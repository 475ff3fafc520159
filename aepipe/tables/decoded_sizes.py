"""Bounds on the memory that rows of a Parquet file take when they are decoded, from its page headers.

Compression and encodings store equal values in almost nothing: 16 kB can hold a key of 500 MB, a dictionary with one
long text many rows of it, and a run of one level a list of any length. Nothing large is decoded to find out.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aepipe.errors import DataUnreadable
from aepipe.stores import StorePath
from aepipe.tables.page_content import longest_in_dictionary, row_lengths
from aepipe.tables.parquet_sizes import DICTIONARY_PAGE, Chunk, Page, RowGroup, read_pages, read_row_groups
from aepipe.tables.source_files import printable


class ReadLimits(NamedTuple):
    """Most bytes in memory while a file is read."""

    batch: int = 256 << 20
    """Rows of a batch."""
    open: int = 512 << 20
    """Dictionaries and pages, where they are larger than writers make them by default."""


_ORDINARY_BYTES = 4 << 20
"""Bytes of a dictionary and a page that any writer may use; pages count as large above."""
_SMALL_BYTES = 16 << 10
"""Bytes of a chunk or row group that is not looked at; parsing the footers of 100,000 row groups takes 20 seconds."""
_UNREAD_SHARE = 8
"""Part of a batch, as a divisor, that may hold columns whose page headers are not read."""
_CODES = frozenset({2, 8})
_DELTA_TEXTS = 7
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 8, "FLOAT": 4, "DOUBLE": 8}
_OFFSET = 4  # bytes per text and per list in Arrow, for its offset
_RATIOS = {0: 1, 1: 64, 2: 1_040, 5: 256, 7: 256}
"""Most bytes that a compressed byte can hold, by codec; the others have no bound."""


class _Column(NamedTuple):
    """Column of the file, as its schema describes it."""

    path: str
    width: int | None
    """Bytes of a value; None for text and bytes."""
    lists: int
    """Number of lists around a value."""
    is_code: bool
    """Read as codes of a dictionary."""


def large_open_bytes(path: Path, groups: Sequence[RowGroup]) -> int:
    """Return the bytes of dictionaries and pages of a file that are larger than writers make them by default.

    Raises:
        OSError: the file cannot be read.
    """
    large = [RowGroup(rows, tuple(chunk for chunk in chunks if not _opens_little(chunk))) for rows, chunks in groups]
    if not any(group.chunks for group in large):
        return 0
    with path.open("rb") as file:
        return max(_large_bytes(file, group) for group in large)


def _large_bytes(file: BinaryIO, group: RowGroup) -> int:
    pages = (_ChunkPages(0, group.rows, chunk, tuple(read_pages(file, chunk))) for chunk in group.chunks)
    return sum(each.open_bytes for each in pages if each.open_bytes > _ORDINARY_BYTES)


class _ChunkPages(NamedTuple):
    """Chunk of a column with its pages; none if it is small."""

    group: int
    rows: int
    chunk: Chunk
    pages: tuple[Page, ...]

    @property
    def dictionary(self) -> Page | None:
        return next((page for page in self.pages if page.kind == DICTIONARY_PAGE), None)

    @property
    def with_values(self) -> tuple[Page, ...]:
        return tuple(page for page in self.pages if page.kind != DICTIONARY_PAGE)

    @property
    def open_bytes(self) -> int:
        """Bytes of the dictionary, which Arrow holds twice, and of the largest page."""
        dictionary = self.dictionary
        largest = max((page.stored for page in self.with_values), default=0)
        return largest + (0 if dictionary is None else 2 * dictionary.stored)

    def text_bytes(self, *, in_dictionary: int, in_deltas: int) -> int:
        """Return the bytes of a text, averaged over the page where they are most.

        Args:
            in_dictionary: bytes of the longest text of the dictionary.
            in_deltas: bytes of the longest text of pages that store what a text shares with the one before.
        """
        sizes = {_DELTA_TEXTS: in_deltas, **dict.fromkeys(_CODES, in_dictionary)}
        found = (sizes.get(page.encoding, -(-page.stored // max(1, page.values))) for page in self.with_values)
        return max(found, default=-(-self.chunk.stored // max(1, self.chunk.values))) + _OFFSET


@dataclass
class _ColumnPages:
    """Chunks of one column in the row groups that are read together."""

    column: _Column
    chunks: list[_ChunkPages] = field(default_factory=list)

    @property
    def values(self) -> int:
        return sum(found.chunk.values for found in self.chunks)

    @property
    def total_bytes(self) -> int:
        """Upper bound of the bytes of all rows, by the page headers alone."""
        if self.column.width is not None:
            return self.column.width * self.values
        total = 0
        for found in self.chunks:
            dictionary = 0 if self.column.is_code or found.dictionary is None else found.dictionary.stored
            total += found.chunk.values * found.text_bytes(in_dictionary=dictionary, in_deltas=found.open_bytes)
        return total


class DecodedSizes:
    """Sizes of the row groups of one open file, taken in order.

    Args:
        path: the file.
        file: the same file, opened by Arrow.
        columns: columns to read; None: all.
        as_codes: text columns that are read as dictionaries.
        limits: most bytes of a batch and of pages.
        groups: row groups of the file with the chunks of these columns; None: they are read.
    """

    def __init__(
        self,
        path: Path,
        file: pq.ParquetFile,
        columns: Sequence[str] | None,
        *,
        as_codes: Collection[str],
        limits: ReadLimits,
        groups: Sequence[RowGroup] | None = None,
    ) -> None:
        self._path = path
        self._metadata = file.metadata
        self._columns = _columns(file.schema, columns, as_codes)
        self._limits = limits
        self._known = groups
        self._groups = read_row_groups(path, most_chunks=None) if groups is None else iter(groups)
        self._taken = 0
        self._has_lists = any(column.lists for column in self._columns.values())

    def rows_per_batch(self, groups: Sequence[int], rows: int) -> int:
        """Return the rows to read at a time from these row groups.

        Args:
            groups: numbers of row groups, in order over all calls.
            rows: most rows per batch.

        Raises:
            DataUnreadable: a row or the open pages do not fit into memory.
            OSError: the file cannot be read.
            ValueError: the footer is damaged.
        """
        groups = [group for group in groups if not self._is_small(group)]
        if not groups or self._are_bounded(groups, rows):
            return rows
        with self._path.open("rb") as file:
            found = self._find(file, groups)
            self._refuse_large_pages(found, groups)
            share = self._limits.batch // (2 * max(1, len(found)))
            large = [each for each in found if each.total_bytes > share]
            sizes = {each.column.path: self._row_bytes(file, each) for each in large}
        row_bytes = sum(sizes.values())
        most = self._limits.batch - sum(each.total_bytes for each in found if each.column.path not in sizes)
        if row_bytes > most:
            raise self._refusal("one row", most, sizes, groups)
        return rows if row_bytes == 0 else max(1, min(rows, most // row_bytes))

    def _is_small(self, group: int) -> bool:
        """Return whether the rows of a row group are small even if each of them holds its largest value."""
        metadata = self._metadata.row_group(group)
        return not self._has_lists and metadata.total_byte_size * max(1, metadata.num_rows) <= _SMALL_BYTES

    def _are_bounded(self, groups: Sequence[int], rows: int) -> bool:
        """Return whether that many rows fit into a batch even if each of them holds all texts of its row group.

        The pages are not looked at then, and a footer that is not known is not parsed: .3 ms for a small file.
        """
        if self._has_lists:
            return False
        found = [self._metadata.row_group(group) for group in groups]
        largest: int = max(group.total_byte_size for group in found)
        widths = [column.width for column in self._columns.values()]
        row_bytes = sum(_OFFSET if width is None else width for width in widths)
        if self._known is not None:
            row_bytes += max(self._text_bytes(self._known[group]) for group in groups)
        elif None in widths:
            row_bytes += largest
        together: int = min(rows, sum(group.num_rows for group in found))
        # a dictionary is held twice, and a page
        return together * row_bytes <= self._limits.batch and 3 * largest <= self._limits.open

    def _text_bytes(self, group: RowGroup) -> int:
        """Return the bytes of all texts of the columns that are read."""
        found = ((self._columns.get(chunk.path), chunk.stored) for chunk in group.chunks)
        return sum(stored for column, stored in found if column is not None and column.width is None)

    def _find(self, file: BinaryIO, groups: Sequence[int]) -> list[_ColumnPages]:
        """Return the columns that are read, with their pages where those may matter."""
        found: dict[str, _ColumnPages] = {}
        unread, most_unread = 0, self._limits.batch // _UNREAD_SHARE
        for number in groups:
            group = self._take(number)
            if group is None:
                break
            flat = sum(chunk.stored for chunk in group.chunks if self._is_flat(chunk))
            are_small = flat <= self._limits.open // 2
            for chunk in group.chunks:
                column = self._columns.get(chunk.path)
                if column is not None:
                    is_skipped = _is_small(chunk) or (are_small and self._is_flat(chunk))
                    if not is_skipped and column.lists == 0 and _opens_little(chunk):
                        most = _most_bytes(chunk, is_code=column.is_code)
                        is_skipped = most is not None and unread + most <= most_unread
                        unread += most or 0 if is_skipped else 0
                    pages = () if is_skipped else tuple(read_pages(file, chunk))
                    columns = found.setdefault(chunk.path, _ColumnPages(column))
                    columns.chunks.append(_ChunkPages(number, group.rows, chunk, pages))
        return list(found.values())

    def _is_flat(self, chunk: Chunk) -> bool:
        """Return whether a chunk has one value of fixed width per row."""
        column = self._columns.get(chunk.path)
        return column is not None and column.width is not None and column.lists == 0

    def _take(self, number: int) -> RowGroup | None:
        group = None
        while self._taken <= number:
            group = next(self._groups, None)
            self._taken += 1
        return group

    def _refuse_large_pages(self, found: Sequence[_ColumnPages], groups: Sequence[int]) -> None:
        opened = {each.column.path: max(found.open_bytes for found in each.chunks) for each in found}
        large = {path: size for path, size in opened.items() if size > _ORDINARY_BYTES}
        if sum(large.values()) > self._limits.open:
            raise self._refusal("open pages", self._limits.open, large, groups)

    def _row_bytes(self, file: BinaryIO, found: _ColumnPages) -> int:
        """Return the bytes of a column per row: of its longest list, or averaged over the page where they are most."""
        return max(self._bytes_in_chunk(file, found.column, each) for each in found.chunks)

    def _bytes_in_chunk(self, file: BinaryIO, column: _Column, found: _ChunkPages) -> int:
        codec = found.chunk.codec
        value = column.width
        if value is None:
            in_dictionary = in_deltas = 0
            if found.dictionary is not None and not column.is_code:
                longest = longest_in_dictionary(file, found.dictionary, codec=codec)
                in_dictionary = found.dictionary.stored if longest is None else longest
            if any(page.encoding == _DELTA_TEXTS for page in found.with_values):
                in_deltas = self._longest_delta(column, found)
            value = found.text_bytes(in_dictionary=in_dictionary, in_deltas=in_deltas)
        if column.lists == 0:
            return value
        lengths = row_lengths(file, found.with_values, codec=codec, lists=column.lists)
        if lengths is None:
            return value * -(-found.chunk.values // max(1, found.rows))
        largest_page = value * max((page.values for page in found.with_values), default=0)
        # within a small page, short rows make up for long ones
        is_even = largest_page <= self._limits.batch // 4
        return value * (lengths.average if is_even else lengths.longest) + _OFFSET * column.lists

    def _longest_delta(self, column: _Column, found: _ChunkPages) -> int:
        """Return the bytes of the longest text of a chunk, read a few rows at a time."""
        if column.lists:
            return found.open_bytes
        source = self._path.open_arrow() if isinstance(self._path, StorePath) else self._path
        file = pq.ParquetFile(source, metadata=self._metadata, pre_buffer=False)
        rows = max(1, min(1_024, self._limits.batch // max(1, found.open_bytes)))
        batches = file.iter_batches(rows, row_groups=[found.group], columns=[column.path], use_threads=False)
        return max((_longest(batch.column(0)) for batch in batches), default=0)

    def _refusal(self, what: str, most: int, sizes: Mapping[str, int], groups: Sequence[int]) -> DataUnreadable:
        place = f"row group {groups[0]}" if len(groups) == 1 else f"row groups {groups[0]} to {groups[-1]}"
        return DataUnreadable(
            f"{printable(self._path)}, {place}, does not fit into memory: expected at most {most >> 20} MB for {what}, "
            f"got {-(-sum(sizes.values()) >> 20)} MB, most of it in column '{max(sizes, key=sizes.__getitem__)}'. "
            "Write the file with shorter values and smaller pages, or raise [run] memory_mb for scoring."
        )


def _columns(schema: pq.ParquetSchema, columns: Sequence[str] | None, as_codes: Collection[str]) -> dict[str, _Column]:
    """Return the columns of the file that are read, by path."""
    found = {}
    wanted = None if columns is None else set(columns)
    for index in range(len(schema)):
        column = schema.column(index)
        path = column.path
        if (
            wanted is None
            or path in wanted
            or any(name in wanted for name in accumulate(path.split("."), lambda path, part: f"{path}.{part}"))
        ):
            kind = column.physical_type
            width = column.length if kind == "FIXED_LEN_BYTE_ARRAY" else _WIDTHS.get(kind)
            found[path] = _Column(path, width, column.max_repetition_level, path in as_codes)
    return found


def _is_small(chunk: Chunk) -> bool:
    """Return whether a chunk holds little, however well it is compressed and encoded."""
    most = _most_bytes(chunk, is_code=False)
    return most is not None and most <= _SMALL_BYTES


def _most_bytes(chunk: Chunk, *, is_code: bool) -> int | None:
    """Return an upper bound of the bytes of a chunk's values outside lists; None if its compression has none."""
    ratio = _RATIOS.get(chunk.codec)
    if ratio is None:
        return None
    return chunk.compressed * ratio * (chunk.values if chunk.width is None and not is_code else 1)


def _opens_little(chunk: Chunk) -> bool:
    """Return whether the dictionary, which Arrow holds twice, and a page of a chunk are of an ordinary size."""
    ratio = _RATIOS.get(chunk.codec)
    return ratio is not None and 2 * chunk.compressed * ratio <= _ORDINARY_BYTES


def _longest(array: pa.Array) -> int:
    while pa.types.is_struct(array.type):  # around a field
        array = array.field(0)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary
    return int(pc.max(pc.binary_length(array)).as_py() or 0)
