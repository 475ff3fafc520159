"""Connect to a Ray cluster, or say in one sentence why it cannot be used."""

import logging
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import ray

from aepipe.batch.score_settings import ClusterSettings
from aepipe.errors import ClusterUnavailable, describe_failure, first_line

_CONNECT_S = 10.0
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""Start of a connection and empty settings; a gRPC server answers with its own settings (RFC 9113, section 3.4)."""
_HEADER_BYTES, _KIND_AT, _SETTINGS_KIND = 9, 3, 4
_LOGS = "/tmp/ray/session_latest/logs"  # noqa: S108


@contextmanager
def connected(cluster: ClusterSettings) -> Iterator[None]:
    """Connect to the cluster, or start Ray on this machine if no address is given; keep a connection that exists."""
    if ray.is_initialized():
        yield
        return
    place = _Place.of(cluster)
    if place.is_address:
        _refuse_unreachable(place)
    try:
        with _own_handler():
            ray.init(address=place.name, log_to_driver=False, include_dashboard=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises bare ones too, such as for a node that does not start in time
        raise _not_connected(place, error) from error
    try:
        yield
    finally:
        ray.shutdown()


def count_slots(cluster: ClusterSettings) -> int:
    """Return how many workers the cluster can hold. Raise ClusterUnavailable if no node can hold one."""
    wanted = {"CPU": cluster.num_cpus, "GPU": cluster.num_gpus}
    known: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    nodes = [node["Resources"] for node in known if node["Alive"]]
    slots = 0
    for node in nodes:
        room = [node.get(name, 0.0) / count for name, count in wanted.items() if count]
        slots += int(min(room, default=1))
    if not slots:
        most = {name: max((node.get(name, 0.0) for node in nodes), default=0.0) for name in wanted}
        raise ClusterUnavailable(
            f"no node has the resources of a worker: expected {cluster.num_cpus:g} CPUs and {cluster.num_gpus:g} GPUs, "
            f"got at most {most['CPU']:g} and {most['GPU']:g}. Change num_cpus or num_gpus under [run.ray]."
        )
    return slots


@contextmanager
def _own_handler() -> Iterator[None]:
    """Keep the handler of SIGTERM of this process: that of Ray ends it with another code, and without a word."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if callable(before) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


class _Place(NamedTuple):
    """Address of Ray, and the setting that names it."""

    name: str | None
    """host:port, or ray://host:port; "auto": started on this machine before; "local": to be started; None: either."""
    setting: str

    @classmethod
    def of(cls, cluster: ClusterSettings) -> "_Place":
        """Return the place of the job; Ray lets RAY_ADDRESS take the place of "auto"."""
        by_job, by_environment = cluster.address or None, os.environ.get("RAY_ADDRESS") or None
        if by_job in (None, "auto") and by_environment:
            return cls(by_environment, "RAY_ADDRESS")
        return cls(by_job, "[run.ray] address")

    @property
    def is_address(self) -> bool:
        return self.name not in (None, "auto", "local")

    @property
    def cluster(self) -> str:
        """Subject of a message."""
        return f"the Ray cluster at {self.name}" if self.is_address else "Ray on this machine"

    @property
    def remedy(self) -> str:
        """Last sentence of a message."""
        if self.is_address:
            return f"Check {self.setting}, and that the cluster runs."
        if self.name == "auto":
            return f"Run `ray start --head`, or change {self.setting}."
        return f"Look into {_LOGS}, or set [run.ray] address to a running cluster."


def _refuse_unreachable(place: _Place) -> None:
    """Raise ClusterUnavailable if no gRPC server answers at an address within 10 seconds.

    Ray itself would try for minutes, and end the process.
    """
    scheme, _, server = str(place.name).rpartition("://")
    host, _, port = server.rpartition(":")
    if scheme not in ("", "ray") or not host or not (port.isdecimal() and int(port) < 1 << 16):
        raise ClusterUnavailable(
            f"the address of the Ray cluster is invalid: expected host:port, got {place.name}. Change {place.setting}."
        )
    try:
        _greet(host.strip("[]"), int(port))
    except TimeoutError:
        reason = f" within {_CONNECT_S:g} seconds"
    except (OSError, UnicodeError) as error:
        reason = f": {describe_failure(error)}"
    else:
        return
    raise ClusterUnavailable(f"{place.cluster} does not answer{reason}. {place.remedy}")


def _greet(host: str, port: int) -> None:
    """Open a connection as a client of gRPC does. Raise OSError if a server does not answer, or is no gRPC server."""
    deadline = time.monotonic() + _CONNECT_S
    with socket.create_connection((host, port), timeout=_CONNECT_S) as connection:
        if os.environ.get("RAY_USE_TLS", "0") != "0":
            return
        connection.sendall(_PREFACE)
        answer = b""
        while len(answer) < _HEADER_BYTES:
            connection.settimeout(max(0.001, deadline - time.monotonic()))
            if not (more := connection.recv(_HEADER_BYTES - len(answer))):
                break
            answer += more
    if len(answer) < _HEADER_BYTES or answer[_KIND_AT] != _SETTINGS_KIND:
        raise ConnectionError("another service listens there")


def _not_connected(place: _Place, error: Exception) -> ClusterUnavailable:
    """Return one sentence about a connection that Ray refuses."""
    if len(versions := re.findall(r"(Ray|Python): (\S+)", str(error))) >= 4:
        (_, ray_there), (_, python_there), (_, ray_here), (_, python_here) = versions[:4]
        return ClusterUnavailable(
            f"{place.cluster} has other versions: expected Ray {ray_here} and Python {python_here}, got "
            f"Ray {ray_there} and Python {python_there}. Install the same versions on every node."
        )
    return ClusterUnavailable(f"{place.cluster} cannot be used: {first_line(error)}. {place.remedy}")
