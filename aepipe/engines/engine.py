"""Engines: one way to score partitions for each place where they may run."""

import importlib
from collections.abc import Sequence
from types import ModuleType
from typing import Protocol, cast

from aepipe.batch.score_settings import MachineSettings, ScoreSettings
from aepipe.bundles.bundle import Bundle
from aepipe.progress import Progress
from aepipe.storage import PartitionResult
from aepipe.tables.partitions import Partition
from aepipe.versions import named_extras


class Engine(Protocol):
    """Scores partitions where it reads them; rows never pass through the caller.

    An engine returns one result per partition, in order. A partition that cannot be scored is quarantined and does not
    stop the others.
    """

    def __call__(
        self,
        bundle: Bundle,
        partitions: Sequence[Partition],
        settings: ScoreSettings,
        machine: MachineSettings,
        *,
        progress: Progress | None = None,
    ) -> list[PartitionResult]:
        """Score the partitions.

        Raises:
            BundleCorrupt: the bundle fails its golden rows; raised before any partition is started.
            Busy: another process writes a partition; raised when all others are done.
            DeviceUnavailable: raised before any partition is started.
            ClusterUnavailable: the cluster does not answer, or has no node with the resources of a worker.
        """


_MODULES = {"local": "local", "processes": "processes", "ray": "ray_cluster"}


def find_engine(name: str) -> Engine:
    """Return the engine of `[run] engine`.

    Raises:
        ExtraMissing: its package is not installed.
    """
    return cast(Engine, import_engine(name).run)


def import_engine(name: str) -> ModuleType:
    """Return the module of an engine.

    Raises:
        ExtraMissing: its package is not installed.
    """
    with named_extras(f'[run] engine = "{name}"'):
        return importlib.import_module(f"aepipe.engines.{_MODULES[name]}")
