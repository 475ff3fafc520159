"""Advisory file locks, which the kernel releases when their holder dies."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from aepipe.errors import Busy
from aepipe.storage.atomic_files import make_folder
from aepipe.storage.leases import lease, lease_holder
from aepipe.stores import StorePath

_POLL_S = 0.02


@contextmanager
def lock(path: Path, *, wait_s: float = 0.0, check: Callable[[], None] = lambda: None) -> Iterator[Callable[[], None]]:
    """Hold a lock on `path` while the block runs, against other processes and other threads of this one.

    Yields a function that raises Busy if the lock was lost, which can happen to the lease of an object store only.

    Args:
        path: the file of the lock.
        wait_s: seconds to wait.
        check: called while waiting; may raise to stop.

    Raises:
        Busy: the lock is not free after `wait_s`; names the holder's process id.
    """
    if isinstance(path, StorePath):
        with lease(path, wait_s=wait_s, check=check) as held:
            yield held.confirm
        return
    # the file stays: deleting it would let two processes lock two files of one name
    make_folder(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _acquire(path, descriptor, wait_s, check)
        _write_holder(descriptor, str(os.getpid()))
        try:
            yield _keep
        finally:
            _write_holder(descriptor, "")
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # closing is not enough where a forked child has the file too
    finally:
        os.close(descriptor)


def _keep() -> None:
    """Do nothing: the kernel keeps a lock until its holder dies."""


def holder(path: Path) -> int | None:
    """Return the id of the running process that holds a lock; None if none does. Takes no lock itself.

    The holder of a lease may run on another machine.
    """
    if isinstance(path, StorePath):
        return lease_holder(path)
    try:
        pid = int(path.read_bytes()[:32])
        os.kill(pid, 0)
    except PermissionError:  # a process of another user
        return pid
    except (OSError, ValueError):
        return None
    return pid


def _acquire(path: Path, descriptor: int, wait_s: float, check: Callable[[], None]) -> None:
    deadline = time.monotonic() + wait_s
    while not _try_lock(descriptor):
        left = deadline - time.monotonic()
        if left <= 0:
            pid = os.pread(descriptor, 32, 0).decode()
            holder = f"process {pid}" if pid else "another process"
            raise Busy(f"{path} is still held by {holder} after {wait_s:g} s. Wait for it to end, or stop it.")
        check()
        time.sleep(min(_POLL_S, left))


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write_holder(descriptor: int, holder: str) -> None:
    with suppress(OSError):  # it only informs others: a full disk must not stop a run that writes nothing
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, holder.encode(), 0)
