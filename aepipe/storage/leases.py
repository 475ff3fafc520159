"""Lock of an object store: a lease, an object that names its owner and when it ends.

A store has no lock that ends with its holder. The owner renews its lease while it works; a lease that was not renewed
is free. Of two writers that take a free lease at the same moment, one succeeds where the store has conditional writes.
Elsewhere both write the object, and the later write is the lease. Each writer asks again before it publishes
(`Lease.confirm`), so that one that has lost its lease stops. The clocks of the machines must agree within half a
minute.
"""

import json
import logging
import math
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from aepipe.errors import AepipeError, Busy
from aepipe.storage.object_writes import Version, delete_object, put_if_unchanged, read_versioned
from aepipe.stores import StorePath

_log = logging.getLogger(__name__)

LEASE_S = 120.0
_RENEW_S = LEASE_S / 4
_POLL_S = 0.5


class Lease:
    """A lease that this process holds, renewed by a thread."""

    def __init__(self, path: StorePath) -> None:
        self._path = path
        self._owner = uuid.uuid4().hex
        self._version: Version | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="aepipe-lease", daemon=True)

    def confirm(self) -> None:
        """Raise Busy if another process has taken the lease since, so that nothing is published twice."""
        if not self._is_owner():
            holder = _holder(_read(self._path)[0])
            raise Busy(f"{self._path} was taken by {holder} meanwhile. Run again when that process has ended.")

    def take(self, before: Version | None) -> bool:
        """Write the lease over this version of it, and keep it; return False if another process was faster."""
        self._version = before
        if not self._write():
            return False
        self._thread.start()
        return True

    def _is_owner(self) -> bool:
        """Return True if the lease in the store is this one, and note its version."""
        found, version = _read(self._path)
        if (found or {}).get("owner") != self._owner:
            return False
        self._version = version
        return True

    def end(self) -> None:
        """Stop renewing, and delete the lease if it is still this one."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        try:
            self.confirm()
            delete_object(self._path)
        except AepipeError as error:  # it ends by itself
            _log.warning("the lease %s is not deleted: %s", self._path, error)

    def _write(self) -> bool:
        holder = f"process {os.getpid()} on {socket.gethostname()}"
        record = {
            "owner": self._owner,
            "holder": holder,
            "process": os.getpid(),
            # whole seconds give every renewal the same length, for servers that replace objects in place, such as moto
            "until": math.ceil(time.time() + LEASE_S),
        }
        put_if_unchanged(self._path, json.dumps(record).encode(), self._version)
        return self._is_owner()  # also if the store wrote the lease, its answer was lost, and the write was repeated

    def _renew(self) -> None:
        while not self._over.wait(_RENEW_S):
            try:
                if not (self._is_owner() and self._write()):
                    return  # `confirm` tells the owner before it publishes
            except AepipeError as error:  # the next attempt may succeed
                _log.warning("the lease %s is not renewed: %s", self._path, error)


@contextmanager
def lease(path: StorePath, *, wait_s: float = 0.0, check: Callable[[], None] = lambda: None) -> Iterator[Lease]:
    """Hold a lease while the block runs.

    Args:
        path: object of the lease.
        wait_s: seconds to wait.
        check: called while waiting; may raise to stop.

    Raises:
        Busy: another process holds the lease after `wait_s`; names it.
    """
    deadline = time.monotonic() + wait_s
    while True:
        found, version = _read(path)
        held = Lease(path)
        if found is None or _until(found) <= time.time():
            if held.take(version):
                break
            found, _ = _read(path)
        left = deadline - time.monotonic()
        if left <= 0:
            raise Busy(
                f"{path} is still held by {_holder(found)} after {wait_s:g} s. Wait for it to end; a lease that is not "
                f"renewed ends after {LEASE_S:g} s."
            )
        check()
        time.sleep(min(_POLL_S, left))
    try:
        yield held
    finally:
        held.end()


def lease_holder(path: StorePath) -> int | None:
    """Return the process id of the owner of a lease; None if there is none, or it has ended."""
    found, _ = _read(path)
    process = found.get("process") if found is not None and _until(found) > time.time() else None
    return process if isinstance(process, int) else None


def _read(path: StorePath) -> tuple[dict[str, object] | None, Version | None]:
    """Return the record of a lease, None if it is not one, and its version, None if there is no object."""
    try:
        content, version = read_versioned(path)
    except FileNotFoundError:
        return None, None
    try:
        found = json.loads(content)
    except ValueError:
        return None, version
    return found if isinstance(found, dict) else None, version


def _until(record: dict[str, object]) -> float:
    until = record.get("until")
    return float(until) if isinstance(until, int | float) else 0.0


def _holder(record: dict[str, object] | None) -> str:
    return str((record or {}).get("holder", "another process"))
