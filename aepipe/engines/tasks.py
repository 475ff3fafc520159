"""Tasks that are no partitions, such as trials of a search, on the engine of a job."""

import logging
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, ExitStack
from typing import TypeVar

from aepipe.batch.score_settings import ClusterSettings, MachineSettings
from aepipe.engines import local
from aepipe.engines.engine import import_engine
from aepipe.engines.processes import end_pool

log = logging.getLogger(__name__)

Request = TypeVar("Request")
Answer = TypeVar("Answer")

_TRIES = 2


class TaskWorkers(AbstractContextManager["TaskWorkers"]):
    """Workers of the engine of a job, which stay for later tasks until the end of the block.

    Args:
        engine: tasks run in this process one after another, in processes, or on a Ray cluster.
        machine: number of workers, and the Ray cluster.
    """

    def __init__(self, engine: str, machine: MachineSettings) -> None:
        self._engine = engine
        self._machine = machine
        self._pool: ProcessPoolExecutor | None = None
        self._cluster = ExitStack()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._end_pool(at_once=kind is not None)
        self._cluster.close()

    def run(
        self, call: Callable[[Request], Answer], requests: Sequence[Request], *, done: Callable[[int], None]
    ) -> list[Answer | None]:
        """Return the answer to each request, in order; None if its worker died twice.

        Args:
            call: function of a module; workers import it.
            requests: its arguments, which are sent to workers.
            done: receives the number of answers so far.

        Raises:
            ClusterUnavailable: the cluster does not answer, or has no node with the resources of a worker.
            ExtraMissing: the package of the engine is not installed.
            Exception: an error of a task is raised as it is.
        """
        if self._engine == "local":
            answers: list[Answer | None] = []
            for request in requests:
                answers.append(call(request))
                done(len(answers))
            return answers
        if self._engine == "processes":
            return self._in_processes(call, requests, done=done)
        ray_cluster = import_engine(self._engine)
        self._cluster.enter_context(ray_cluster.connected(self._machine.cluster or ClusterSettings()))
        found: list[Answer | None] = ray_cluster.run_tasks(call, requests, self._machine, done=done)
        return found

    def _in_processes(
        self, call: Callable[[Request], Answer], requests: Sequence[Request], *, done: Callable[[int], None]
    ) -> list[Answer | None]:
        answers: list[Answer | None] = [None] * len(requests)
        waiting, tries = list(range(len(requests))), 0
        while waiting and tries < _TRIES:
            tries += 1
            # after a death one at a time, so that a task that ends its process again ends no other
            groups = [waiting] if tries == 1 else [[index] for index in waiting]
            waiting = [lost for group in groups for lost in self._answer(call, requests, group, answers, done=done)]
            if waiting:
                log.warning("a worker process ended; %d tasks were not finished", len(waiting))
        return answers

    def _answer(
        self,
        call: Callable[[Request], Answer],
        requests: Sequence[Request],
        indices: Sequence[int],
        answers: list[Answer | None],
        *,
        done: Callable[[int], None],
    ) -> list[int]:
        """Answer some requests, and return the indices of those whose process died."""
        lost: list[int] = []
        if self._pool is None:
            workers = self._machine.workers or local.count_cores()
            self._pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
        futures: dict[int, Future[Answer]] = {index: self._pool.submit(call, requests[index]) for index in indices}
        for index, future in futures.items():
            try:
                answers[index] = future.result()
                done(sum(answer is not None for answer in answers))
            except BrokenProcessPool:
                lost.append(index)
        if lost:
            self._end_pool()
        return lost

    def _end_pool(self, *, at_once: bool = False) -> None:
        if self._pool is not None:
            end_pool(self._pool, at_once=at_once)()
        self._pool = None
