"""Work-stealing scheduler: hand out unstarted partitions, then let idle workers join running ones."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from aepipe.batch.partition_scorer import PartitionScoring
from aepipe.inference.batch_runner import Runner
from aepipe.inference.session import Session
from aepipe.progress import Progress, count_rows
from aepipe.storage import CommitGroup, PartitionResult


class PartitionScheduler:
    """Partitions of a run, for the threads of one process.

    Args:
        names: names of the partitions, in order.
        progress: receives the name of a partition and the fraction of the run that is done.
        in_turn: start a partition only when the one before has a result.
        max_concurrent: largest number of partitions that are read at the same time; None: no limit. More may be
            started: their files are digested, they wait for another process, or commit.
    """

    def __init__(
        self,
        names: Sequence[str],
        progress: Progress | None = None,
        *,
        in_turn: bool = False,
        max_concurrent: int | None = None,
    ) -> None:
        self._names = names
        self._in_turn = in_turn
        self._max_concurrent = max_concurrent or len(names)
        self._slots: set[int] = set()
        self._progress = progress
        self._fractions = [0.0] * len(names)
        self._results: list[PartitionResult | None] = [None] * len(names)
        self._started = 0
        self._running: list[PartitionScoring] = []
        self._error: BaseException | None = None
        self._failure: Exception | None = None
        self._changed = threading.Condition()
        self._reporting = threading.Lock()

    def take(self, *, may_wait: bool = True) -> int | PartitionScoring | None:
        """Return the index of a partition to start, or a scoring to join; wait for one. None: all is done.

        may_wait: False for a thread that holds results back, which others may wait for: return a partition to start, or
            None if there is none.
        """
        with self._changed:
            while self._error is None:
                may_start = not self._in_turn or all(self._results[: self._started])
                if self._started < len(self._names) and may_start:
                    self._started += 1
                    return self._started - 1
                if not may_wait:
                    return None
                scoring = next(iter(self._being_read), None)
                if scoring is not None or all(self._results):
                    return scoring
                self._changed.wait()
            return None

    def try_acquire(self, index: int) -> bool:
        """Take a slot to read this partition if one is free."""
        with self._changed:
            is_free = len(self._slots) + len(self._being_read) < self._max_concurrent
            if is_free:
                self._slots.add(index)
            return is_free

    def acquire_slot(self, index: int) -> PartitionScoring | None:
        """Take a slot to read this partition and return None, or return a scoring to join before asking again.

        Waits for either. Raises the error that stopped the run.
        """
        with self._changed:
            while self._error is None:
                if self.try_acquire(index):
                    return None
                if being_read := self._being_read:
                    return being_read[0]
                self._changed.wait()
            raise self._error

    @property
    def _being_read(self) -> list[PartitionScoring]:
        return [scoring for scoring in self._running if scoring.has_work]

    def release_slot(self, index: int) -> None:
        """Free the slot of a partition that is no longer read, if it has one; its result may follow later."""
        with self._changed:
            self._slots.discard(index)
            self._changed.notify_all()

    def register(self, index: int, scoring: PartitionScoring) -> None:
        """Let other workers join the scoring of this partition."""
        with self._changed:
            self._slots.discard(index)
            self._running = [*self._being_read, scoring]
            self._changed.notify_all()
            if self._error is not None:
                scoring.stop(self._error)

    def check(self) -> None:
        """Raise the error that stopped the run, if any: for work that is not registered yet."""
        if self._error is not None:
            raise self._error

    def report_progress(self, index: int, fraction: float) -> None:
        """Report the fraction of a partition that is done."""
        if self._progress is not None:
            with self._reporting:
                self._fractions[index] = fraction
                self._progress(self._names[index], sum(self._fractions) / len(self._fractions))

    def complete(self, index: int, result: PartitionResult) -> None:
        """Record the result of a partition."""
        count_rows(self._progress, self._names[index], result.rows)
        self.report_progress(index, 1.0)
        with self._changed:
            self._results[index] = result
            self._changed.notify_all()

    def fail(self, index: int, error: Exception) -> None:
        """Record that a partition has no result; the others go on, and `results` raises the error."""
        self._failure = self._failure or error
        self.complete(index, PartitionResult(partition=self._names[index], status="quarantined", reason=str(error)))

    def stop(self, error: BaseException) -> None:
        """Start nothing more, and end running partitions with this error after the blocks in progress."""
        with self._changed:
            self._error = self._error or error
            for scoring in self._running:
                scoring.stop(error)
            self._changed.notify_all()

    @property
    def sentence(self) -> str:
        """Describe what was done, for a run that is interrupted."""
        done = sum(result is not None and result.status != "quarantined" for result in self._results)
        return f"{done} of {len(self._results)} partitions are complete. Run the command again for the others."

    def results(self) -> list[PartitionResult]:
        """Return the results in the order of the partitions; raise the error of the first that failed."""
        if self._failure is not None:
            raise self._failure
        return [result for result in self._results if result is not None]


@dataclass(frozen=True, slots=True)
class PartitionSlot:
    """Slot of one partition in the scheduler; its owner joins other partitions while it waits."""

    scheduler: PartitionScheduler
    index: int
    runner: Runner[Session]
    group: CommitGroup
    """Commits that the owner holds back."""

    def try_acquire(self) -> bool:
        """Take the right to read the partition if it is free."""
        return self.scheduler.try_acquire(self.index)

    def acquire(self) -> None:
        """Work on other partitions until this one may be read."""
        if self.try_acquire():
            return
        self.group.publish()
        while (other := self.scheduler.acquire_slot(self.index)) is not None:
            other.work_on(self.runner)

    def open(self, scoring: PartitionScoring) -> None:
        """Let other workers join."""
        self.scheduler.register(self.index, scoring)

    def report_progress(self, fraction: float) -> None:
        """Report the fraction of rows that are written."""
        self.scheduler.report_progress(self.index, fraction)

    def check(self) -> None:
        """Raise the error that stopped the run, if any."""
        self.scheduler.check()

    def give_way(self) -> None:
        """Publish the commits that the owner holds back: the other process may wait for one of them."""
        self.group.publish()
        self.check()
