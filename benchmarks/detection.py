"""Compare anomaly scores with PyOD's on tables with known anomalies; write docs/benchmarks.md.

python -m benchmarks.detection --quick               # minutes; the tables are printed, nothing is written
python -m benchmarks.detection                       # hours; what is done already is not done again
python -m benchmarks.detection --only 'ours*'        # some detectors; --list names them
python -m benchmarks.detection --only clean/*/29_Pima  # or protocol/detector/table
python -m benchmarks.detection --report              # the page of what was measured, nothing is run
"""

import os

# Before numpy and torch are imported: one thread a detector, so that CPU seconds compare.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks import command, detection_baselines, detection_ours, detection_peers, detection_speed
from benchmarks.detection_detectors import Detector, measured, warm_up
from benchmarks.detection_figures import SPEED, Measured
from benchmarks.detection_report import section
from benchmarks.detection_tables import PATH_VARIABLE, PROTOCOLS, Table, at_most, data_path, load, names
from benchmarks.page import put_into
from benchmarks.store import Result, Store, Values, key_of

NAME = "detection"


class Scale(NamedTuple):
    """Size of a run."""

    name: str
    most_rows: int
    """rows per table"""
    speed_rows: int
    tables: int | None
    """number of the smallest tables; None for all"""


FULL = Scale("full", 10_000, 100_000, None)
QUICK = Scale("quick", 500, 5_000, 3)


class Case(NamedTuple):
    """One detector on one table, by one protocol."""

    protocol: str
    detector: str
    table: str

    @property
    def name(self) -> str:
        """Return the name used in results and by --only."""
        return "/".join(self)


class Task(NamedTuple):
    """A case with one seed, as it is sent to a process."""

    case: Case
    seed: int
    scale: Scale
    data: Path

    @property
    def title(self) -> str:
        return f"{self.case.name}, seed {self.seed}"


def main(words: Sequence[str] | None = None) -> int:
    """Run what is missing, print the tables; the number of cases that failed."""
    asked = _parser().parse_args(words)
    if asked.list:
        print("\n".join([*detectors(), SPEED]))
        return 0
    scale = QUICK if asked.quick else FULL
    store = Store(asked.results, NAME)
    cases = list(_cases(scale, asked.data))
    failed = 0 if asked.report else _run(list(_tasks(cases, scale, asked, store)), store, workers=asked.workers)
    found = _found(cases, scale, store)
    text = section(found, most_rows=scale.most_rows)
    print(text)
    if scale.name == "full" and not asked.no_page:
        put_into(command.PAGE, text, name=NAME)
    return failed


def detectors() -> dict[str, Detector]:
    """Return all detectors by name in the order in which they run: fast ones first, aepipe last."""
    made = [*detection_baselines.detectors(), *detection_peers.detectors(), *detection_ours.detectors()]
    return {each.name: each for each in made}


def key(case: Case, scale: Scale) -> str:
    """Return the key of a result in the store."""
    if case.protocol == SPEED:
        return key_of({"case": case, "rows": scale.speed_rows, **detection_speed.CONFIGURATION})
    detector = detectors()[case.detector]
    return key_of({"case": case, "rows": _rows_of(detector, scale), **detector.configurations[case.protocol]})


def perform(task: Task) -> Values:
    """Fit, score and measure, in this process."""
    torch.set_num_threads(1)
    protocol, name, table = task.case
    if protocol == SPEED:
        return detection_speed.measured(_some(task.data, table, task.scale.speed_rows, task.seed).rows, task.seed)
    detector = _warm(name)
    some = _some(task.data, table, _rows_of(detector, task.scale), task.seed)
    return measured(detector, PROTOCOLS[protocol](some, task.seed), task.seed)


def _rows_of(detector: Detector, scale: Scale) -> int:
    """Return how many rows of a table a detector is measured on at most."""
    return scale.most_rows if detector.most_rows is None else min(scale.most_rows, detector.most_rows)


@functools.cache
def _some(data: Path, name: str, most: int, seed: int) -> Table:
    """Read some rows of a table, once in a process: a table of 600,000 rows takes longer to read than to score."""
    return at_most(load(data, name), most, seed=seed)


@functools.cache
def _warm(name: str) -> Detector:
    """Return the detector of that name, warmed up once per process."""
    detector = detectors()[name]
    warm_up(detector)
    return detector


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(NAME, (__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--data", type=Path, default=data_path(), help=f"folder of ADBench's npz files; or {PATH_VARIABLE}"
    )
    return parser


def _cases(scale: Scale, data: Path) -> Iterator[Case]:
    """Yield all cases in the order in which they run."""
    known = names(data)
    by_size = sorted(known, key=lambda name: (data / f"{name}.npz").stat().st_size)
    tables = known if scale.tables is None else by_size[: scale.tables]
    for protocol in PROTOCOLS:
        for detector in detectors():
            yield from (Case(protocol, detector, table) for table in tables)
    yield from (Case(SPEED, SPEED, table) for table in known if table in detection_speed.TABLES)


def _tasks(cases: Sequence[Case], scale: Scale, asked: argparse.Namespace, store: Store) -> Iterator[Task]:
    """Yield the tasks without a result, seed by seed; skip detectors whose packages are missing and print them."""
    done = set() if asked.fresh else set(store.read())
    meant = command.chosen([*{case.detector: 0 for case in cases}, *(case.name for case in cases)], asked.only)
    lacking = {name: detector.lacks for name, detector in detectors().items() if detector.lacks is not None}
    if lacking:
        lacking[SPEED] = detection_peers.MISSING
        print("\n".join(sorted(set(lacking.values()))), flush=True)
    for seed in range(1 if scale.name == "quick" else asked.seeds):
        for case in cases:
            is_meant = (case.name in meant or case.detector in meant) and case.detector not in lacking
            is_needed = seed == 0 or case.protocol != SPEED
            if is_meant and is_needed and f"{key(case, scale)}/{seed}" not in done:
                yield Task(case, seed, scale, asked.data)


def _run(tasks: Sequence[Task], store: Store, *, workers: int) -> int:
    """Run all tasks, those that measure speed last and one by one; return the number of failures."""

    def note(task: Task, values: Values) -> None:
        store.add(task.case.name, task.seed, key(task.case, task.scale), values)

    together = [task for task in tasks if task.case.protocol != SPEED]
    alone = [task for task in tasks if task.case.protocol == SPEED]
    failed = command.in_processes(perform, together, note, workers=workers)
    return failed + command.in_processes(perform, alone, note, workers=1)


def _found(cases: Sequence[Case], scale: Scale, store: Store) -> dict[Measured, Result]:
    """Return the stored results of the cases as they are configured now."""
    known = {key(case, scale): case for case in cases}
    results = [result for result in store.read().values() if result.key in known]
    return {Measured(*known[result.key], result.seed): result for result in results}


if __name__ == "__main__":
    raise SystemExit(main())
