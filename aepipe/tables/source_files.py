"""Paths of source files that may be anything: folders without rights, devices, names that are not UTF-8."""

import os
import stat
from pathlib import Path

from aepipe.errors import DataUnreadable
from aepipe.stores import StorePath


def refuse_irregular(path: Path) -> None:
    """Refuse what only looks like a file, such as a FIFO, which would block the reader.

    Raises:
        DataUnreadable: with what the path is.
        FileNotFoundError: there is nothing.
    """
    if isinstance(path, StorePath):
        return  # an object is a regular file; opening it tells whether there is one
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode) and not os.access(path, os.R_OK | os.X_OK):
        raise DataUnreadable(f"{printable(path)} cannot be listed: permission denied. Grant read permission.")
    if stat.S_ISDIR(mode):
        raise DataUnreadable(f"{printable(path)} is a folder or a link to one: expected a Parquet file. Remove it.")
    if not stat.S_ISREG(mode):
        raise DataUnreadable(f"{printable(path)} is not a regular file: expected Parquet. Remove it.")


def describe_read_error(error: Exception, *, remedy: str = "Write the file again.") -> str:
    r"""Return what a reader said and what to do about it; for errors of the system, without Arrow's words around them.

    >>> describe_read_error(OSError(5, "Error reading bytes from file. Detail: [errno 5] Input/output error"))
    'Input/output error. Check the disk.'
    >>> describe_read_error(ValueError("don't know what type: \x0f"))
    "don't know what type: \\x0f. Write the file again."

    Args:
        error: what the reader raised.
        remedy: what to do if the content is at fault.
    """
    if isinstance(error, PermissionError):
        return "permission denied. Grant read permission."
    if isinstance(error, OSError) and error.errno is not None:
        return f"{os.strerror(error.errno)}. Check the disk."
    if is_encrypted(error):
        return "it is encrypted. Write it without encryption."
    said = " ".join(str(error).split()).rstrip(".")
    shown = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in said)  # a byte of the file
    return f"{shown}. {remedy}"


def is_encrypted(error: Exception) -> bool:
    """Return True for the error of a reader that has no key of an encrypted file or column."""
    return "crypt" in str(error)  # "encrypted metadata", "cannot decrypt": Arrow has no class of its own


def printable(path: Path | str) -> str:
    r"""Return a path as text that can be printed and stored; bytes that are not UTF-8 are escaped.

    >>> printable(Path("dt=\udcff"))
    'dt=\\xff'
    """
    return os.fsencode(str(path)).decode("utf-8", "backslashreplace")
