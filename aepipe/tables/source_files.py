"""Paths of source files that may be anything: folders without rights, devices, names that are not UTF-8."""

import os
import stat
from pathlib import Path

from aepipe.errors import DataUnreadable


def refuse_irregular(path: Path) -> None:
    """Refuse what only looks like a file, such as a FIFO, which would block the reader.

    Raises:
        DataUnreadable: with what the path is.
        FileNotFoundError: there is nothing.
    """
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode) and not os.access(path, os.R_OK | os.X_OK):
        raise DataUnreadable(f"{printable(path)} cannot be listed: permission denied. Grant read permission.")
    if stat.S_ISDIR(mode):
        raise DataUnreadable(f"{printable(path)} is a folder or a link to one: expected a Parquet file. Remove it.")
    if not stat.S_ISREG(mode):
        raise DataUnreadable(f"{printable(path)} is not a regular file: expected Parquet. Remove it.")


def printable(path: Path | str) -> str:
    r"""Return a path as text that can be printed and stored; bytes that are not UTF-8 are escaped.

    >>> printable(Path("dt=\udcff"))
    'dt=\\xff'
    """
    return os.fsencode(path).decode("utf-8", "backslashreplace")
