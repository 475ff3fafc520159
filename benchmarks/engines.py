"""The same nights through every engine: overhead per run and per partition, and time relative to `local`.

python -m benchmarks.engines --turns 3; `ray` is left out where it is not installed. The engines take turns, and figures
are medians. The cluster of Ray is up before the clock starts; its workers start within the run, as for `processes`.
CPU seconds count for this process and all processes below it; other work on the machine does not count.
"""

import argparse
import importlib.util
import os
import platform
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import date
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from aepipe.batch.score_settings import ClusterSettings, MachineSettings, ScoreSettings
from aepipe.bundles.bundle import Bundle
from aepipe.engines.engine import find_engine
from aepipe.jobs.train.train import train
from aepipe.tables.partitions import Partition

MANY, ROWS_OF_MANY = 200, 100
FEW, ROWS_OF_FEW = 8, 250_000
COLUMNS = 16
_TICKS = os.sysconf("SC_CLK_TCK")


class Cost(NamedTuple):
    """Seconds of one call."""

    wall: float
    cpu: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table of docs/scaling.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--turns", type=int, default=3, help="runs of each engine; default: %(default)s")
    parser.add_argument("--rows", type=int, default=ROWS_OF_FEW, help="rows of a night; default: %(default)s")
    options = parser.parse_args(arguments)
    names = ["local", "processes", *(["ray"] if importlib.util.find_spec("ray") else [])]
    print(f"Machine: {os.cpu_count()} cores, {platform.machine()}; {date.today():%Y-%m-%d}.\n")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        few, many = _write(folder / "few", FEW, options.rows), _write(folder / "many", MANY, ROWS_OF_MANY)
        bundle = _bundle(folder, few)
        nights = {"start": many[:1], "many": many, "few": few}
        costs: dict[tuple[str, str], list[Cost]] = {(name, night): [] for name in names for night in nights}
        for _ in range(options.turns):
            for name in names:
                with _cluster() if name == "ray" else nullcontext():
                    for night, partitions in nights.items():
                        costs[name, night].append(_cost(partial(_score, name, bundle, partitions, folder / "out")))
                        shutil.rmtree(folder / "out")
    medians = {key: Cost(*map(median, zip(*found, strict=True))) for key, found in costs.items()}
    _print_table(names, medians, options.rows)


def _print_table(names: Sequence[str], costs: dict[tuple[str, str], Cost], rows: int) -> None:
    night = f"{FEW} x {rows:,} rows"
    print(
        f"| engine | one partition, s | ms per partition of {ROWS_OF_MANY} rows (CPU) | {night}, s (CPU) | "
        "times local (CPU) |"
    )
    print("|---|---|---|---|---|")
    base = costs["local", "few"]
    for name in names:
        start, many, few = (costs[name, night] for night in ("start", "many", "few"))
        each = Cost(*(1000 * (whole - one) / (MANY - 1) for whole, one in zip(many, start, strict=True)))
        print(
            f"| {name} | {start.wall:.2f} | {each.wall:.1f} ({each.cpu:.1f}) | {few.wall:.2f} ({few.cpu:.2f}) | "
            f"{few.wall / base.wall:.2f} ({few.cpu / base.cpu:.2f}) |"
        )


def _write(folder: Path, count: int, rows: int) -> list[Partition]:
    generator = np.random.default_rng(0)
    found = []
    for index in range(count):
        path = folder / f"part={index:04d}" / "part-0.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(pa.table({f"x{c}": generator.normal(size=rows) for c in range(COLUMNS)}), path)
        found.append(Partition(path.parent.name, (path,)))
    return found


def _bundle(folder: Path, partitions: Sequence[Partition]) -> Bundle:
    job = folder / "job.toml"
    job.write_text(
        f'name = "engines"\n[data]\npath = "few"\n[model]\nfamily = "ae"\n[train]\nto = "{partitions[0].name}"\n'
        "epochs = 1\nmax_rows = 20000\n"
    )
    return Bundle.open(train(job).bundle)


@contextmanager
def _cluster() -> Iterator[None]:
    """Keep a cluster of Ray on this machine."""
    from aepipe.engines.ray_connection import connected

    with connected(ClusterSettings()):
        yield


def _score(engine: str, bundle: Bundle, partitions: Sequence[Partition], out: Path) -> None:
    results = find_engine(engine)(bundle, partitions, ScoreSettings(out), MachineSettings(device="cpu"))
    assert all(result.status == "written" for result in results)


def _cost(call: Callable[[], None]) -> Cost:
    """Return the seconds of a call; a thread looks at all processes, as workers may end before the call does."""
    seen, is_over = dict(_seconds_by_process()), threading.Event()
    before = sum(seen.values())

    def watch() -> None:
        while not is_over.wait(0.5):
            seen.update(_seconds_by_process())

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    try:
        call()
    finally:
        wall = time.perf_counter() - began
        is_over.set()
        watcher.join()
    seen.update(_seconds_by_process())
    return Cost(wall, sum(seen.values()) - before)


def _seconds_by_process() -> Iterator[tuple[int, float]]:
    """Yield number and CPU seconds of this process and of each one below it."""
    parents, seconds = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        pid = int(path.parent.name)
        parents[pid], seconds[pid] = int(fields[1]), (int(fields[11]) + int(fields[12])) / _TICKS
    here = os.getpid()
    for pid in seconds:
        above = pid
        while above not in (0, here):
            above = parents.get(above, 0)
        if above == here:
            yield pid, seconds[pid]


if __name__ == "__main__":
    main()
