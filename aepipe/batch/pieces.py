"""Pieces of a large partition: ranges of row groups that several workers score and one worker joins into one commit."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from aepipe.errors import DataUnreadable
from aepipe.storage import digest_of, source_digest
from aepipe.stores import StorePath
from aepipe.tables.parquet_reader import GroupRange, group_ranges

PIECE_ROWS = 1 << 20
"""Least number of rows of a piece; a partition is split if it has at least twice as many."""
PIECE_BYTES = 4 << 20
"""Least number of bytes per piece in the source files: the footers of smaller partitions are not read."""
_BLOCK_ROWS = 32_768
"""Rows of the largest blocks, whose borders pieces keep: blocks become row groups of the outputs."""


class FileRange(NamedTuple):
    """Row groups of one file of a partition."""

    file: int
    """Index of the file in the partition."""
    groups: GroupRange


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive row groups of a partition."""

    index: int
    ranges: tuple[FileRange, ...]
    source: str
    """Identity of the source files, the model and the settings; pieces with another one are not joined."""

    @property
    def rows(self) -> int:
        """Number of rows."""
        return sum(part.groups.rows for part in self.ranges)


class PiecesMissing(Exception):
    """Pieces to join are not there: `missing` holds their indices."""

    def __init__(self, missing: tuple[int, ...]) -> None:
        super().__init__(missing)
        self.missing = missing


def split(files: Sequence[Path], source: str) -> tuple[Piece, ...]:
    """Return the pieces of a partition with these files; none if it is scored whole, or if a file cannot be read.

    Pieces end where `slices` ends its reads, so that the blocks, and with them the bytes of the outputs, are the
    same as if one worker scored the partition.
    """
    try:
        if sum(file.stat().st_size for file in files) < 2 * PIECE_BYTES:
            return ()
        ranges = [FileRange(at, groups) for at, file in enumerate(files) for groups in group_ranges(file, _BLOCK_ROWS)]
    except (DataUnreadable, OSError):  # reported when the partition is scored
        return ()
    rows = sum(part.groups.rows for part in ranges)
    count = min(rows // PIECE_ROWS, len(ranges))
    if count < 2:
        return ()
    pieces: list[list[FileRange]] = [[] for _ in range(count)]
    done = 0
    for part in ranges:
        pieces[min(count - 1, done * count // rows)].append(part)
        done += part.groups.rows
    filled = [tuple(piece) for piece in pieces if piece]
    return tuple(Piece(index, piece, source) for index, piece in enumerate(filled)) if len(filled) > 1 else ()


def state_of(file: Path) -> str:
    """Return what changes when a file is written again, without reading it. Raises DataUnreadable."""
    if isinstance(file, StorePath):
        return source_digest(file)
    try:
        found = file.stat()
    except OSError as error:
        raise DataUnreadable(f"{file} cannot be read: {error.strerror}. Write it again.") from None
    return digest_of(str(found.st_size), str(found.st_mtime_ns))
