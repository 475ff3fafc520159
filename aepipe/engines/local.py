"""Score many partitions on one machine, one per worker; idle workers help with partitions in progress."""

import logging
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Literal

import pyarrow as pa

from aepipe.batch.partition_scorer import PartitionScoring
from aepipe.batch.piece_scorer import score_task
from aepipe.batch.score_settings import MachineSettings, ScoreSettings
from aepipe.bundles.bundle import Bundle
from aepipe.engines.scheduler import PartitionScheduler, PartitionSlot
from aepipe.errors import Busy, DataUnreadable, PartitionInvalid, SchemaMismatch, TooManyInvalid
from aepipe.inference.batch_runner import Runner
from aepipe.inference.golden_check import check_golden
from aepipe.inference.memory_budget import batch_rows, default_memory_mb, partitions_at_once
from aepipe.inference.session import Session, usable_device
from aepipe.progress import Progress
from aepipe.storage import SCORE, CommitGroup, Outputs, PartitionResult
from aepipe.tables.arrow_memory import keep_freed_memory
from aepipe.tables.parquet_reader import open_bytes
from aepipe.tables.partitions import Partition

__all__ = ["MachineSettings", "PartitionResult", "Progress", "ScoreSettings", "run"]

log = logging.getLogger(__name__)

_SESSIONS_PER_GPU = 2
_MOST_HELD = 32
"""Commits of small partitions that a worker publishes together."""
_MOST_HELD_S = 1.0
"""Seconds after which it publishes fewer."""


def run(
    bundle: Bundle,
    partitions: Sequence[Partition],
    settings: ScoreSettings,
    machine: MachineSettings | None = None,
    *,
    progress: Progress | None = None,
) -> list[PartitionResult]:
    """Score the partitions in threads of this process; see `Engine`."""
    if not partitions:
        return []
    committed = frozenset(Outputs(settings.out).partitions(SCORE))
    may_be_done = all(partition.name in committed for partition in partitions)
    engine = LocalEngine(bundle, machine or MachineSettings(), checks_later=may_be_done)
    return engine.run(partitions, settings, progress=progress)


class LocalEngine:
    """A checked bundle, and one session per worker that has work, or two sessions for all workers on a GPU.

    Args:
        bundle: the bundle.
        machine: device, threads and memory.
        checks_later: on a CPU, compare the golden rows when the first session is opened: a run without work opens none.

    Raises:
        BundleCorrupt: the bundle does not reproduce its golden rows.
    """

    def __init__(self, bundle: Bundle, machine: MachineSettings, *, checks_later: bool = False) -> None:
        keep_freed_memory()
        self.bundle = bundle
        self.workers = machine.workers or count_cores()
        self.memory_mb = machine.memory_mb or default_memory_mb(self.workers)
        self._device, _ = usable_device(machine.device)
        self._batch_rows = batch_rows(bundle.encoding.layout, asked=machine.batch_rows, device=self._device)
        self._gpu_memory_mb = machine.gpu_memory_mb
        self._opening, self._checking = threading.Lock(), threading.Lock()
        self._is_checked = not (checks_later and self._device == "cpu")
        self._runners = [self._make_runner(is_lazy=not self._is_checked)]
        self._shared = self._open_shared(sessions_to_share(self._device, workers=self.workers))
        if self._is_checked:
            check_golden(bundle, self._runners[0])

    def run(
        self, partitions: Sequence[Partition], settings: ScoreSettings, *, progress: Progress | None = None
    ) -> list[PartitionResult]:
        """Score the partitions and return their results in order.

        Raises:
            Busy: another process writes a partition; raised when all others are done.
        """
        scheduler = PartitionScheduler(
            [partition.name for partition in partitions],
            progress,
            in_turn=settings.adaptive,
            max_concurrent=_max_concurrent(self.bundle, partitions, self),
        )
        try:
            with ThreadPoolExecutor(self.workers, thread_name_prefix="aepipe") as threads:
                try:
                    work = partial(_work, self, scheduler, partitions, settings)
                    for future in [threads.submit(work, worker) for worker in range(self.workers)]:
                        future.result()
                except BaseException as error:  # an interrupt too
                    scheduler.stop(error)
                    raise
        except BaseException as error:  # all threads have ended
            if isinstance(error, OSError) or not isinstance(error, Exception):
                error.add_note(scheduler.sentence)
            raise
        return scheduler.results()

    def runner(self, worker: int) -> Runner[Session]:
        """Return the runner of a worker, the same in every run; on a GPU, workers share them."""
        if self._shared:
            return self._shared[worker % len(self._shared)]
        with self._opening:
            while len(self._runners) <= worker:
                # a worker may find nothing to do: 16 cores would open 16 sessions for a small partition
                self._runners.append(self._make_runner(is_lazy=True))
        return self._runners[worker]

    def _open_shared(self, count: int) -> list[Runner[Session]]:
        """Open up to `count` sessions; fewer if one cannot be opened."""
        shared = self._runners[:count]
        try:
            while len(shared) < count:
                shared.append(self._make_runner())
        except Exception as error:  # other processes may hold memory of the GPU
            log.warning("%d sessions share the work: the next one could not be opened: %s", len(shared), error)
        return shared

    def _make_runner(self, *, is_lazy: bool = False) -> Runner[Session]:
        return Runner(self._open, batch_rows=self._batch_rows, padded=self._device == "cuda", is_lazy=is_lazy)

    def _open(self) -> Session:
        """Open a session; the first one must reproduce the golden rows."""
        onnx, _ = self.bundle.part("scorer")
        session = Session(onnx, device=self._device, gpu_memory_mb=self._gpu_memory_mb)
        with self._checking:
            if not self._is_checked:
                check_golden(self.bundle, session)
                self._is_checked = True
        return session


def sessions_to_share(device: Literal["cpu", "cuda"], *, workers: int) -> int:
    """Return the number of sessions that workers share; 0 if each has its own.

    On a GPU one session copies while another computes.

    >>> [sessions_to_share("cuda", workers=workers) for workers in (1, 16)], sessions_to_share("cpu", workers=16)
    ([1, 2], 0)
    """
    return 0 if device == "cpu" else min(workers, _SESSIONS_PER_GPU)


def _max_concurrent(bundle: Bundle, partitions: Sequence[Partition], pool: LocalEngine) -> int:
    """Return how many partitions fit into memory at the same time, if every file is as large as the largest."""
    largest = max((file for partition in partitions for file in partition.files), key=_size, default=None)
    try:
        needed = 0 if largest is None else open_bytes(largest, bundle.source.columns_read)
    except DataUnreadable:  # reported when the partition is scored
        needed = 0
    if not needed:
        return pool.workers
    count = partitions_at_once(needed, memory_mb=pool.memory_mb, workers=pool.workers)
    if count < min(pool.workers, len(partitions)):
        log.info(
            "reading %d partitions at a time: one takes %d MB of memory_mb = %d", count, needed >> 20, pool.memory_mb
        )
    return count


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def count_cores() -> int:
    """Count the cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _work(
    pool: LocalEngine,
    scheduler: PartitionScheduler,
    partitions: Sequence[Partition],
    settings: ScoreSettings,
    worker: int,
) -> None:
    """Score partitions, and help with others, until nothing is left."""
    _Worker(pool, scheduler, partitions, settings).work(worker)


class _Worker:
    """Thread that scores partitions; it holds small ones back to publish several together."""

    def __init__(
        self,
        pool: LocalEngine,
        scheduler: PartitionScheduler,
        partitions: Sequence[Partition],
        settings: ScoreSettings,
    ) -> None:
        self._pool = pool
        self._scheduler = scheduler
        self._partitions = partitions
        self._settings = settings
        self._group = CommitGroup()
        self._results: list[tuple[int, PartitionResult]] = []
        self._published_at = monotonic()

    def work(self, number: int) -> None:
        """Score partitions, and help with others, until nothing is left."""
        try:
            runner = self._pool.runner(number)
            while (task := self._next_task()) is not None:
                if isinstance(task, PartitionScoring):
                    task.work_on(runner)
                else:
                    self._score(task, runner)
        except BaseException as error:
            self._scheduler.stop(error)
            with suppress(OSError):  # the first error is raised
                self._publish()
            raise

    def _next_task(self) -> int | PartitionScoring | None:
        """Return what to do next; before waiting for it, publish what is held back."""
        if self._results:
            task = self._scheduler.take(may_wait=False)
            if task is not None:
                return task
            self._publish()
        return self._scheduler.take()

    def _publish(self) -> None:
        """Publish the commits that are held back, and report their results to the scheduler."""
        results, self._results = self._results, []
        self._group.publish()
        self._published_at = monotonic()
        for index, result in results:
            log.info("%s is %s", result.partition, result.status)
            self._scheduler.complete(index, result)

    def _score(self, index: int, runner: Runner[Session]) -> None:
        """Score one partition, and report its result unless it is held back."""
        try:
            result = self._result(index, runner)
        except Busy as error:
            self._scheduler.fail(index, error)
            return
        finally:  # a partition that failed before its first row has its slot still
            self._scheduler.release_slot(index)
        self._results.append((index, result))
        held = len(self._group)
        if held in (0, _MOST_HELD) or monotonic() - self._published_at > _MOST_HELD_S:
            self._publish()

    def _result(self, index: int, runner: Runner[Session]) -> PartitionResult:
        """Score one partition; quarantine it if that is not possible. Raises Busy."""
        pool, settings, partition = self._pool, self._settings, self._partitions[index]
        name = partition.name
        slot = PartitionSlot(self._scheduler, index, runner, self._group)
        try:
            return score_task(
                pool.bundle,
                partition,
                settings,
                runner,
                workers=pool.workers,
                memory_mb=pool.memory_mb,
                slot=slot,
            )
        except (DataUnreadable, SchemaMismatch, TooManyInvalid) as error:
            Outputs(settings.out).quarantine(name, str(error), partition.files)
            return PartitionResult(partition=name, status="quarantined", reason=str(error))
        except (pa.ArrowException, UnicodeError) as error:  # values that Arrow reads but cannot convert
            reason = f"partition {name} has values that cannot be decoded: {error}. Write its files again."
            Outputs(settings.out).quarantine(name, reason, partition.files)
            return PartitionResult(partition=name, status="quarantined", reason=reason)
        except PartitionInvalid as error:  # a note cannot have such a name
            log.warning("%s", error)
            return PartitionResult(partition=name, status="quarantined", reason=str(error))
