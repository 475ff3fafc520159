"""Score partitions in worker processes, one partition or piece of a partition per process at a time.

A process that dies, by a crash in a library or the kernel's out-of-memory killer, costs no other process: what it was
scoring runs again when the others are done, alone, so that it has all the memory. A partition that ends its process
again is quarantined.
"""

import logging
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from typing import Any

from aepipe.batch.score_settings import MachineSettings, ScoreSettings
from aepipe.bundles.bundle import Bundle
from aepipe.engines import local
from aepipe.engines.fleet import Fleet, Task, share_of_machine, split_partitions
from aepipe.progress import Progress
from aepipe.storage import PartitionResult
from aepipe.tables.partitions import Partition

log = logging.getLogger(__name__)

_END_S = 5.0

_worker: "local.LocalEngine | None" = None


def run(
    bundle: Bundle,
    partitions: Sequence[Partition],
    settings: ScoreSettings,
    machine: MachineSettings,
    *,
    progress: Progress | None = None,
) -> list[PartitionResult]:
    """Score the partitions in processes of this machine; see `Engine`.

    Flags that adapt along the partitions need them in order: one process then scores all of them.
    """
    if not partitions:
        return []
    local.LocalEngine(bundle, replace(machine, workers=1))  # the bundle is checked before any partition is started
    most = 1 if settings.adaptive else machine.workers or local.count_cores()
    pieces = split_partitions(bundle, partitions, settings, workers=most)
    fleet = Fleet(partitions, settings, progress, pieces=pieces)
    workers = min(most, fleet.size)
    each = share_of_machine(machine, workers)
    pool = _Pool(fleet, [_Process(bundle, each) for _ in range(workers)])
    try:
        pool.run()
    except BaseException:
        pool.end(at_once=True)
        raise
    pool.end()
    return fleet.results()


class _Process:
    """Worker process, which starts with its first task, and again after it died."""

    def __init__(self, bundle: Bundle, machine: MachineSettings) -> None:
        self._opened = bundle, machine
        self._executor = self._make_executor()

    def submit(self, task: Task, fleet: Fleet) -> Future[list[PartitionResult]]:
        """Start a task of the fleet."""
        return self._executor.submit(_score, fleet.partitions[task.index], task.settings)

    def restart(self) -> None:
        """Replace a process that died."""
        self._executor.shutdown()
        self._executor = self._make_executor()

    def end(self, *, at_once: bool) -> Callable[[], None]:
        """End the process, after its task or at once; return a call that waits for its end."""
        return end_pool(self._executor, at_once=at_once)

    def _make_executor(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(1, mp_context=context, initializer=_open, initargs=self._opened)


class _Pool:
    """Worker processes, and what they are scoring."""

    def __init__(self, fleet: Fleet, processes: list[_Process]) -> None:
        self._fleet = fleet
        self._processes = processes
        self._idle = list(processes)
        self._running: dict[Future[list[PartitionResult]], tuple[_Process, Task]] = {}
        self._suspects: list[Task] = []
        """Tasks whose process died, to run again alone: the next death then has one cause."""

    def run(self) -> None:
        """Score until every partition has a result."""
        while self._start_tasks() or self._suspects:
            if not self._running:
                self._run_alone(self._suspects.pop(0))
                continue
            for future in wait(self._running, return_when=FIRST_COMPLETED).done:
                process, task = self._running.pop(future)
                try:
                    self._fleet.complete(task, future.result)
                except BrokenProcessPool:
                    process.restart()
                    self._suspects.append(task)
                self._idle.append(process)

    def end(self, *, at_once: bool = False) -> None:
        """End the processes."""
        for wait_for_end in [process.end(at_once=at_once) for process in self._processes]:
            wait_for_end()

    def _start_tasks(self) -> bool:
        """Start tasks while processes are idle; return False if nothing is running."""
        while self._idle and (task := self._fleet.take()) is not None:
            process = self._idle.pop()
            self._running[process.submit(task, self._fleet)] = process, task
        return bool(self._running)

    def _run_alone(self, task: Task) -> None:
        """Run a task again whose process died; quarantine its partition if the process dies again."""
        name, process = self._fleet.partitions[task.index].name, self._idle[0]
        log.warning("the worker process of %s ended; it is scored again, alone", name)
        try:
            self._fleet.complete(task, process.submit(task, self._fleet).result)
        except BrokenProcessPool:
            process.restart()
            self._fleet.quarantine(task.index, "its worker process ended twice while scoring it")


def end_pool(executor: ProcessPoolExecutor, *, at_once: bool) -> Callable[[], None]:
    """End the processes of a pool, after their tasks or at once; return a call that waits for their end.

    If the command ends before its pools do, Python warns about semaphores that they leave.
    """
    thread: Any = executor._executor_manager_thread
    if at_once:
        for process in list((executor._processes or {}).values()):
            process.terminate()
    executor.shutdown(wait=False, cancel_futures=at_once)
    # a process that waits for a broken file system does not end
    return lambda: None if thread is None else thread.join(_END_S if at_once else None)


def _open(bundle: Bundle, machine: MachineSettings) -> None:
    """Open the sessions of this worker process."""
    global _worker
    _worker = local.LocalEngine(bundle, machine)


def _score(partition: Partition, settings: ScoreSettings) -> list[PartitionResult]:
    assert _worker is not None
    return _worker.run([partition], settings)
