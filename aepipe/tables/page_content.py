"""Lengths of the rows and texts in pages of a Parquet column chunk, read without Arrow and without the values."""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from struct import Struct
from typing import BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa

from aepipe.tables.parquet_sizes import DICTIONARY_PAGE, LEVELS_PAGE, Page

_CODECS = {1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd", 7: "lz4_raw"}
_LENGTH = 4
"""Bytes of a length in a page."""


class RowLengths(NamedTuple):
    """Numbers of values per row of a chunk of lists."""

    average: int
    """Over the page where rows are longest; a row that spans pages counts with all its values."""
    longest: int


def row_lengths(file: BinaryIO, pages: Sequence[Page], *, codec: int, lists: int) -> RowLengths | None:
    """Return the lengths of the rows of a chunk; None if a page cannot be decompressed here.

    Args:
        file: the file.
        pages: pages of the chunk.
        codec: compression, as Parquet numbers it.
        lists: number of lists around a value.
    """
    average = longest = open_row = open_values = 0
    for page in pages:
        if page.kind == DICTIONARY_PAGE:
            continue
        if page.kind == LEVELS_PAGE:
            file.seek(page.at)
            levels = file.read(page.levels)
        else:
            content = _decompressed(file, page, codec)
            if content is None:
                return None
            levels = content[_LENGTH : _LENGTH + int.from_bytes(content[:_LENGTH], "little")]
        starts = 0
        for begun, ended, going_on in _rows(levels, lists.bit_length(), page.values, open_row):
            starts, longest, open_row = starts + begun, max(longest, ended), going_on
        open_values += page.values
        average = max(average, -(-open_values // max(1, starts)))
        open_values = open_row if starts else open_values
    return RowLengths(average, max(longest, open_row))


def longest_in_dictionary(file: BinaryIO, page: Page, *, codec: int) -> int | None:
    """Return the bytes of the longest text in a dictionary; None if the page cannot be decompressed here."""
    content = _decompressed(file, page, codec)
    if content is None:
        return None
    at, longest, last, length_at = 0, 0, len(content) - _LENGTH, Struct("<I").unpack_from
    while at <= last:  # 20 ms for a dictionary of 1 MB
        (length,) = length_at(content, at)
        if length > longest:
            longest = length
        at += _LENGTH + length
    return min(longest, len(content))


def _decompressed(file: BinaryIO, page: Page, codec: int) -> bytes | None:
    file.seek(page.at)
    content = file.read(page.compressed)
    if codec == 0:
        return content
    if codec not in _CODECS:
        return None
    try:
        return bytes(pa.decompress(content, page.stored, codec=_CODECS[codec], asbytes=True))
    except (pa.ArrowException, OSError, ValueError):  # damaged: Arrow reports it when it reads the chunk
        return None


def _rows(levels: bytes, bits: int, count: int, open_row: int) -> Iterator[tuple[int, int, int]]:
    """Yield, per run of repetition levels, the rows that start, the longest that ends, and the length of the open one.

    A run is one level many times, or levels packed `bits` at a time, as Parquet's hybrid encoding stores them. Level 0
    starts a row. Packed runs that follow each other are taken together.
    """
    packed: list[bytes] = []
    at, width = 0, -(-bits // 8)
    while count > 0 and at < len(levels):
        header, at = _varint(levels, at)
        if header & 1:
            size = (header >> 1) * bits
            packed.append(levels[at : at + size])
            at += size
            count -= (header >> 1) * 8
            continue
        if packed:
            begun, ended, open_row = _packed_rows(packed, bits, open_row, 0)
            yield begun, ended, open_row
            packed = []
        run, is_row = min(header >> 1, count), not any(levels[at : at + width])
        at += width
        count -= run
        begun, ended, open_row = (run, open_row, 1) if is_row and run else (0, 0, open_row + run)
        yield begun, ended, open_row
    if packed:
        yield _packed_rows(packed, bits, open_row, -min(0, count))


def _packed_rows(packed: Sequence[bytes], bits: int, open_row: int, padding: int) -> tuple[int, int, int]:
    data = b"".join(packed)
    if len(data) == 1 and bits == 1 and padding == 0:
        begun, first, gap, last = _of_byte(data[0])
        return (begun, max(open_row + first, gap), last) if begun else (0, 0, open_row + 8)
    unpacked = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    levels = unpacked[: len(unpacked) // bits * bits].reshape(-1, bits)
    places = np.flatnonzero(~levels[: len(levels) - padding].any(axis=1))
    if not len(places):
        return 0, 0, open_row + len(levels) - padding
    longest = max(open_row + int(places[0]), int(np.diff(places).max(initial=0)))
    return len(places), longest, len(levels) - padding - int(places[-1])


@cache
def _of_byte(value: int) -> tuple[int, int, int, int]:
    """Read eight levels: rows that start, levels before the first, the longest that ends, and length of the last."""
    places = [bit for bit in range(8) if not value >> bit & 1]
    gaps = [after - before for before, after in pairwise(places)]
    return (len(places), places[0], max(gaps, default=0), 8 - places[-1]) if places else (0, 8, 0, 0)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    if data[at] < 128:
        return data[at], at + 1
    value = shift = 0
    while at < len(data):
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            break
    return value, at
