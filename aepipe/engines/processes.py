"""Score partitions in worker processes, one partition per process at a time.

A process that dies, by a crash in a library or the kernel's out-of-memory killer, costs no other partition: the pool is
rebuilt, the partitions that were being scored run again one by one, and one that ends its process again is
quarantined.
"""

import logging
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace

from aepipe.batch.score_settings import MachineSettings, ScoreSettings
from aepipe.bundles.bundle import Bundle
from aepipe.engines import local
from aepipe.engines.fleet import Fleet, share_of_machine
from aepipe.progress import Progress
from aepipe.storage import PartitionResult
from aepipe.tables.partitions import Partition

log = logging.getLogger(__name__)

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
    fleet = Fleet(partitions, settings, progress)
    workers = 1 if settings.adaptive else min(machine.workers or local.count_cores(), len(partitions))
    each = share_of_machine(machine, workers)
    suspects: list[int] = []
    while fleet.waiting or suspects:
        is_alone = bool(suspects)  # after a crash: one at a time, so that the next crash has one culprit
        todo = suspects[:1] if is_alone else list(fleet.waiting)
        crashed = _run_pool(bundle, each, fleet, todo, workers=1 if is_alone else workers)
        if is_alone:
            suspects = suspects[1:]
            for index in crashed:
                fleet.quarantine(index, "its worker process ended twice while scoring it")
        else:
            suspects = crashed
            if crashed:
                log.warning("a worker process ended; %d partitions are scored again one by one", len(crashed))
    return fleet.results()


def _run_pool(bundle: Bundle, machine: MachineSettings, fleet: Fleet, todo: list[int], *, workers: int) -> list[int]:
    """Score partitions until all are done or a process ends; return the partitions that were being scored then."""
    context = multiprocessing.get_context("spawn")
    waiting, running = list(todo), dict[Future[list[PartitionResult]], int]()
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_open, initargs=(bundle, machine)) as pool:
        try:
            while waiting or running:
                while waiting and len(running) < workers:
                    index = waiting.pop(0)
                    running[pool.submit(_score, fleet.partitions[index], fleet.settings)] = index
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    fleet.complete(running[future], future.result)
                    running.pop(future)
        except BrokenProcessPool:
            return sorted(running.values())
        except BaseException:
            for process in list((pool._processes or {}).values()):
                process.terminate()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return []


def _open(bundle: Bundle, machine: MachineSettings) -> None:
    """Open the sessions of this worker process."""
    global _worker
    _worker = local.LocalEngine(bundle, machine)


def _score(partition: Partition, settings: ScoreSettings) -> list[PartitionResult]:
    assert _worker is not None
    return _worker.run([partition], settings)
