"""Code that runs in the workers of a Ray cluster."""

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import ray

from aepipe import versions as installed
from aepipe.batch.score_settings import MachineSettings, ScoreSettings
from aepipe.engines.local import LocalEngine
from aepipe.errors import ClusterUnavailable
from aepipe.storage import PartitionResult
from aepipe.tables.partitions import Partition

Request = TypeVar("Request")
Answer = TypeVar("Answer")

_CHECKED = ("aepipe", "onnxruntime", "onnxruntime-gpu")
"""Packages whose versions workers share with the driver."""


@dataclass(frozen=True, slots=True)
class Setup:
    """Settings of a worker; they are small, and travel with each task."""

    bundle: Any
    """Reference to the bundle, which lies in the object store."""
    machine: MachineSettings
    versions: dict[str, str]
    """Versions of the driver."""


class Scorer:
    """Actor that scores one partition, or one piece of a partition, at a time.

    The setup comes with each task instead of the constructor: Ray warns of constructors with arguments in the object
    store, as they may be lost before it starts the actor again.
    """

    def __init__(self) -> None:
        self._engine: LocalEngine | None = None

    def open(self, setup: Setup) -> None:
        """Check the packages of this node, and the bundle."""
        self._opened(setup)

    def score(self, setup: Setup, partition: Partition, settings: ScoreSettings) -> list[PartitionResult]:
        """Score and commit a partition; one that is committed already is not written again."""
        return self._opened(setup).run([partition], settings)

    def process(self) -> int:
        """Return the process number of the worker."""
        return os.getpid()

    def _opened(self, setup: Setup) -> LocalEngine:
        if self._engine is None:
            _refuse_other_versions(setup.versions)
            self._engine = LocalEngine(ray.get(setup.bundle), setup.machine)
        return self._engine


def answer(call: Callable[[Request], Answer], request: Request, versions: dict[str, str]) -> Answer:
    """Return the answer to a request, on a node with the versions of the driver."""
    _refuse_other_versions(versions)
    return call(request)


def checked_versions() -> dict[str, str]:
    """Return the versions that workers share with the driver."""
    return installed.versions(_CHECKED)


def _refuse_other_versions(expected: dict[str, str]) -> None:
    here = checked_versions()
    if differing := [name for name in _CHECKED if here.get(name) != expected.get(name)]:
        wanted, found = (
            ", ".join(f"{name} {versions.get(name, 'not installed')}" for name in differing)
            for versions in (expected, here)
        )
        raise ClusterUnavailable(
            f"node {socket.gethostname()} has other packages: expected {wanted}, got {found}. "
            "Install the same versions on every node."
        )
