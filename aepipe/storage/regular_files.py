"""Reading of files that others may have replaced by links, devices or pipes, or by files without end."""

import errno
import os
import stat
from pathlib import Path

from aepipe.stores import StorePath


def read_regular(path: Path, *, most: int) -> bytes:
    """Read a whole file; never follow a link, wait for a pipe, or read from a device.

    Args:
        path: the file.
        most: the most bytes to read.

    Raises:
        OSError: the file is absent, unreadable, not a regular file, or larger; `strerror` says which.
    """
    if isinstance(path, StorePath):
        size = path.stat().st_size
        if size > most:
            raise OSError(errno.EFBIG, f"it is too large: expected {most:,} bytes at most, got {size:,}", str(path))
        return path.read_bytes()
    try:
        # without O_NONBLOCK, opening a pipe waits for a writer
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "it is a link: expected a regular file", str(path)) from None
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            kind = _KINDS.get(stat.S_IFMT(status.st_mode), "special file")
            raise OSError(errno.EINVAL, f"it is a {kind}: expected a regular file", str(path))
        if status.st_size > most:
            raise OSError(
                errno.EFBIG, f"it is too large: expected {most:,} bytes at most, got {status.st_size:,}", str(path)
            )
        chunks, left = [], most + 1
        while left and (chunk := os.read(descriptor, min(left, _CHUNK))):
            chunks.append(chunk)
            left -= len(chunk)
        if not left:  # it grew while it was read
            raise OSError(errno.EFBIG, f"it is too large: expected {most:,} bytes at most, got more", str(path))
        return b"".join(chunks)
    finally:
        os.close(descriptor)


_CHUNK = 1 << 24
_KINDS = {
    stat.S_IFDIR: "folder",
    stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}
