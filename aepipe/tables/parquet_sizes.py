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
_MOST_FIELDS = 32
"""Fields with a greater id are read and forgotten; Parquet's structures have fewer."""


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
        yield from _read_groups(footer, most_chunks)
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
        try:
            head, length = _read_struct(file.read(min(most, end - at)), 0)
        except ValueError:
            if at + most >= end:
                return None
            continue
        except IndexError:
            continue
        kind = _int(head.get(1))
        inner = next((value for field in (5, 7, 8) if isinstance(value := head.get(field), dict)), {})
        is_v2 = kind == LEVELS_PAGE
        return Page(
            kind=kind,
            at=at + length,
            stored=_int(head.get(2)),
            compressed=_int(head.get(3)),
            values=_int(inner.get(1)),
            encoding=_int(inner.get(4 if is_v2 else 2)),
            levels=_int(inner.get(6)) if is_v2 else 0,
            has_checksum=4 in head,
        )
    return None


def _read_groups(footer: bytes, most_chunks: int | None) -> Iterator[RowGroup]:
    """Yield the row groups of a FileMetaData structure."""
    chunks = field = at = 0
    while footer[at] != _STOP:
        field, kind, at = _read_field(footer, at, field)
        if field != 4 or kind != _LIST:
            at = _skip(footer, at, kind)
            continue
        length, _, at = _read_list_head(footer, at)
        for _ in range(length):
            group, at = _read_group(footer, at)
            yield group
            chunks += len(group.chunks)
            if most_chunks is not None and chunks > most_chunks:
                return


def _read_group(footer: bytes, at: int) -> tuple[RowGroup, int]:
    """Return the row group of a RowGroup structure, and the position after it."""
    rows, chunks, field = 0, list[Chunk](), 0
    while footer[at] != _STOP:
        field, kind, at = _read_field(footer, at, field)
        if field == 1 and kind == _LIST:
            length, _, at = _read_list_head(footer, at)
            for _ in range(length):
                found, at = _read_struct(footer, at)
                metadata = found.get(3)
                if isinstance(metadata, dict):  # else they are encrypted
                    chunks.append(_chunk_of(metadata))
        elif field == 3:
            rows, at = _read_integer(footer, at)
        else:
            at = _skip(footer, at, kind)
    return RowGroup(rows, tuple(chunks)), at + 1


def _chunk_of(metadata: dict[int, object]) -> Chunk:
    """Return the chunk of a ColumnMetaData structure."""
    encodings, path = metadata.get(2), metadata.get(3)
    names = [name for name in path if isinstance(name, bytes)] if isinstance(path, list) else []
    found = metadata.get(12)
    statistics = found if isinstance(found, dict) else {}
    kind, nulls = _int(metadata.get(1)), statistics.get(3)
    return Chunk(
        column=names[0].decode() if names else "",
        is_nested=len(names) > 1,
        width=_WIDTHS.get(kind),
        has_dictionary=isinstance(encodings, list) and not _DICTIONARIES.isdisjoint(encodings),
        values=max(0, _int(metadata.get(5))),
        stored=max(0, _int(metadata.get(6))),
        first_page=max(0, _int(metadata.get(11)) or _int(metadata.get(9))),
        compressed=max(0, _int(metadata.get(7))),
        path=b".".join(names).decode(),
        nulls=nulls if isinstance(nulls, int) else None,
        range=_range(statistics.get(6), statistics.get(5), _FORMATS.get(kind)),
        codec=_int(metadata.get(4)),
    )


def _range(low: object, high: object, form: str | None) -> tuple[float, float] | None:
    if form is None or not isinstance(low, bytes) or not isinstance(high, bytes):
        return None
    if not len(low) == len(high) == struct.calcsize(form):
        return None
    return float(struct.unpack(form, low)[0]), float(struct.unpack(form, high)[0])


def _int(value: object) -> int:
    return value if isinstance(value, int) else 0


# The Thrift compact protocol. The functions take a position and return the one after what they read; they raise
# ValueError or IndexError if the bytes are damaged. Calls cost more than what they do: `_read_struct` does most itself.

_Struct = dict[int, object]


def _read_struct(data: bytes, at: int, depth: int = 0) -> tuple[_Struct, int]:
    """Return the integers, booleans, bytes, lists of those, and structures of a structure, by field."""
    if depth > _DEEPEST:
        raise ValueError("structures are nested too deeply")
    found: _Struct = {}
    field, size = 0, len(data)
    while (head := data[at]) != _STOP:
        at += 1
        kind = head & 15
        if head < 16:
            field, at = _read_integer(data, at)
        else:
            field += head >> 4
        value: object
        if _I16 <= kind <= _I64:
            number = data[at]
            at += 1
            if number > 127:
                number, at = _read_varint(data, at - 1)
            value = (number >> 1) ^ -(number & 1)
        elif kind == _BINARY:
            length = data[at]
            at += 1
            if length > 127:
                length, at = _read_varint(data, at - 1)
            if length > size - at:
                raise ValueError("a value is longer than the footer")
            value = data[at : at + length]
            at += length
        elif kind == _STRUCT:
            value, at = _read_struct(data, at, depth + 1)
        elif kind in (_TRUE, _FALSE):
            value = int(kind == _TRUE)
        elif kind == _LIST:
            value, at = _read_list(data, at, depth)
        else:
            at = _skip(data, at, kind, depth)
            continue
        if 0 < field < _MOST_FIELDS:
            found[field] = value
    return found, at + 1


def _read_list(data: bytes, at: int, depth: int) -> tuple[list[object], int]:
    """Return the integers or bytes of a list; of another list, nothing."""
    start = at
    length, kind, at = _read_list_head(data, at)
    if kind != _BINARY and not _I16 <= kind <= _I64:
        return [], _skip(data, start, _LIST, depth)
    values: list[object] = []
    for _ in range(length):
        if kind == _BINARY:
            size, at = _read_varint(data, at)
            if size > len(data) - at:
                raise ValueError("a value is longer than the footer")
            values.append(data[at : at + size])
            at += size
        else:
            value, at = _read_integer(data, at)
            values.append(value)
    return values, at


def _read_field(data: bytes, at: int, field: int) -> tuple[int, int, int]:
    """Return id and type of the next field, after the field with this id."""
    head = data[at]
    if head < 16:
        field, at = _read_integer(data, at + 1)
        return field, head & 15, at
    return field + (head >> 4), head & 15, at + 1


def _read_integer(data: bytes, at: int) -> tuple[int, int]:
    value, at = _read_varint(data, at)
    return (value >> 1) ^ -(value & 1), at


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise ValueError("an integer is too long")


def _read_list_head(data: bytes, at: int) -> tuple[int, int, int]:
    """Return length and type of a list."""
    head = data[at]
    length, at = head >> 4, at + 1
    if length == 15:
        length, at = _read_varint(data, at)
    if length > len(data) - at:
        raise ValueError("a list is longer than the footer")
    return length, head & 15, at


def _skip(data: bytes, at: int, kind: int, depth: int = 0) -> int:
    """Return the position after the value of a field."""
    if depth > _DEEPEST:
        raise ValueError("structures are nested too deeply")
    if _I16 <= kind <= _I64:
        while data[at] > 127:
            at += 1
        return at + 1
    if kind in (_BINARY, _BYTE, _DOUBLE):
        length, at = _read_varint(data, at) if kind == _BINARY else (1 if kind == _BYTE else 8, at)
        if length > len(data) - at:
            raise ValueError("a value is longer than the footer")
        return at + length
    if kind == _STRUCT:
        field = 0
        while data[at] != _STOP:
            field, inner, at = _read_field(data, at, field)
            at = _skip(data, at, inner, depth + 1)
        return at + 1
    if kind in (_LIST, _SET):
        length, inner, at = _read_list_head(data, at)
        for _ in range(length):
            at = _skip_element(data, at, inner, depth)
        return at
    if kind == _MAP:
        length, at = _read_varint(data, at)
        kinds = data[at] if length else 0
        at += 1 if length else 0
        for _ in range(length):
            at = _skip_element(data, at, kinds >> 4, depth)
            at = _skip_element(data, at, kinds & 15, depth)
        return at
    if kind in (_TRUE, _FALSE):
        return at
    raise ValueError(f"type {kind} is unknown")


def _skip_element(data: bytes, at: int, kind: int, depth: int) -> int:
    # inside a list a boolean is a byte; in a field its value is the type
    return _skip(data, at, _BYTE if kind in (_TRUE, _FALSE) else kind, depth + 1)
