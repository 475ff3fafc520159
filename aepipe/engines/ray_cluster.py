"""Score partitions on a Ray cluster: one actor per slot holds the sessions, one task scores a partition or a piece.

Workers read the source and write the outputs themselves, so every node needs the same paths. Rows never pass through
the driver. The bundle is put into the object store once, which copies it once per node, and is checked by digest where
it arrives. Ray Data is not used: it cost 9 to 14 times the CPU time of a local loop.
"""

import logging
import os
import re
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import ray
from ray.exceptions import RayActorError, RayTaskError, WorkerCrashedError

from aepipe import versions as installed
from aepipe.batch.score_settings import ClusterSettings, MachineSettings, ScoreSettings
from aepipe.bundles.bundle import Bundle
from aepipe.engines import local
from aepipe.engines.fleet import Fleet, Task, split_partitions
from aepipe.errors import AepipeError, ClusterUnavailable, first_line
from aepipe.progress import Progress
from aepipe.storage import PartitionResult
from aepipe.tables.partitions import Partition

log = logging.getLogger(__name__)

Request = TypeVar("Request")
Answer = TypeVar("Answer")

_CONNECT_S = 10.0
_CHECKED = ("aepipe", "onnxruntime", "onnxruntime-gpu")
"""Packages whose versions workers share with the driver."""


class _Scorer:
    """Actor that scores one partition, or one piece of a partition, at a time."""

    def __init__(self, bundle: Bundle, machine: MachineSettings, versions: dict[str, str]) -> None:
        here = installed.versions(_CHECKED)
        if here != versions:
            raise ClusterUnavailable(
                f"node {socket.gethostname()} has other packages: expected {versions}, got {here}. "
                "Install the same versions on every node."
            )
        self._engine = local.LocalEngine(bundle, machine)

    def score(self, partition: Partition, settings: ScoreSettings) -> list[PartitionResult]:
        """Score and commit a partition; one that is committed already is not written again."""
        return self._engine.run([partition], settings)

    def process(self) -> int:
        """Return the process number of the worker."""
        return os.getpid()


@dataclass(frozen=True, slots=True)
class _Slot:
    """Place on the cluster for one task at a time."""

    actor: Any
    bundle: Any
    """Reference to the bundle: an actor that is started again needs it in the object store."""

    def submit(self, partition: Partition, settings: ScoreSettings) -> Any:
        return self.actor.score.remote(partition, settings)


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
        most = 1 if settings.adaptive else machine.workers or _fitting(cluster)
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
        _fitting(cluster)
        task = ray.remote(call).options(
            num_cpus=cluster.num_cpus, num_gpus=cluster.num_gpus, max_retries=cluster.max_task_retries
        )
        places = {task.remote(request): index for index, request in enumerate(requests)}
        answers: list[Answer | None] = [None] * len(requests)
        waiting = list(places)
        try:
            while waiting:
                (reference,), waiting = ray.wait(waiting, num_returns=1)
                try:
                    answers[places[reference]] = ray.get(reference)
                except RayTaskError as error:
                    raise error.cause from error
                except WorkerCrashedError as error:
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
        done, _ = ray.wait(list(running), num_returns=1)
        for reference in done:
            task, slot = running.pop(reference)
            try:
                fleet.complete(task, partial(_collect, reference))
                idle.append(slot)
            except RayActorError as error:  # its node is gone, or it died more often than it may be restarted
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


def _collect(reference: Any) -> list[PartitionResult]:
    """Return the result of a task, or raise the error that the worker raised."""
    try:
        found: list[PartitionResult] = ray.get(reference)
    except RayTaskError as error:
        raise error.cause from error
    return found


def _open_slots(bundle: Bundle, machine: MachineSettings, cluster: ClusterSettings, *, most: int) -> list[_Slot]:
    """Start the actors and check that each has opened the bundle."""
    actor = ray.remote(_Scorer).options(
        num_cpus=cluster.num_cpus,
        num_gpus=cluster.num_gpus,
        max_restarts=cluster.max_restarts,
        max_task_retries=cluster.max_task_retries,
    )
    reference, versions = ray.put(bundle), installed.versions(_CHECKED)
    settings = local.MachineSettings(
        device=machine.device,
        workers=max(1, int(cluster.num_cpus)),
        batch_rows=machine.batch_rows,
        memory_mb=machine.memory_mb,
        gpu_memory_mb=machine.gpu_memory_mb,
    )
    slots = [_Slot(actor.remote(reference, settings, versions), reference) for _ in range(min(most, _fitting(cluster)))]
    try:
        ray.get([slot.actor.process.remote() for slot in slots])
    except RayActorError as error:
        for slot in slots:
            ray.kill(slot.actor, no_restart=True)
        raise _not_started(error) from error
    return slots


def _not_started(error: RayActorError) -> AepipeError:
    """Return the error of a worker, or one sentence about a worker that cannot import what it needs."""
    cause = error.__cause__ or getattr(error, "cause", None)
    if isinstance(cause, AepipeError):
        return cause
    text = f"{cause or ''} {error}"
    if missing := re.search(r"No module named '([\w.]+)'", text):
        return ClusterUnavailable(
            f"a worker of the Ray cluster lacks the module {missing[1]}. Install the same packages on every node."
        )
    return ClusterUnavailable(f"a worker did not start: {first_line(cause or error)}. Check the logs of the cluster.")


def _fitting(cluster: ClusterSettings) -> int:
    """Return how many workers the cluster can hold. Raise ClusterUnavailable if no node can hold one."""
    wanted = {"CPU": cluster.num_cpus, "GPU": cluster.num_gpus}
    known: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    nodes = [node["Resources"] for node in known if node["Alive"]]
    fitting = 0
    for node in nodes:
        room = [node.get(name, 0.0) / count for name, count in wanted.items() if count]
        fitting += int(min(room, default=1))
    if not fitting:
        most = {name: max((node.get(name, 0.0) for node in nodes), default=0.0) for name in wanted}
        raise ClusterUnavailable(
            f"no node has the resources of a worker: expected {cluster.num_cpus:g} CPUs and {cluster.num_gpus:g} GPUs, "
            f"got at most {most['CPU']:g} and {most['GPU']:g}. Change num_cpus or num_gpus under [run.ray]."
        )
    return fitting


@contextmanager
def connected(cluster: ClusterSettings) -> Iterator[None]:
    """Connect to the cluster, or start Ray on this machine if no address is given; keep a connection that exists."""
    if ray.is_initialized():
        yield
        return
    address = cluster.address or os.environ.get("RAY_ADDRESS")
    if address not in (None, "auto", "local"):
        _refuse_unreachable(str(address))
    try:
        ray.init(address=address, log_to_driver=False, include_dashboard=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises bare ones too, such as for a node that does not start in time
        where = address or "on this machine"
        if len(versions := re.findall(r"(Ray|Python): (\S+)", str(error))) >= 4:
            (_, ray_there), (_, python_there), (_, ray_here), (_, python_here) = versions[:4]
            raise ClusterUnavailable(
                f"the Ray cluster at {where} has other versions: expected Ray {ray_here} and Python {python_here}, got "
                f"Ray {ray_there} and Python {python_there}. Install the same versions on every node."
            ) from error
        reason = first_line(error).rstrip(".")
        raise ClusterUnavailable(f"Ray {where} cannot be used: {reason}. Check [run.ray] address.") from error
    try:
        yield
    finally:
        ray.shutdown()


def _refuse_unreachable(address: str) -> None:
    """Raise ClusterUnavailable if nothing accepts connections at an address within 10 seconds."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()
    except ValueError:
        raise ClusterUnavailable(
            f"the address of the Ray cluster is invalid: expected host:port, got {address}. Change [run.ray] address."
        ) from None
    except OSError as error:
        raise ClusterUnavailable(
            f"the Ray cluster at {address} does not answer: {error.strerror or error}. "
            "Check [run.ray] address, and that the cluster runs."
        ) from None
