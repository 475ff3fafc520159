"""Parquet files that stay open while a command runs, so that their footers are read once."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pyarrow.parquet as pq

from aepipe.stores import StorePath
from aepipe.tables.parquet_sizes import RowGroup

T = TypeVar("T")

_MOST = 64
"""Objects that are kept; the one that was used the longest time ago goes first."""

Stamp = tuple[int, int, int] | None
_kept: ContextVar[OrderedDict[Hashable, tuple[Stamp, Any]] | None] = ContextVar("kept", default=None)
# A thread that a command starts has a context of its own and shares nothing: readers of Arrow are not thread-safe.


@contextmanager
def files_opened_once() -> Iterator[None]:
    """Keep what `of_file` makes until the end of the block, which may be a decorated function; blocks may be nested."""
    if _kept.get() is not None:
        yield
        return
    token = _kept.set(OrderedDict())
    try:
        yield
    finally:
        _kept.reset(token)


def is_kept_open() -> bool:
    """Return whether files stay open at present."""
    return _kept.get() is not None


def of_file(path: Path, what: Hashable, make: Callable[[], T]) -> T:
    """Return what was made of a file before, unless the file was replaced since; otherwise make it.

    Args:
        path: the file; objects in a store do not change while a command runs.
        what: distinguishes what is made of one file.
        make: makes it, such as a reader.
    """
    kept = _kept.get()
    if kept is None:
        return make()
    key, stamp = (path, what), stamp_of(path)
    found = kept.get(key)
    if found is None or found[0] != stamp:
        found = kept[key] = (stamp, make())
    kept.move_to_end(key)
    if len(kept) > _MOST:
        kept.popitem(last=False)
    made: T = found[1]
    return made


def stamp_of(path: Path) -> Stamp:
    """Return what changes when a file is replaced or written again; None for an object in a store. Raises OSError."""
    if isinstance(path, StorePath):
        return None
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


class FooterContent(NamedTuple):
    """Footer of a file as Arrow and `parquet_sizes` read it; None where it is not known."""

    metadata: pq.FileMetaData | None = None
    groups: tuple[RowGroup, ...] | None = None


class ParsedFooter:
    """Footer of a file for the next reader of it, which takes it: 100,000 row groups are 360 MB in Arrow.

    Args:
        path: the file.
        stamp: `stamp_of` the file before it was opened.
        content: what was read.
    """

    def __init__(self, path: Path, stamp: Stamp, content: FooterContent) -> None:
        self._path = path
        self._stamp = stamp
        self._content = content

    def take(self) -> FooterContent:
        """Return the footer once; nothing if it was taken before or the file was replaced since. Raises OSError."""
        content, self._content = self._content, FooterContent()
        return content if stamp_of(self._path) == self._stamp else FooterContent()
