"""Train every family of aepipe, and pythae's five, on Fashion-MNIST, measure them, and write docs/benchmarks.md.

python -m benchmarks.zoo --quick                 # minutes; the tables are printed, nothing is written
python -m benchmarks.zoo --workers 2             # hours; what is done already is not done again
python -m benchmarks.zoo --only vae 'pythae-*'   # some experiments; --list names them
python -m benchmarks.zoo --small                 # seconds a model: families and options that were added later
python -m benchmarks.zoo --report                # the page of what was measured, nothing is run
"""

import os

# Before numpy and torch are imported: one thread a model, so that CPU seconds compare.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks import command, fashion
from benchmarks.page import put_into
from benchmarks.store import Result, Store, Values, key_of
from benchmarks.zoo_experiments import FAILED_LOOKS, SECOND, Experiment, experiments
from benchmarks.zoo_report import second_section, section
from benchmarks.zoo_world import FULL, QUICK, SMALL, Scale, world

NAME = "zoo"


class Task(NamedTuple):
    """One experiment with one seed, as it is sent to a process."""

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
    scale = QUICK if asked.quick else SMALL if asked.small else FULL
    known = experiments()
    if asked.small:
        known = {name: known[name] for name in SECOND}
    if asked.list:
        print("\n".join(known))
        return 0
    store = Store(asked.results, NAME)
    failed = 0
    if not asked.report:
        names = command.chosen(known, asked.only)
        tasks = list(_tasks([each for each in known.values() if each.name in names], scale, asked))
        failed = _run(tasks, store, workers=asked.workers)
    results = _results(known, scale, store)
    text = second_section(results, scale) if asked.small else section(results, scale)
    print(text)
    if scale.name != "quick" and not asked.no_page:
        put_into(command.PAGE, text, name=f"{NAME}-second" if asked.small else NAME)
    return failed


def key(experiment: Experiment, scale: Scale) -> str:
    """Return the key of a result in the store."""
    return key_of({"name": experiment.name, **experiment.configuration, "scale": scale._asdict()})


def perform(task: Task) -> Values:
    """Train and measure, in this process."""
    begun = time.process_time()
    values = experiments()[task.experiment].run(world(task.scale, task.data, task.folder), task.seed)
    return {**values, "whole_cpu_s": time.process_time() - begun}


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(NAME, (__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, default=fashion.data_path(), help=f"the npz; or {fashion.PATH_VARIABLE}")
    parser.add_argument("--small", action="store_true", help="families and options that were added later, one seed")
    return parser


def _tasks(chosen: Iterable[Experiment], scale: Scale, asked: argparse.Namespace) -> Iterator[Task]:
    """Yield the tasks without a result; skip experiments whose packages are missing and print them."""
    found = {} if asked.fresh else Store(asked.results, NAME).read()
    done = {name for name, result in found.items() if not result.values.get(FAILED_LOOKS)}
    for experiment in chosen:
        if (lack := experiment.lacks) is not None:
            print(f"{experiment.name}: {lack}", flush=True)
            continue
        seeds = 1 if scale.name != "full" else experiment.seeds or asked.seeds
        for seed in range(seeds):
            if f"{key(experiment, scale)}/{seed}" not in done:
                yield Task(experiment.name, seed, scale, asked.data, asked.results)


def _run(tasks: Sequence[Task], store: Store, *, workers: int) -> int:
    """Run all tasks and return the number of failures."""
    if not tasks:
        return 0
    known = experiments()
    world(tasks[0].scale, tasks[0].data, tasks[0].folder)  # the classifier, once, before processes need it

    def note(task: Task, values: Values) -> None:
        store.add(task.experiment, task.seed, key(known[task.experiment], task.scale), values)

    return command.in_processes(perform, tasks, note, workers=workers)


def _results(known: Mapping[str, Experiment], scale: Scale, store: Store) -> list[Result]:
    """Return the stored results of the experiments as they are configured now, in their order."""
    done = store.read()
    keys = {key(experiment, scale): place for place, experiment in enumerate(known.values())}
    mine = [result for result in done.values() if result.key in keys]
    return sorted(mine, key=lambda result: (keys[result.key], result.seed))


if __name__ == "__main__":
    raise SystemExit(main())
