"""Partitions of a run that other processes or machines score, and their results."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from aepipe.batch.score_settings import MachineSettings, ScoreSettings
from aepipe.errors import Busy
from aepipe.inference.memory_budget import default_memory_mb
from aepipe.progress import Progress
from aepipe.storage import Outputs, PartitionResult
from aepipe.tables.partitions import Partition

log = logging.getLogger(__name__)


class Fleet:
    """Results of partitions by index, filled in as workers return them.

    Args:
        partitions: the partitions of the run.
        settings: where outputs and quarantine notes go.
        progress: receives the name of a partition and the share of partitions that are done.
    """

    def __init__(
        self, partitions: Sequence[Partition], settings: ScoreSettings, progress: Progress | None = None
    ) -> None:
        self.partitions = partitions
        self.settings = settings
        self._progress = progress
        self._results: list[PartitionResult | None] = [None] * len(partitions)
        self._busy: dict[int, Busy] = {}
        self._reported = 0

    @property
    def waiting(self) -> list[int]:
        """Indices of the partitions without a result, in order."""
        return [index for index, result in enumerate(self._results) if result is None and index not in self._busy]

    def complete(self, index: int, collect: Callable[[], list[PartitionResult]]) -> None:
        """Store the result that a worker returns; errors other than Busy are raised."""
        try:
            (self._results[index],) = collect()
        except Busy as error:
            self._busy[index] = error
        self._report(index)

    def quarantine(self, index: int, reason: str) -> None:
        """Quarantine a partition whose worker cannot return a result."""
        partition = self.partitions[index]
        Outputs(self.settings.out).quarantine(partition.name, reason, partition.files)
        self._results[index] = PartitionResult(partition=partition.name, status="quarantined", reason=reason)
        self._report(index)

    def results(self) -> list[PartitionResult]:
        """Return all results in order. Raise Busy if another process wrote a partition for too long."""
        if self._busy:
            raise self._busy[min(self._busy)]
        return [result for result in self._results if result is not None]

    def _report(self, index: int) -> None:
        self._reported += 1
        if self._progress is not None:
            self._progress(self.partitions[index].name, self._reported / len(self.partitions))


def share_of_machine(machine: MachineSettings, workers: int) -> MachineSettings:
    """Return the settings of one of several worker processes: one thread and an equal share of the memory."""
    memory_mb = machine.memory_mb or default_memory_mb(workers)
    return replace(machine, workers=1, memory_mb=max(128, memory_mb // workers))
