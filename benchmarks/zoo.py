"""Train every family of aepipe, and pythae's five, on Fashion-MNIST, measure them, and write docs/benchmarks.md.

python -m benchmarks.zoo --quick                 # minutes; the tables are printed, nothing is written
python -m benchmarks.zoo --workers 2             # hours; what is done already is not done again
python -m benchmarks.zoo --only vae 'pythae-*'   # some experiments; --list names them
python -m benchmarks.zoo --report                # the page of what was measured, nothing is run
"""

import os

# Before numpy and torch are imported: one thread a model, so that CPU seconds compare.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import fnmatch
import multiprocessing
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import NamedTuple

from benchmarks import fashion
from benchmarks.zoo_experiments import FAILED_LOOKS, Experiment, experiments
from benchmarks.zoo_report import put_into, section
from benchmarks.zoo_store import Result, Store, key_of
from benchmarks.zoo_world import FULL, QUICK, Scale, world

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
RESULTS = Path(__file__).parent / ".results"


class Task(NamedTuple):
    """One experiment with one seed, as it travels to a process."""

    experiment: str
    seed: int
    scale: Scale
    data: Path
    folder: Path

    @property
    def title(self) -> str:
        return f"{self.experiment}, seed {self.seed}"


def main(words: Sequence[str] | None = None) -> int:
    """Run what is missing, print the tables; the number of experiments that failed."""
    asked = _parser().parse_args(words)
    scale = QUICK if asked.quick else FULL
    known = experiments()
    if asked.list:
        print("\n".join(known))
        return 0
    store = Store(asked.results)
    failed = 0
    if not asked.report:
        tasks = list(_tasks(_chosen(known, asked.only), scale, asked))
        failed = _run(tasks, store, workers=asked.workers)
    text = section(_results(known, scale, store), scale)
    print(text)
    if scale.name == "full" and not asked.no_page:
        put_into(PAGE, text)
    return failed


def key(experiment: Experiment, scale: Scale) -> str:
    """What a result of it is kept under."""
    return key_of({"name": experiment.name, **experiment.configuration, "scale": scale._asdict()})


def perform(task: Task) -> Mapping[str, float]:
    """Train and measure, in this process."""
    begun = time.process_time()
    values = experiments()[task.experiment].run(world(task.scale, task.data, task.folder), task.seed)
    return {**values, "whole_cpu_s": time.process_time() - begun}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zoo", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, default=fashion.data_path(), help=f"the npz; or {fashion.PATH_VARIABLE}")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of what was measured")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these experiments; * stands for anything")
    parser.add_argument("--seeds", type=int, default=3, help="how many, for experiments that do not say")
    parser.add_argument("--workers", type=int, default=1, help="processes, of one thread each")
    parser.add_argument("--quick", action="store_true", help="few rows and epochs, one seed; the page stays as it is")
    parser.add_argument("--fresh", action="store_true", help="measure again what was measured already")
    parser.add_argument("--report", action="store_true", help="only make the page of what was measured")
    parser.add_argument("--no-page", action="store_true", help="print the tables only")
    parser.add_argument("--list", action="store_true", help="names of the experiments")
    return parser


def _chosen(known: Mapping[str, Experiment], only: Sequence[str] | None) -> list[Experiment]:
    if only is None:
        return list(known.values())
    nothing = [pattern for pattern in only if not fnmatch.filter(known, pattern)]
    if nothing:
        raise SystemExit(f"no experiment is called {', '.join(nothing)}; there are {', '.join(known)}")
    return [each for each in known.values() if any(fnmatch.fnmatch(each.name, pattern) for pattern in only)]


def _tasks(chosen: Iterable[Experiment], scale: Scale, asked: argparse.Namespace) -> Iterator[Task]:
    """What has no result yet. Experiments that lack something are named and left out."""
    found = {} if asked.fresh else Store(asked.results).read()
    done = {name for name, result in found.items() if not result.values.get(FAILED_LOOKS)}
    for experiment in chosen:
        if (lack := experiment.lacks) is not None:
            print(f"{experiment.name}: {lack}", flush=True)
            continue
        seeds = 1 if scale.name == "quick" else experiment.seeds or asked.seeds
        for seed in range(seeds):
            if f"{key(experiment, scale)}/{seed}" not in done:
                yield Task(experiment.name, seed, scale, asked.data, asked.results)


def _run(tasks: Sequence[Task], store: Store, *, workers: int) -> int:
    """All tasks, those that measure seconds after the others and one by one; how many failed."""
    if not tasks:
        return 0
    known = experiments()
    world(tasks[0].scale, tasks[0].data, tasks[0].folder)  # the judge, once, before processes need it
    together = [task for task in tasks if not known[task.experiment].alone]
    alone = [task for task in tasks if known[task.experiment].alone]
    return _in_processes(together, store, workers) + _in_processes(alone, store, 1)


def _in_processes(tasks: Sequence[Task], store: Store, workers: int) -> int:
    if not tasks:
        return 0
    failed = 0
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        waiting: dict[Future[Mapping[str, float]], Task] = {pool.submit(perform, task): task for task in tasks}
        while waiting:
            finished, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in finished:
                failed += not _noted(future, waiting.pop(future), store, left=len(waiting))
    return failed


def _noted(future: Future[Mapping[str, float]], task: Task, store: Store, *, left: int) -> bool:
    """Write a result down and say so; False where there is none."""
    error = future.exception()
    if error is not None:
        print(f"{task.title} failed: {type(error).__name__}: {error} ({_place(error)})", flush=True)
        return False
    experiment, values = experiments()[task.experiment], future.result()
    store.add(task.experiment, task.seed, key(experiment, task.scale), values)
    numbers = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
    print(f"{task.title} ({left} left): {numbers}", flush=True)
    return True


def _place(error: BaseException) -> str:
    """Where another process raised it: the last line of code that its traceback names."""
    lines = [line.strip() for line in str(error.__cause__ or "").splitlines()]
    return next((line for line in reversed(lines) if line.startswith("File ")), "no traceback")


def _results(known: Mapping[str, Experiment], scale: Scale, store: Store) -> list[Result]:
    """Those of the experiments as they are configured now, in their order."""
    done = store.read()
    keys = {key(experiment, scale): place for place, experiment in enumerate(known.values())}
    mine = [result for result in done.values() if result.key in keys]
    return sorted(mine, key=lambda result: (keys[result.key], result.seed))


if __name__ == "__main__":
    raise SystemExit(main())
