"""Tasks that are no partitions, such as trials of a search, on the engine of a job."""

import importlib
import logging
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from aepipe.batch.score_settings import MachineSettings
from aepipe.engines import local
from aepipe.engines.engine import missing_engine

log = logging.getLogger(__name__)

Request = TypeVar("Request")
Answer = TypeVar("Answer")

_TRIES = 2


def run_tasks(
    engine: str,
    call: Callable[[Request], Answer],
    requests: Sequence[Request],
    machine: MachineSettings,
    *,
    done: Callable[[int], None],
) -> list[Answer | None]:
    """Return the answer to each request, in order; None if its worker died twice.

    Args:
        engine: engine of the job: tasks run in this process one after another, in processes, or on a Ray cluster.
        call: function of a module; workers import it.
        requests: its arguments, which are sent to workers.
        machine: number of workers, and the Ray cluster.
        done: receives the number of answers so far.

    Raises:
        ClusterUnavailable: the cluster does not answer, or has no node with the resources of a worker.
        DependencyMissing: the package of the engine is not installed.
        Exception: an error of a task is raised as it is.
    """
    if engine == "local":
        answers: list[Answer | None] = []
        for request in requests:
            answers.append(call(request))
            done(len(answers))
        return answers
    if engine == "processes":
        return _in_processes(call, requests, workers=machine.workers or local.count_cores(), done=done)
    try:
        ray_cluster = importlib.import_module("aepipe.engines.ray_cluster")
    except ModuleNotFoundError as error:
        raise missing_engine(engine, error) from error
    found: list[Answer | None] = ray_cluster.run_tasks(call, requests, machine, done=done)
    return found


def _in_processes(
    call: Callable[[Request], Answer], requests: Sequence[Request], *, workers: int, done: Callable[[int], None]
) -> list[Answer | None]:
    answers: list[Answer | None] = [None] * len(requests)
    waiting, tries = list(range(len(requests))), 0
    while waiting and tries < _TRIES:
        tries += 1
        # after a death one at a time, so that a task that ends its process again ends no other
        size = min(workers, len(waiting)) if tries == 1 else 1
        lost: list[int] = []
        for some in [waiting] if tries == 1 else [[index] for index in waiting]:
            lost += _in_pool(call, requests, some, answers, size=size, done=done)
        waiting = lost
        if waiting:
            log.warning("a worker process ended; %d tasks were not finished", len(waiting))
    return answers


def _in_pool(
    call: Callable[[Request], Answer],
    requests: Sequence[Request],
    indices: Sequence[int],
    answers: list[Answer | None],
    *,
    size: int,
    done: Callable[[int], None],
) -> list[int]:
    """Answer some requests, and return the indices of those whose process died."""
    lost: list[int] = []
    with ProcessPoolExecutor(size, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures: dict[int, Future[Answer]] = {index: pool.submit(call, requests[index]) for index in indices}
        try:
            for index, future in futures.items():
                try:
                    answers[index] = future.result()
                    done(sum(answer is not None for answer in answers))
                except BrokenProcessPool:
                    lost.append(index)
        except BaseException:  # an interrupt too
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return lost
