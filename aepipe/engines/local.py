"""Many partitions on one machine: one a worker, and workers that are left without help with those of others."""

import logging
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal

from aepipe.batch.partition_scorer import PartitionResult, ScoreSpec, Scoring, score_partition
from aepipe.bundles.bundle import Bundle
from aepipe.engines.scheduler import PartitionScheduler
from aepipe.errors import Busy, DataUnreadable, PartitionInvalid, SchemaMismatch, TooManyInvalid
from aepipe.inference.batch_runner import Runner
from aepipe.inference.golden_check import check_golden
from aepipe.inference.memory_budget import batch_rows, default_memory_mb, partitions_at_once
from aepipe.inference.session import Session, usable_device
from aepipe.progress import Progress
from aepipe.storage import Outputs
from aepipe.tables.arrow_memory import keep_freed_memory
from aepipe.tables.parquet_reader import read_footer

__all__ = ["PartitionResult", "Progress", "ScoreSpec", "run"]

log = logging.getLogger(__name__)

_ON_A_GPU = 2


def run(bundle: Bundle, specs: Sequence[ScoreSpec], *, progress: Progress | None = None) -> list[PartitionResult]:
    """What became of each partition, in order. One that cannot be scored is quarantined, and the others go on.

    The machine is used as the first of the specs says.
    Raises DeviceUnavailable and BundleCorrupt before any partition is begun, and Busy when all others are done.
    """
    if not specs:
        return []
    crew = _Crew(bundle, specs[0])
    names = [spec.partition.name for spec in specs]
    board = PartitionScheduler(
        names, progress, in_turn=specs[0].adaptive, at_once=_at_once(bundle, specs, crew.workers)
    )
    with ThreadPoolExecutor(crew.workers, thread_name_prefix="aepipe") as threads:
        try:
            for future in [threads.submit(_work, crew, board, specs) for _ in range(crew.workers)]:
                future.result()
        except BaseException as error:  # an interrupt too
            board.stop(error)
            raise
    return board.results()


class _Crew:
    """What the workers of one run share: a bundle that was checked, and a session each, or two on a GPU for all."""

    def __init__(self, bundle: Bundle, spec: ScoreSpec) -> None:
        keep_freed_memory()
        self.bundle = bundle
        self.workers = spec.workers or _cores()
        self._device, _ = usable_device(spec.device)
        self._batch_rows = batch_rows(bundle.encoding.layout, asked=spec.batch_rows, device=self._device)
        self._gpu_memory_mb = spec.gpu_memory_mb
        self._first = self._make_runner()
        self._shared = self._open_shared(sessions_to_share(self._device, workers=self.workers))
        self._handed = 0
        self._handing = threading.Lock()
        check_golden(bundle, self._first)

    def runner(self) -> Runner[Session]:
        """For one worker; on a GPU others have the same."""
        with self._handing:
            self._handed += 1
            if self._shared:
                return self._shared[self._handed % len(self._shared)]
            if self._handed == 1:
                return self._first
        return self._make_runner()

    def _open_shared(self, most: int) -> list[Runner[Session]]:
        """So many sessions, or as many as can be had."""
        shared = [self._first] if most else []
        try:
            while len(shared) < most:
                shared.append(self._make_runner())
        except Exception as error:  # the memory of a GPU that others use too
            log.warning("%d sessions share the work, for the next could not be opened: %s", len(shared), error)
        return shared

    def _make_runner(self) -> Runner[Session]:
        onnx, _ = self.bundle.part("scorer")
        make = partial(Session, onnx, device=self._device, gpu_memory_mb=self._gpu_memory_mb)
        return Runner(make, batch_rows=self._batch_rows, padded=self._device == "cuda")


def sessions_to_share(device: Literal["cpu", "cuda"], *, workers: int) -> int:
    """How many sessions so many workers share on a GPU, where one copies while one computes; 0: each has its own.

    >>> [sessions_to_share("cuda", workers=workers) for workers in (1, 16)], sessions_to_share("cpu", workers=16)
    ([1, 2], 0)
    """
    return 0 if device == "cpu" else min(workers, _ON_A_GPU)


def _at_once(bundle: Bundle, specs: Sequence[ScoreSpec], workers: int) -> int:
    """How many partitions may be read at a time, if all are as the largest file is."""
    largest = max((file for spec in specs for file in spec.partition.files), key=_size, default=None)
    try:
        footer = None if largest is None else read_footer(largest, bundle.encoding.columns_read)
    except DataUnreadable:  # what is wrong with it is said when its turn comes
        footer = None
    if footer is None:
        return workers
    memory_mb = specs[0].memory_mb or default_memory_mb(workers)
    at_once = partitions_at_once(footer.open_bytes, memory_mb=memory_mb, workers=workers)
    if at_once < min(workers, len(specs)):
        needed = footer.open_bytes >> 20
        log.info("%d partitions are read at a time: one takes %d MB, and memory_mb is %d", at_once, needed, memory_mb)
    return at_once


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _work(crew: _Crew, board: PartitionScheduler, specs: Sequence[ScoreSpec]) -> None:
    """What a worker does until nothing is left."""
    try:
        runner = crew.runner()
        while (task := board.take()) is not None:
            if isinstance(task, Scoring):
                task.help(runner)
            else:
                _score(crew, board, runner, task, specs[task])
    except BaseException as error:
        board.stop(error)
        raise


def _enter(board: PartitionScheduler, index: int, runner: Runner[Session], wait: bool) -> bool:
    """Whether there is room to read a partition; asked to wait, helps with others until there is."""
    if not wait:
        return board.enters(index)
    while (other := board.enter(index)) is not None:
        other.help(runner)
    return True


def _score(crew: _Crew, board: PartitionScheduler, runner: Runner[Session], index: int, spec: ScoreSpec) -> None:
    """Scores a partition of one's own and puts its result on the board."""
    name, files = spec.partition
    try:
        progress = partial(board.advance, index)
        result = score_partition(
            crew.bundle,
            spec,
            runner,
            workers=crew.workers,
            enter=partial(_enter, board, index, runner),
            announce=partial(board.announce, index),
            progress=progress,
            check=board.check,
        )
    except (DataUnreadable, SchemaMismatch, TooManyInvalid) as error:
        Outputs(spec.out).quarantine(name, str(error), files)
        result = PartitionResult(name, "quarantined", reason=str(error))
    except PartitionInvalid as error:  # no note can have such a name
        log.warning("%s", error)
        result = PartitionResult(name, "quarantined", reason=str(error))
    except Busy as error:
        board.fail(index, error)
        return
    log.info("%s is %s", name, result.status)
    board.end(index, result)
