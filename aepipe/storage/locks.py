"""One process at a time: advisory locks that the kernel drops when their holder dies."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aepipe.errors import Busy
from aepipe.storage.atomic_files import make_folder

_POLL_S = 0.02


@contextmanager
def lock(path: Path, *, wait_s: float = 0.0) -> Iterator[None]:
    """Holds `path` as long as the block runs, against other processes and other threads of this one.

    Raises Busy, with the holder's process id, if it is not free after `wait_s`. The file stays: deleting a lock file
    would let two processes hold two files of one name.
    """
    make_folder(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _acquire(path, descriptor, wait_s)
        _write_holder(descriptor, str(os.getpid()))
        try:
            yield
        finally:
            _write_holder(descriptor, "")
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # closing is not enough where a forked child has the file too
    finally:
        os.close(descriptor)


def _acquire(path: Path, descriptor: int, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while not _try(descriptor):
        left = deadline - time.monotonic()
        if left <= 0:
            raise Busy(f"{path} is held by {_holder(descriptor)}. Wait for it to end, or stop it; waited {wait_s:g} s.")
        time.sleep(min(_POLL_S, left))


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write_holder(descriptor: int, holder: str) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, holder.encode(), 0)


def _holder(descriptor: int) -> str:
    pid = os.pread(descriptor, 32, 0).decode()
    return f"process {pid}" if pid else "another process"
