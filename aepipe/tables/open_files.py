"""Parquet files that stay open while a command runs, so that their footers are read once."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

from aepipe.stores import StorePath

T = TypeVar("T")

_MOST = 64
"""Objects that are kept; the one that was used the longest time ago goes first."""

_Stamp = tuple[int, int, int] | None
_kept: ContextVar[OrderedDict[Hashable, tuple[_Stamp, Any]] | None] = ContextVar("kept", default=None)
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
    key, stamp = (path, what), _stamp(path)
    found = kept.get(key)
    if found is None or found[0] != stamp:
        found = kept[key] = (stamp, make())
    kept.move_to_end(key)
    if len(kept) > _MOST:
        kept.popitem(last=False)
    made: T = found[1]
    return made


def _stamp(path: Path) -> _Stamp:
    if isinstance(path, StorePath):
        return None
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns
