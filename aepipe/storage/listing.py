"""Files below a folder; unlike globs of `pathlib`, never an empty list for a folder that cannot be listed."""

import os
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from aepipe.stores import StorePath


def files_below(folder: Path, pattern: str = "*") -> Iterator[Path]:
    """Yield the files below a folder whose names match, in no order; none if there is no folder.

    Links to folders are not followed.

    Raises:
        OSError: a folder cannot be listed, for want of permission or because the disk fails.
    """
    if isinstance(folder, StorePath):
        yield from folder.rglob(pattern)
        return
    for parent, _, names in os.walk(folder, onerror=raise_unless_missing):
        yield from (Path(parent, name) for name in names if fnmatchcase(name, pattern))


def entries(folder: Path) -> list[Path]:
    """Return the sorted entries of a folder; none if there is no folder. Raises OSError like `files_below`."""
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def raise_unless_missing(error: OSError) -> None:
    """Raise an error of `os.walk`, except that of a folder that does not exist or is gone meanwhile."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error
