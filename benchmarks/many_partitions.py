"""Cost per partition of runs with many: of the driver alone, and of a night of small partitions.

python -m benchmarks.many_partitions: time and memory of the driver with 10,000 partitions, whose scorer is a stub.

python -m benchmarks.many_partitions --night 1000 [--before CHECKOUT] [--turns N]: one call of `score` for a night of
1,000 partitions of 900 rows, in a process of its own; imports are not counted. With --before, another checkout scores
the same night with the same bundle in turn. Figures are medians.
"""

import argparse
import os
import platform
import shutil
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from statistics import median
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
from benchmarks.page import measured, table
from benchmarks.waiting import COLUMNS, SMALL_ROWS, TRAINING_NIGHTS, Step, run_code, write_nights

PARTITIONS = 10_000
_WORKERS = {"1": 1, "all": None}
_TRAIN = "from aepipe.jobs.train.train import train; train('train.toml')"
_SCORE = """
import time
from aepipe.jobs.score import score
cpu, wall = time.process_time(), time.perf_counter()
result = score('score.toml', workers={workers})
print('SECONDS', time.process_time() - cpu, time.perf_counter() - wall)
assert {{each.status for each in result.nights}} == {{'written'}}
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables of docs/scaling.md, or that of a night."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many_partitions", description=__doc__)
    parser.add_argument("--night", type=int, metavar="PARTITIONS", help="score a night of this number of partitions")
    parser.add_argument("--before", type=Path, help="another checkout, which scores the night in turn")
    parser.add_argument("--turns", type=int, default=3, help="runs of each; default: %(default)s")
    options = parser.parse_args(arguments)
    if options.night is None:
        measure_driver()
        return
    here = Path(__file__).parents[1]
    checkouts = {**({"before": options.before.resolve()} if options.before else {}), "now": here}
    with tempfile.TemporaryDirectory() as temporary:
        found = measure_night(Path(temporary), checkouts, partitions=options.night, turns=options.turns)
    print("\n".join(night_lines(found, partitions=options.night)))


def measure_night(
    folder: Path, checkouts: Mapping[str, Path], *, partitions: int, turns: int, rows: int = SMALL_ROWS
) -> dict[tuple[str, str], list[Step]]:
    """Return the seconds of each turn by workers and checkout, per partition."""
    write_nights(folder / "training", nights=TRAINING_NIGHTS, rows=rows)
    write_nights(folder / "night", nights=partitions, rows=rows)
    for job, data in (("train", "training"), ("score", "night")):
        text = f'name = "night"\n[data]\npath = "{data}"\nkeys = ["id"]\nlabels = ["is_faulty"]\n'
        (folder / f"{job}.toml").write_text(f'{text}[train]\nepochs = 3\n[output]\npath = "out"\n')
    run_code(_TRAIN, folder=folder, checkout=next(iter(checkouts.values())))
    found: dict[tuple[str, str], list[Step]] = {}
    for turn in range(turns):
        for workers, count in _WORKERS.items():
            for name, checkout in checkouts.items():
                shutil.rmtree(folder / "out", ignore_errors=True)
                whole = run_code(_SCORE.format(workers=count), folder=folder, checkout=checkout)
                found.setdefault((workers, name), []).append(Step(*(each / partitions for each in whole)))
                print(f"turn {turn}, {workers} workers, {name}: {1e3 * whole.cpu / partitions:.2f}", file=sys.stderr)
    return found


def night_lines(found: Mapping[tuple[str, str], Sequence[Step]], *, partitions: int) -> Iterator[str]:
    """Yield the table of a night: medians, in milliseconds per partition."""
    yield (
        f"{partitions:,} partitions of {SMALL_ROWS} rows and {COLUMNS} columns in one call of `score`, medians of "
        f"{len(next(iter(found.values())))} turns. {measured()}"
    )
    yield ""
    rows = (
        (workers, name, *(f"{1e3 * median(seconds):.1f}" for seconds in zip(*steps, strict=True)))
        for (workers, name), steps in found.items()
    )
    yield from table(("workers", "code", "CPU ms per partition", "wall ms per partition"), rows)


def measure_driver() -> None:
    """Print the cost of the driver with a stub in place of the scorer."""
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
