"""Score partitions on a Ray cluster: one actor per slot holds the sessions, one task scores a partition or a piece.

Workers read the source and write the outputs themselves, so every node needs the same paths. Rows never pass through
the driver. The bundle is put into the object store once, which copies it once per node, and is checked by digest where
it arrives. Ray Data is not used: it cost 9 to 14 times the CPU time of a local loop.
"""

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import ray
from ray.exceptions import (
    NodeDiedError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
    WorkerCrashedError,
)

from aepipe.batch.score_settings import ClusterSettings, MachineSettings, ScoreSettings
from aepipe.bundles.bundle import Bundle
from aepipe.engines.fleet import Fleet, Task, split_partitions
from aepipe.engines.ray_connection import connected, count_slots
from aepipe.engines.ray_worker import Scorer, Setup, answer, checked_versions
from aepipe.errors import AepipeError, ClusterUnavailable, first_line
from aepipe.progress import Progress
from aepipe.storage import PartitionResult
from aepipe.tables.partitions import Partition

log = logging.getLogger(__name__)

Request = TypeVar("Request")
Answer = TypeVar("Answer")

_WAKE_S = 0.5
_LOST = (RayActorError, WorkerCrashedError, OutOfMemoryError, NodeDiedError)
"""Errors of a task whose worker died, or whose node left."""


@dataclass(frozen=True, slots=True)
class _Slot:
    """Place on the cluster for one task at a time."""

    actor: Any
    setup: Setup

    def submit(self, partition: Partition, settings: ScoreSettings) -> Any:
        return self.actor.score.remote(self.setup, partition, settings)


def run(
    bundle: Bundle,
    partitions: Sequence[Partition],
    settings: ScoreSettings,
    machine: MachineSettings,
    *,
    progress: Progress | None = None,
) -> list[PartitionResult]:
    """Score the partitions on the cluster of `[run.ray]`; see `Engine`.

    A worker that dies is started again and scores its partition again; the others go on. Flags that adapt along the
    partitions need them in order: one worker then scores all of them.

    Raises:
        ClusterUnavailable: the cluster does not answer within 10 seconds, runs another version of Ray or of aepipe, or
            has no node with the resources of a worker.
    """
    if not partitions:
        return []
    cluster = machine.cluster or ClusterSettings()
    settings = settings.resolved()
    partitions = [part._replace(files=tuple(file.resolve() for file in part.files)) for part in partitions]
    with connected(cluster):
        most = 1 if settings.adaptive else machine.workers or count_slots(cluster)
        pieces = split_partitions(bundle, partitions, settings, workers=most)
        fleet = Fleet(partitions, settings, progress, pieces=pieces)
        slots = _open_slots(bundle, machine, cluster, most=min(most, fleet.size))
        try:
            _drive(fleet, slots, most_tries=1 + cluster.max_task_retries)
        finally:  # an interrupt too
            for slot in slots:
                ray.kill(slot.actor, no_restart=True)
    return fleet.results()


def run_tasks(
    call: Callable[[Request], Answer],
    requests: Sequence[Request],
    machine: MachineSettings,
    *,
    done: Callable[[int], None],
) -> list[Answer | None]:
    """Return the answers to requests, one Ray task each; see `engines.tasks`."""
    cluster = machine.cluster or ClusterSettings()
    with connected(cluster):
        count_slots(cluster)
        task: Any = ray.remote(answer).options(
            num_cpus=cluster.num_cpus, num_gpus=cluster.num_gpus, max_retries=cluster.max_task_retries
        )
        versions = checked_versions()
        places = {task.remote(call, request, versions): index for index, request in enumerate(requests)}
        answers: list[Answer | None] = [None] * len(requests)
        waiting = list(places)
        try:
            while waiting:
                reference = _wait_for_one(waiting)
                waiting.remove(reference)
                try:
                    answers[places[reference]] = ray.get(reference)
                except RayTaskError as error:
                    raise _raised(error) from error
                except _LOST as error:
                    log.warning("the workers of a task were lost: %s", error)
                done(len(requests) - len(waiting))
        finally:  # an interrupt too
            for reference in waiting:
                ray.cancel(reference, force=True)
    return answers


def _drive(fleet: Fleet, slots: Sequence[_Slot], *, most_tries: int) -> None:
    """Keep one task on each slot until all partitions have a result.

    A slot whose worker is lost is given up, and its task goes to another slot. A partition is quarantined when workers
    were lost with one of its tasks `most_tries` times.

    Raises:
        ClusterUnavailable: no slot is left.
    """
    idle, lost = list(slots), Counter[tuple[int, int | None]]()
    running: dict[Any, tuple[Task, _Slot]] = {}
    while True:
        while idle and (task := fleet.take()) is not None:
            slot = idle.pop()
            running[slot.submit(fleet.partitions[task.index], task.settings)] = task, slot
        if not running:
            break
        reference = _wait_for_one(running)
        task, slot = running.pop(reference)
        try:
            fleet.complete(task, partial(_collect, reference))
            idle.append(slot)
        except _LOST as error:  # its node is gone, or it died more often than it may be restarted
            log.warning("a worker is lost while it scores %s: %s", fleet.partitions[task.index].name, error)
            ray.kill(slot.actor, no_restart=True)
            lost[task.place] += 1
            if lost[task.place] < most_tries:
                fleet.give_back(task)
            else:
                reason = f"{most_tries} workers of the Ray cluster were lost while scoring it"
                fleet.quarantine(task.index, reason)
    if fleet.unfinished:
        raise ClusterUnavailable(
            f"the cluster lost all {len(slots)} workers, {fleet.unfinished} partitions are left. Check its nodes, "
            "and run again: partitions that are done stay done."
        )


def _wait_for_one(references: Iterable[Any]) -> Any:
    """Return the first reference whose task is done. Ray holds signals back while it waits: it waits for a moment."""
    while True:
        try:
            done, _ = ray.wait(list(references), num_returns=1, timeout=_WAKE_S)
        except SystemError as error:  # a handler raised within Ray's extension, which returned all the same
            raise (error.__cause__ or error) from None
        if done:
            return done[0]


def _collect(reference: Any) -> list[PartitionResult]:
    """Return the result of a task, or raise the error that the worker raised."""
    try:
        found: list[PartitionResult] = ray.get(reference)
    except RayTaskError as error:
        raise _raised(error) from error
    return found


def _open_slots(bundle: Bundle, machine: MachineSettings, cluster: ClusterSettings, *, most: int) -> list[_Slot]:
    """Start the actors and check that each has opened the bundle."""
    actor = ray.remote(Scorer).options(
        num_cpus=cluster.num_cpus,
        num_gpus=cluster.num_gpus,
        max_restarts=cluster.max_restarts,
        max_task_retries=cluster.max_task_retries,
    )
    settings = MachineSettings(
        device=machine.device,
        workers=max(1, int(cluster.num_cpus)),
        batch_rows=machine.batch_rows,
        memory_mb=machine.memory_mb,
        gpu_memory_mb=machine.gpu_memory_mb,
    )
    setup = Setup(ray.put(bundle), settings, checked_versions())
    slots = [_Slot(actor.remote(), setup) for _ in range(min(most, count_slots(cluster)))]
    try:
        opening = [slot.actor.open.remote(setup) for slot in slots]
        while opening:
            reference = _wait_for_one(opening)
            opening.remove(reference)
            ray.get(reference)
    except RayError as error:
        for slot in slots:
            ray.kill(slot.actor, no_restart=True)
        raise (_raised(error) if isinstance(error, RayTaskError) else _not_started(error)) from error
    return slots


def _raised(error: RayTaskError) -> BaseException:
    """Return the error that a worker raised, or one sentence about a module that it cannot import."""
    if isinstance(error.cause, AepipeError):
        return error.cause
    return _missing_module(str(error)) or error.cause


def _not_started(error: RayError) -> ClusterUnavailable:
    """Return one sentence about a worker that does not start."""
    return _missing_module(str(error)) or ClusterUnavailable(
        f"a worker of the Ray cluster did not start: {first_line(error)}. Check the logs of the cluster."
    )


def _missing_module(text: str) -> ClusterUnavailable | None:
    if missing := re.search(r"No module named '([\w.]+)'", text):
        return ClusterUnavailable(
            f"a worker of the Ray cluster lacks the module {missing[1]}. Install the same packages on every node."
        )
    return None
