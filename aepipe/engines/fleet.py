"""Partitions of a run that other processes or machines score, and their results."""

import logging
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from aepipe.batch.piece_scorer import pieces_of
from aepipe.batch.pieces import Piece, PiecesMissing
from aepipe.batch.score_settings import MachineSettings, ScoreSettings
from aepipe.bundles.bundle import Bundle
from aepipe.errors import Busy
from aepipe.inference.memory_budget import default_memory_mb
from aepipe.progress import Progress
from aepipe.storage import SCORE, Outputs, PartitionResult
from aepipe.tables.partitions import Partition

log = logging.getLogger(__name__)

_MOST_JOINS = 2
"""How often the pieces of a partition are joined: if another run removes them again, one worker scores it whole."""


@dataclass(frozen=True, slots=True)
class Task:
    """Work of one worker: a partition, and settings that name a piece of it or the pieces to join."""

    index: int
    """Index of the partition in the run."""
    settings: ScoreSettings

    @property
    def place(self) -> tuple[int, int | None]:
        """Indices of the partition and of the piece; None: the whole partition."""
        return self.index, None if self.settings.piece is None else self.settings.piece.index


class Fleet:
    """Tasks and results of the partitions of a run.

    A large partition has one task per piece and, when all pieces are scored, one that joins them. If the partition was
    committed before, that one comes first, as it finds out whether the outputs are current.

    Args:
        partitions: the partitions of the run.
        settings: where outputs and quarantine notes go.
        progress: receives the name of a partition and the share of the run that is done.
        pieces: pieces of the partitions that are split, by index.
    """

    def __init__(
        self,
        partitions: Sequence[Partition],
        settings: ScoreSettings,
        progress: Progress | None = None,
        *,
        pieces: Mapping[int, tuple[Piece, ...]] | None = None,
    ) -> None:
        self.partitions = partitions
        self.settings = settings
        self._progress = progress
        self._pieces = pieces or {}
        self._results: list[PartitionResult | None] = [None] * len(partitions)
        self._busy: dict[int, Busy] = {}
        self._over = 0
        self._left = {index: {piece.index for piece in parts} for index, parts in self._pieces.items()}
        self._joins: Counter[int] = Counter()
        self._waiting = deque(task for index in range(len(partitions)) for task in self._first_tasks(index))

    @property
    def size(self) -> int:
        """Number of workers that can have work at the same time."""
        return len(self.partitions) + sum(len(parts) - 1 for parts in self._pieces.values())

    @property
    def unfinished(self) -> int:
        """Number of partitions without a result."""
        return len(self.partitions) - self._over

    def take(self) -> Task | None:
        """Return the next task; None while there is none."""
        while self._waiting:
            task = self._waiting.popleft()
            if not self._is_over(task.index):  # a piece of it may have ended it
                return task
        return None

    def give_back(self, task: Task) -> None:
        """Put a task first again whose worker was lost."""
        self._waiting.appendleft(task)

    def complete(self, task: Task, collect: Callable[[], list[PartitionResult]]) -> None:
        """Store the result that a worker returns; errors other than Busy are raised."""
        index, settings = task.index, task.settings
        try:
            (result,) = collect()
        except Busy as error:
            self._busy[index] = error
            self._end(index)
        except PiecesMissing as error:
            self._left[index] = set(error.missing)
            self._waiting.extendleft(reversed(self._tasks_for(index)))
        else:
            if self._is_over(index):
                return
            if settings.piece is None or result.status == "quarantined":
                self._results[index] = result
                self._end(index)
                return
            self._left[index].discard(settings.piece.index)
            if not self._left[index]:
                self._waiting.appendleft(self._join_task(index))
            self._report(index)

    def quarantine(self, index: int, reason: str) -> None:
        """Quarantine a partition whose worker cannot return a result."""
        if self._is_over(index):
            return
        partition = self.partitions[index]
        Outputs(self.settings.out).quarantine(partition.name, reason, partition.files)
        self._results[index] = PartitionResult(partition=partition.name, status="quarantined", reason=reason)
        self._end(index)

    def results(self) -> list[PartitionResult]:
        """Return all results in order. Raise Busy if another process wrote a partition for too long."""
        if self._busy:
            raise self._busy[min(self._busy)]
        return [result for result in self._results if result is not None]

    def _is_over(self, index: int) -> bool:
        return self._results[index] is not None or index in self._busy

    def _first_tasks(self, index: int) -> list[Task]:
        if index not in self._pieces:
            return [Task(index, self.settings)]
        was_committed = Outputs(self.settings.out).manifest(SCORE, self.partitions[index].name) is not None
        return [self._join_task(index)] if was_committed and not self.settings.force else self._tasks_for(index)

    def _tasks_for(self, index: int) -> list[Task]:
        """Return a task per piece that is left; one for the whole partition if its pieces were removed repeatedly."""
        if self._joins[index] > _MOST_JOINS:
            return [Task(index, self.settings)]
        pieces = (piece for piece in self._pieces[index] if piece.index in self._left[index])
        return [Task(index, replace(self.settings, piece=piece)) for piece in pieces]

    def _join_task(self, index: int) -> Task:
        self._joins[index] += 1
        return Task(index, replace(self.settings, pieces=self._pieces[index]))

    def _end(self, index: int) -> None:
        self._over += 1
        self._left.pop(index, None)
        self._report(index)

    def _report(self, index: int) -> None:
        if self._progress is not None:
            started = sum(1 - (len(left) + 1) / (len(self._pieces[at]) + 1) for at, left in self._left.items())
            self._progress(self.partitions[index].name, (self._over + started) / len(self.partitions))


def split_partitions(
    bundle: Bundle, partitions: Sequence[Partition], settings: ScoreSettings, *, workers: int
) -> dict[int, tuple[Piece, ...]]:
    """Return the pieces of large partitions by index; none if there are partitions enough to keep all workers busy.

    Pieces are written twice: by the workers that score them, and by the one that joins them.
    """
    if workers < 2 or len(partitions) >= 2 * workers:
        return {}
    found = {index: pieces_of(bundle, partition, settings) for index, partition in enumerate(partitions)}
    for index, pieces in found.items():
        if pieces:
            log.info("%s is scored in %d pieces", partitions[index].name, len(pieces))
    return {index: pieces for index, pieces in found.items() if pieces}


def share_of_machine(machine: MachineSettings, workers: int) -> MachineSettings:
    """Return the settings of one of several worker processes: one thread and an equal share of the memory."""
    memory_mb = machine.memory_mb or default_memory_mb(workers)
    return replace(machine, workers=1, memory_mb=max(128, memory_mb // workers))
