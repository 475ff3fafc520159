"""Score a night from Parquet to Parquet: aepipe, common scripts, and lower bounds of the machine.

python -m benchmarks.throughput [--quick]; `pip install "ray[data]<2.64" pyod` too, or their rows are left
out. Tables of some GB are made once, in --folder.
"""

import argparse
import importlib.util
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks import command
from benchmarks.page import put_into
from benchmarks.store import Result, Store, key_of
from benchmarks.throughput_contenders import CONTENDERS, OURS, PYOD, RAY, on
from benchmarks.throughput_costs import COSTS
from benchmarks.throughput_floors import FLOORS
from benchmarks.throughput_report import MEMORY_ROWS, START, Ran, section
from benchmarks.throughput_tables import KINDS, LAYOUTS, PARTS, PLAIN, Night, ready

NAME, NUMBERS = "throughput", "numbers"
ALIKE = {OURS, *FLOORS, *COSTS}
NEEDS = {RAY: "ray", PYOD: "pyod"}
QUICK_SHARE = 20
_ROOT = Path(__file__).parents[1]
_STARTS = 5
_LIMIT_S = 600


class Task(NamedTuple):
    """Work of one process."""

    who: str
    night: Night

    @property
    def ran(self) -> Ran:
        return Ran(self.night.kind.name, self.night.layout, self.night.rows, self.who)


def contenders(kind: str) -> list[str]:
    """Return the installed contenders that can score this kind of table."""
    known = [*FLOORS, *on(kind), *COSTS]
    return [who for who in known if importlib.util.find_spec(NEEDS.get(who, "aepipe")) is not None]


def perform(task: Task) -> dict[str, float]:
    """Run a task in a process of its own and return what it measured.

    Raises:
        RuntimeError: The process failed; the message has its last output.
    """
    night = task.night
    # A peer keeps Arrow's default allocator.
    words = [task.who, night.kind.name, night.layout, str(night.rows), str(night.folder)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.throughput_run", *words],
        capture_output=True,
        text=True,
        cwd=_ROOT,
        env={**os.environ, **({} if task.who in ALIKE else {"ARROW_DEFAULT_MEMORY_POOL": "mimalloc"})},
        timeout=_LIMIT_S,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{task.who} on {night.kind.name}: {done.stderr.strip().splitlines()[-1:]}")
    said: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return said


def starts(folder: Path) -> dict[str, float]:
    """Return CPU seconds of `aepipe --help` and of `aepipe score` on a partition of 1,000 rows; medians of five."""
    aepipe = str(Path(sys.executable).with_name("aepipe"))
    night = Night(KINDS[NUMBERS], PLAIN, 1_000, folder)
    ready(night)
    helped = [_cpu_s([aepipe, "--help"]) for _ in range(_STARTS)]
    scored = []
    for _ in range(_STARTS):
        shutil.rmtree(night.out, ignore_errors=True)
        scored.append(_cpu_s([aepipe, "score", str(night.job_path)]))
    return {"help_s": statistics.median(helped), "score_s": statistics.median(scored)}


def _cpu_s(words: Sequence[str]) -> float:
    """Return the CPU seconds of a command that runs in a process of its own and must succeed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(words, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def tasks(asked: argparse.Namespace) -> Iterator[Task]:
    """Yield all tasks of one round, interleaved."""
    meant = command.chosen([*FLOORS, *CONTENDERS, *COSTS], asked.only)
    for kind in command.chosen(KINDS, asked.kinds):
        for layout in LAYOUTS if kind == NUMBERS else (PARTS,):
            night = Night(KINDS[kind], layout, KINDS[kind].rows // _share(asked), asked.folder)
            yield from (Task(who, night) for who in contenders(kind) if who in meant)


def memory_tasks(asked: argparse.Namespace) -> list[Task]:
    """Return tasks that measure the memory of aepipe on few and on many rows."""
    sizes = [rows // _share(asked) for rows in MEMORY_ROWS]
    nights = [Night(KINDS[NUMBERS], layout, rows, asked.folder) for layout in (PARTS, PLAIN) for rows in sizes]
    return [Task(OURS, night) for night in nights]


def measure(asked: argparse.Namespace, store: Store) -> None:
    """Run all contenders on all nights, interleaved, as often as asked, then measure memory and start."""
    # What is added is measured by medians of its own.
    known, done = list(tasks(asked)), store.read()
    rounds = [(0, [task for task in known if task.who in COSTS])]
    rounds += [(number, [task for task in known if task.who not in COSTS]) for number in range(asked.seeds)]
    if asked.only is None:
        rounds.append((0, memory_tasks(asked)))
    for number, round_ in rounds:
        for task in round_:
            if f"{_key(task)}/{number}" in done and not asked.fresh:
                continue
            ready(task.night)
            try:
                values = perform(task)
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                print(f"{task.ran.title} failed: {error}", flush=True)
                continue
            store.add(task.ran.experiment, number, _key(task), values)
            measured_values = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
            print(f"{task.ran.title}, round {number}: {measured_values}", flush=True)
    if asked.only is None:
        store.add(START, 0, key_of({"what": START}), starts(asked.folder))


def _share(asked: argparse.Namespace) -> int:
    """Return the factor by which tables are shortened: one row of this number is kept."""
    return QUICK_SHARE if asked.quick else 1


def _key(task: Task) -> str:
    return key_of({**task.ran._asdict(), "sections": task.night.kind.sections})


def main() -> None:
    """Measure, print, and put the tables into the page."""
    parser = command.parser(NAME, (__doc__ or "").split("\n")[0])
    parser.add_argument("--folder", type=Path, default=command.RESULTS / NAME, help="where the tables are kept")
    parser.add_argument("--kinds", nargs="+", metavar="NAME", help=f"of {', '.join(KINDS)}")
    asked = parser.parse_args()
    asked.folder = asked.folder.resolve()
    if asked.list:
        print("\n".join([*FLOORS, *CONTENDERS, *COSTS]))
        return
    if asked.quick:
        asked.results, asked.seeds = asked.results / "quick", 1
    asked.folder.mkdir(parents=True, exist_ok=True)
    store = Store(asked.results, NAME)
    if not asked.report:
        measure(asked, store)
    results: list[Result] = list(store.read().values())
    text = section(results, share=_share(asked))
    print(text)
    if not (asked.quick or asked.no_page):
        put_into(command.PAGE, text, name=NAME)


if __name__ == "__main__":
    main()
