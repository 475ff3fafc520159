"""Ends of the command line that are not its own: signals and errors of the disk."""

import errno
import os
import signal


class Interrupted(BaseException):
    """SIGINT or SIGTERM; not a KeyboardInterrupt, whose notes typer would lose."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(f"signal {number}")


def raise_on_signals() -> None:
    """Raise Interrupted in the main thread at SIGINT and SIGTERM."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)


def _interrupt(number: int, frame: object) -> None:
    raise Interrupted(number)


_REMEDIES = {
    errno.ENOSPC: "Free space and run the command again.",
    errno.EDQUOT: "Free space and run the command again.",
    errno.EROFS: "Name a folder that can be written.",
    errno.EACCES: "Grant the permission, or name another folder.",
    errno.EPERM: "Grant the permission, or name another folder.",
    errno.EIO: "Check the disk, and run the command again.",
}


def describe_os_error(error: OSError) -> str:
    """Return what failed, where, what to do, and what was done.

    >>> describe_os_error(OSError(28, "No space left on device", "out/scores"))
    'out/scores: No space left on device. Free space and run the command again. Complete outputs are kept.'
    """
    if error.errno is None or error.strerror is None:
        return str(error)
    place = "" if error.filename is None else f"{os.fspath(error.filename)}: "
    remedy = _REMEDIES.get(error.errno, "Check the path.")
    notes = getattr(error, "__notes__", ["Complete outputs are kept."])
    return " ".join([f"{place}{error.strerror}. {remedy}", *notes])
