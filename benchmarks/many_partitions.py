"""Driver time and memory per partition of a run with 10,000 partitions, whose scorer is a stub.

python -m benchmarks.many_partitions
"""

import os
import platform
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq

from aepipe.batch.score_settings import ScoreSettings
from aepipe.config.job import parse_job
from aepipe.engines import local
from aepipe.engines.fleet import Fleet
from aepipe.engines.scheduler import PartitionScheduler
from aepipe.storage import PartitionResult
from aepipe.tables.partitions import Partition, discover

PARTITIONS = 10_000


def main() -> None:
    """Print the table of docs/scaling.md."""
    print(f"Machine: {os.cpu_count()} cores, {platform.machine()}; {date.today():%Y-%m-%d}.\n")
    print("| step | ms per partition | KB per partition |")
    print("|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        partitions = _write(Path(temporary))
        job = parse_job({"name": "t", "data": {"path": temporary}}, source=Path(temporary, "job.toml"))
        settings = ScoreSettings(Path(temporary, "out"))
        steps: dict[str, Callable[[], object]] = {
            "list the partitions": partial(discover, job),
            "local: schedule and collect": partial(run_threads, partitions, settings),
            "processes and ray: collect": partial(run_fleet, partitions, settings),
        }
        for name, step in steps.items():
            milliseconds, kilobytes = _cost(step)
            print(f"| {name} | {milliseconds:.3f} | {kilobytes:.2f} |")


def run_threads(partitions: list[Partition], settings: ScoreSettings) -> list[PartitionResult]:
    """Score the partitions on one thread by a stub."""
    scheduler = PartitionScheduler([partition.name for partition in partitions], None)
    stub = {"bundle": None, "workers": 1, "memory_mb": None, "runner": lambda self, worker: None}
    pool: Any = type("Pool", (), stub)()
    with patch.object(local, "score_task", _stub):
        local._work(pool, scheduler, partitions, settings, 0)
    return scheduler.results()


def run_fleet(partitions: list[Partition], settings: ScoreSettings) -> list[PartitionResult]:
    """Collect the results of other processes, which come at once."""
    fleet = Fleet(partitions, settings, lambda name, share: None)
    while (task := fleet.take()) is not None:
        fleet.complete(task, lambda index=task.index: [_stub(None, partitions[index])])  # type: ignore[misc]
    return fleet.results()


def _stub(_: object, partition: Partition, *__: object, **___: object) -> PartitionResult:
    return PartitionResult(partition=partition.name, status="written")


def _write(folder: Path) -> list[Partition]:
    found = []
    for index in range(PARTITIONS):
        path = folder / f"part={index:05d}" / "part-0.parquet"
        path.parent.mkdir()
        found.append(Partition(path.parent.name, (path,)))
    pq.write_table(pa.table({"x": [1.0]}), found[0].files[0])
    for partition in found[1:]:
        os.link(found[0].files[0], partition.files[0])
    return found


def _cost(step: Callable[[], object]) -> tuple[float, float]:
    """Return milliseconds of CPU, and kilobytes at the peak, per partition."""
    began = time.process_time()
    step()
    seconds = time.process_time() - began
    tracemalloc.start()
    step()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return 1000 * seconds / PARTITIONS, peak / 1000 / PARTITIONS


if __name__ == "__main__":
    main()
