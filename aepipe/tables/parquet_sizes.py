"""Sizes in the footer and page headers of a Parquet file, read without Arrow.

Arrow ends the process when it reads the metadata of a column chunk in some damaged footers; this reader raises an
error. It understands the Thrift compact protocol as far as Parquet uses it.
"""

import struct
from collections.abc import Iterator
from os import SEEK_END
from pathlib import Path
from typing import BinaryIO, NamedTuple

DICTIONARY_PAGE = 2
LEVELS_PAGE = 3
"""Kinds of pages: a dictionary, and values after levels that are not compressed."""

_MAGIC = b"PAR1"
_TAIL = 8
_MOST_CHUNKS = 50_000
"""Column chunks that are read, 2 seconds; a file with more has small ones."""
_PAGE_HEADERS = (512, 64 << 10, 16 << 20)
"""Bytes that are read for a page header, first few, then more if it is longer; the last is Arrow's limit."""
_BYTE_ARRAY = 6
_FORMATS = {1: "<i", 2: "<q", 4: "<f", 5: "<d"}
_WIDTHS = {0: 1, 1: 4, 2: 8, 3: 12, 4: 4, 5: 8}
_DICTIONARIES = frozenset({2, 8})
_STOP, _TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(13)
_DEEPEST = 32


class Chunk(NamedTuple):
    """Column chunk, as the footer describes it."""

    column: str
    """Name of the column in the schema of the table."""
    is_nested: bool
    width: int | None
    """Bytes of a value; None for text and bytes."""
    has_dictionary: bool
    values: int
    stored: int
    """Bytes of all pages before compression."""
    first_page: int
    """Position of the first page in the file."""
    compressed: int
    """Bytes of all pages in the file."""
    path: str
    """Path in the schema of the file: the column's name, or `address.city` for a field of a struct."""
    nulls: int | None
    """Number of nulls; None if the file does not state it."""
    range: tuple[float, float] | None
    """Least and greatest value of a number, in physical units; None if the file does not state them."""
    codec: int
    """Compression, as Parquet numbers it."""


class Page(NamedTuple):
    """Page of a column chunk, as its header describes it."""

    kind: int
    """0: values, 1: an index, 2: a dictionary, 3: values after levels that are not compressed."""
    at: int
    """Position of the bytes after the header."""
    stored: int
    """Bytes before compression."""
    compressed: int
    """Bytes in the file."""
    values: int
    encoding: int
    levels: int
    """Bytes of the repetition levels; 0 if the header does not state them."""
    has_checksum: bool


class RowGroup(NamedTuple):
    """Row group, as the footer describes it."""

    rows: int
    chunks: tuple[Chunk, ...]


def footer_bytes(path: Path) -> int:
    """Return the length of the footer; 0 if the file has none. Raises OSError."""
    with path.open("rb") as file:
        size = file.seek(0, SEEK_END)
        file.seek(max(0, size - _TAIL))
        tail = file.read(_TAIL)
    length = int.from_bytes(tail[:4], "little")
    return length if tail[4:] == _MAGIC and length + _TAIL <= size else 0


def read_row_groups(path: Path, *, most_chunks: int | None = _MOST_CHUNKS) -> Iterator[RowGroup]:
    """Yield the row groups of a file, the first ones if they have more column chunks than `most_chunks`; None: all.

    Raises:
        OSError: the file cannot be read.
        ValueError: the footer is damaged.
    """
    with path.open("rb") as file:
        size = file.seek(0, SEEK_END)
        file.seek(max(0, size - _TAIL))
        tail = file.read(_TAIL)
        length = int.from_bytes(tail[:4], "little")
        if tail[4:] != _MAGIC or length + _TAIL > size:
            raise ValueError("the footer is not complete")
        file.seek(size - _TAIL - length)
        footer = file.read(length)
    try:
        yield from _read_groups(_Compact(footer), most_chunks)
    except (IndexError, UnicodeDecodeError) as error:
        raise ValueError("the footer is damaged") from error


def read_pages(file: BinaryIO, chunk: Chunk) -> Iterator[Page]:
    """Yield the pages of a chunk; stop at a damaged header, which Arrow reports when it reads the chunk."""
    at, end = chunk.first_page, chunk.first_page + chunk.compressed
    while at < end:
        page = _read_page(file, at, end)
        if page is None or page.compressed < 0:
            return
        yield page
        at = page.at + page.compressed


def _read_page(file: BinaryIO, at: int, end: int) -> Page | None:
    for most in _PAGE_HEADERS:
        file.seek(at)
        reader = _Compact(file.read(min(most, end - at)))
        numbers: dict[int, int] = {}
        inner: dict[int, int] = {}
        try:
            for field, kind in reader.fields():
                if kind == _I32:
                    numbers[field] = reader.integer()
                elif kind == _STRUCT and field in (5, 7, 8):
                    inner = _read_numbers(reader)
                else:
                    reader.skip(kind)
        except ValueError:
            if at + most >= end:
                return None
            continue
        except IndexError:
            continue
        is_v2 = numbers.get(1) == LEVELS_PAGE
        return Page(
            kind=numbers.get(1, 0),
            at=at + reader.at,
            stored=numbers.get(2, 0),
            compressed=numbers.get(3, 0),
            values=inner.get(1, 0),
            encoding=inner.get(4 if is_v2 else 2, 0),
            levels=inner.get(6, 0) if is_v2 else 0,
            has_checksum=4 in numbers,
        )
    return None


def _read_numbers(reader: "_Compact") -> dict[int, int]:
    """Return the integers and booleans of a structure, by field."""
    found = {}
    for field, kind in reader.fields():
        if kind == _I32:
            found[field] = reader.integer()
        elif kind in (_TRUE, _FALSE):
            found[field] = int(kind == _TRUE)
        else:
            reader.skip(kind)
    return found


def _read_groups(reader: "_Compact", most_chunks: int | None) -> Iterator[RowGroup]:
    """Yield the row groups of a FileMetaData structure."""
    chunks = 0
    for field, kind in reader.fields():
        if field != 4 or kind != _LIST:
            reader.skip(kind)
            continue
        for _ in range(reader.list_length()):
            group = _read_group(reader)
            yield group
            chunks += len(group.chunks)
            if most_chunks is not None and chunks > most_chunks:
                return


def _read_group(reader: "_Compact") -> RowGroup:
    rows, chunks = 0, []
    for field, kind in reader.fields():
        if field == 1 and kind == _LIST:
            chunks = [chunk for _ in range(reader.list_length()) for chunk in _read_chunk(reader)]
        elif field == 3:
            rows = reader.integer()
        else:
            reader.skip(kind)
    return RowGroup(rows, tuple(chunks))


def _read_chunk(reader: "_Compact") -> Iterator[Chunk]:
    """Yield the chunk of a ColumnChunk structure; nothing if its metadata are encrypted."""
    for field, kind in reader.fields():
        if field == 3 and kind == _STRUCT:
            yield _read_metadata(reader)
        else:
            reader.skip(kind)


def _read_metadata(reader: "_Compact") -> Chunk:
    """Return the chunk of a ColumnMetaData structure."""
    numbers = dict.fromkeys((1, 4, 5, 6, 7, 9, 11), 0)
    encodings: list[int] = []
    path: list[bytes] = []
    nulls: int | None = None
    low = high = b""
    for field, kind in reader.fields():
        if field in numbers and kind in (_I32, _I64):
            numbers[field] = reader.integer()
        elif field == 2 and kind == _LIST:
            encodings = [reader.integer() for _ in range(reader.list_length())]
        elif field == 3 and kind == _LIST:
            path = [reader.binary() for _ in range(reader.list_length())]
        elif field == 12 and kind == _STRUCT:
            nulls, low, high = _read_statistics(reader)
        else:
            reader.skip(kind)
    return Chunk(
        column=path[0].decode() if path else "",
        is_nested=len(path) > 1,
        width=_WIDTHS.get(numbers[1]),
        has_dictionary=not _DICTIONARIES.isdisjoint(encodings),
        values=max(0, numbers[5]),
        stored=max(0, numbers[6]),
        first_page=max(0, numbers[11] or numbers[9]),
        compressed=max(0, numbers[7]),
        path=b".".join(path).decode(),
        nulls=nulls,
        range=_range(low, high, _FORMATS.get(numbers[1])),
        codec=numbers[4],
    )


def _read_statistics(reader: "_Compact") -> tuple[int | None, bytes, bytes]:
    """Return the number of nulls, and the bytes of the least and the greatest value, of a Statistics structure."""
    nulls: int | None = None
    values = {5: b"", 6: b""}
    for field, kind in reader.fields():
        if field == 3 and kind == _I64:
            nulls = reader.integer()
        elif field in values and kind == _BINARY:
            values[field] = reader.binary()
        else:
            reader.skip(kind)
    return nulls, values[6], values[5]


def _range(low: bytes, high: bytes, form: str | None) -> tuple[float, float] | None:
    if form is None or not len(low) == len(high) == struct.calcsize(form):
        return None
    return float(struct.unpack(form, low)[0]), float(struct.unpack(form, high)[0])


class _Compact:
    """Cursor over a structure in the Thrift compact protocol. Raises ValueError or IndexError if it is damaged."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def fields(self) -> Iterator[tuple[int, int]]:
        """Yield id and type of each field; the caller reads or skips its value."""
        field = 0
        while (head := self._byte()) != _STOP:
            delta = head >> 4
            field = field + delta if delta else self.integer()
            yield field, head & 15

    def integer(self) -> int:
        """Read an integer of any width."""
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def list_length(self) -> int:
        """Read the head of a list and return its length."""
        return self._list_head()[0]

    def binary(self) -> bytes:
        """Read bytes or text."""
        length = self._varint()
        self._advance(length)
        return self._data[self.at - length : self.at]

    def skip(self, kind: int, depth: int = 0) -> None:
        """Skip the value of a field."""
        if depth > _DEEPEST:
            raise ValueError("structures are nested too deeply")
        if kind in (_I16, _I32, _I64):
            self._varint()
        elif kind == _BINARY:
            self._advance(self._varint())
        elif kind == _BYTE:
            self._advance(1)
        elif kind == _DOUBLE:
            self._advance(8)
        elif kind == _STRUCT:
            for _, inner in self.fields():
                self.skip(inner, depth + 1)
        elif kind in (_LIST, _SET):
            length, inner = self._list_head()
            for _ in range(length):
                self._skip_element(inner, depth)
        elif kind == _MAP:
            length = self._varint()
            kinds = self._byte() if length else 0
            for _ in range(length):
                self._skip_element(kinds >> 4, depth)
                self._skip_element(kinds & 15, depth)
        elif kind not in (_TRUE, _FALSE):
            raise ValueError(f"type {kind} is unknown")

    def _skip_element(self, kind: int, depth: int) -> None:
        # inside a list a boolean is a byte; in a field its value is the type
        self.skip(_BYTE if kind in (_TRUE, _FALSE) else kind, depth + 1)

    def _list_head(self) -> tuple[int, int]:
        head = self._byte()
        length = head >> 4
        length = self._varint() if length == 15 else length
        if length > len(self._data) - self.at:
            raise ValueError("a list is longer than the footer")
        return length, head & 15

    def _byte(self) -> int:
        value = self._data[self.at]
        self.at += 1
        return value

    def _varint(self) -> int:
        value = self._byte()
        if value < 128:
            return value
        value, shift = value & 127, 7
        while shift < 70:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
        raise ValueError("an integer is too long")

    def _advance(self, count: int) -> None:
        if count > len(self._data) - self.at:
            raise ValueError("a value is longer than the footer")
        self.at += count
