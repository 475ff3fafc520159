"""Synthetic rows of any table with a target: aepipe, a Gaussian copula, TVAE, TabularARGN and real rows.

python -m benchmarks.synthesis, with AEPIPE_ADULT_DATA naming the census table "adult" as CSV.
python -m benchmarks.synthesis TABLE=TARGET ... --rows 5000, with tables as CSV, Parquet, or npz of ADBench (target: y).

ctgan and mostlyai-engine are no dependencies, the licence of the first forbids that: install them by hand, in
environments of their own if you like, whose Python AEPIPE_SDV_PYTHON and AEPIPE_MOSTLYAI_PYTHON name.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pyarrow.types as pt

from benchmarks import adult, command
from benchmarks.page import origin, put_into, table
from benchmarks.peers import missing, python_of
from benchmarks.store import Result, Store, Values, key_of
from benchmarks.synthesis_makers import MAKERS, OPTIONAL, SPEED_ROWS, Asked, Class
from benchmarks.synthesis_measures import measured, of_class, order_of, variation

NAME = "synthesis"
ROWS = 20_000
MOST_SHARE, MOST_OF_ADULT = 0.5, 0.65
"""Greatest share of a table to learn from."""
CLASS = Class("relationship", "Wife")
"""Class of the census table that is asked for, 4.8 % of its rows."""


class Measure(NamedTuple):
    """A column of the page: its title, and the format of its numbers."""

    title: str
    shown: str


QUALITY = {
    "trees": Measure("two-sample AUROC", ".3f"),
    "logistic": Measure("the same, logistic regression", ".3f"),
    "useful": Measure("usefulness AUROC", ".3f"),
    "shapes": Measure("shapes", ".3f"),
    "trends": Measure("trends", ".3f"),
    "mean": Measure("mean", ".3f"),
    "spread": Measure("spread", ".3f"),
    "q99": Measure("99 %", ".2f"),
    "q999": Measure("99.9 %", ".2f"),
    "rare": Measure("rare shares", ".3f"),
    "dependencies": Measure("dependencies", ".3f"),
    "closer": Measure("closer to training", ".3f"),
}
COSTS = {
    "copies": Measure("exact copies", ".4f"),
    "copies_bound": Measure("upper 99 % bound of the hold-out's copies", ".4f"),
    "constraint": Measure("TV added by a constraint", ".3f"),
    "kept": Measure("draws kept for a class", ".3f"),
    "class_trees": Measure("two-sample AUROC of the class", ".3f"),
    "train_cpu_s": Measure("training, CPU s", ".0f"),
    "rows_a_cpu_s": Measure("rows sampled per CPU second", ",.0f"),
}


class Task(NamedTuple):
    """One maker on one table."""

    maker: str
    path: Path
    target: str
    rows: int
    seed: int
    of_class: Class | None = None
    most: float = MOST_SHARE

    @property
    def title(self) -> str:
        return f"{self.maker} on {self.path.stem}, seed {self.seed}"

    @property
    def experiment(self) -> str:
        """Return the name of its results."""
        return f"{self.path.stem}/{self.rows}/{self.maker}"

    @property
    def key(self) -> str:
        """Return the key of a result in the store."""
        asked = {"maker": self.maker, "table": self.path.stem, "target": self.target, "rows": self.rows}
        return key_of(asked | {"class": self.of_class, "most": self.most, "contract": 3})


def perform(task: Task) -> Values:
    """Train, sample and measure, in this process, on one thread."""
    import torch

    torch.set_num_threads(1)
    pa.set_cpu_count(1)
    every = read(task.path)
    absent = {task.target, *([] if task.of_class is None else [task.of_class.column])} - set(every.column_names)
    if absent:
        known = ", ".join(every.column_names)
        raise SystemExit(f"{task.path} has no column {min(absent)}: expected one of {known}. Name one of them.")
    train, held_out = split(every, task.rows, most=task.most, seed=task.seed)
    asked = Asked(task.of_class, order_of(train))
    made = MAKERS[task.maker](train, asked, task.seed)
    found = dict(measured(train, held_out, made.rows, made.many, target=task.target, seed=task.seed))
    if asked.order is not None and made.ordered is not None:
        found["constraint"] = variation(train, made.rows, made.ordered, asked.order)
    if asked.of_class is not None and made.of_class is not None:
        found |= of_class(asked.of_class.of(held_out), made.of_class, seed=task.seed)
    costs = {"kept": made.kept, "train_cpu_s": made.train_cpu_s, "rows_a_cpu_s": made.rows_a_cpu_s}
    return found | {name: value for name, value in costs.items() if value is not None}


def read(path: Path) -> pa.Table:
    """Return the rows of a CSV, Parquet or npz file, without spaces around texts."""
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            named = {f"x{at}": column for at, column in enumerate(arrays["X"].T)}
            return pa.table({**named, "y": np.where(arrays["y"] == 1, "yes", "no")})
    found = pq.read_table(path) if path.suffix == ".parquet" else pa_csv.read_csv(path)
    names = [name.strip() for name in found.column_names]
    columns = [pc.utf8_trim_whitespace(each) if pt.is_string(each.type) else each for each in found.columns]
    return pa.table(columns, names=names)


def split(rows: pa.Table, train_rows: int, *, most: float, seed: int) -> tuple[pa.Table, pa.Table]:
    """Return rows to learn from, at most this share of all, and up to twice their number of others."""
    order = np.random.default_rng(seed).permutation(rows.num_rows)
    count = min(train_rows, int(most * rows.num_rows))
    return rows.take(pa.array(order[:count])), rows.take(pa.array(order[count : 3 * count]))


def section(results: Sequence[Result]) -> str:
    """Return the tables of each maker on each table, as means over the seeds."""
    lines = [
        "## Synthetic tables",
        "",
        f"Made by `python -m benchmarks.{NAME} TABLE=TARGET ... --rows N`; the rows to learn from are in brackets, at "
        "most half of a table, or of adult 65 %. aepipe: family `tabular_vae` with the defaults of its job; it keeps "
        "30 % of the rows for early stopping and calibration. copula: a Gaussian copula of ranks. TVAE and "
        "TabularARGN: at their defaults, where ctgan and mostlyai-engine are installed. Real rows: the training rows "
        "in place of synthetic ones. adult and flights were used in development, the other tables were not.",
        "",
        "Two-sample: boosted trees, or logistic regression, 0.5 is ideal. Usefulness: boosted trees that learned the "
        "target from synthetic rows, tested on held-out rows. Mean, spread and quantiles: the largest error of a "
        "number column, in standard deviations of the training rows. Rare shares: mean ratio to the share in training, "
        "values of 0.2 to 1 % of the rows. Dependencies: share of rows in which a column follows from another one as "
        "in training. Dependencies, mean, spread, quantiles and rare shares are measured on 200,000 drawn rows, the "
        "other columns on as many rows as there are to learn from.",
        "",
        origin(results),
        "",
        *_table(results, QUALITY),
        "",
        "Constraint: an order of two columns that all training rows have, and what it adds to the total variation of "
        f"the column it changes most. The class is {CLASS.column} = {CLASS.value}, 4.8 % of adult: by `--where`, or "
        "the share that a peer's draws happen to have. Training: CPU seconds of the whole `aepipe train`, calibration "
        f"and ONNX export too, or `fit`; rows per CPU second: `aepipe sample` of {SPEED_ROWS:,} rows into Parquet "
        "without quality gate, or `sample` into a table.",
        "",
        *_table(results, COSTS),
    ]
    return "\n".join(lines) + "\n"


def _table(results: Sequence[Result], measures: dict[str, Measure]) -> list[str]:
    """Return a line per table, rows and maker; without the measures that no result has."""
    by_case: dict[tuple[str, int, int], list[Result]] = {}
    makers = list(MAKERS)
    for result in results:
        name, rows, maker = result.experiment.split("/")
        by_case.setdefault((name, int(rows), makers.index(maker)), []).append(result)
    shown = [key for key in measures if any(key in result.values for result in results)]
    lines = []
    for (name, rows, maker), found in sorted(by_case.items()):
        cells = [_cell([each.values[key] for each in found if key in each.values], measures[key]) for key in shown]
        if any(cells):
            lines.append((f"{name} ({rows:,})", makers[maker], len(found), *cells))
    return list(table(("table", "maker", "seeds", *(measures[key].title for key in shown)), lines))


def _cell(values: Sequence[float], measure: Measure) -> str:
    return f"{np.mean(values):{measure.shown}}" if values else ""


def main() -> int:
    """Measure what has no result yet, and put the tables into the page."""
    asked = _parser().parse_args()
    if asked.list:
        print("\n".join(MAKERS))
        return 0
    os.environ["OMP_NUM_THREADS"] = "1"  # before the processes that measure import anything
    store = Store(asked.results, NAME)
    tasks = _tasks(asked, set() if asked.fresh else set(store.read()))

    def note(task: Task, values: Values) -> None:
        store.add(task.experiment, task.seed, task.key, values)

    failed = 0 if asked.report else command.in_processes(perform, tasks, note, workers=asked.workers)
    text = section(list(store.read().values()))
    print(text)
    if not (asked.quick or asked.no_page):
        put_into(command.PAGE, text, name=NAME)
    return int(failed > 0)


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(NAME, (__doc__ or "").split("\n")[0])
    text = f"files, each with the column to predict; default: the table of {adult.PATH_VARIABLE} with income"
    parser.add_argument("tables", nargs="*", metavar="TABLE=TARGET", help=text)
    parser.add_argument("--rows", type=int, default=ROWS, help="training rows per table, at most half of each")
    parser.add_argument("--class", dest="of_class", metavar="COLUMN=VALUE", help="a class that is asked for")
    return parser


def _tasks(asked: argparse.Namespace, done: set[str]) -> list[Task]:
    """Return what is left to do; makers that are not installed are left out."""
    names = command.chosen(MAKERS, asked.only)
    for maker in OPTIONAL:
        if maker in names and python_of(maker) is None:
            print(missing(maker), flush=True)
            names.discard(maker)
    rows = min(2_000, asked.rows) if asked.quick else asked.rows
    cases = [(Path(path), target) for path, _, target in (one.rpartition("=") for one in asked.tables)]
    of_class = Class(*asked.of_class.split("=", 1)) if asked.of_class else None if cases else CLASS
    tasks = [
        Task(maker, path, target, rows, seed, of_class, MOST_SHARE if cases else MOST_OF_ADULT)
        for path, target in cases or [(adult.data_path(), "income")]
        for seed in range(1 if asked.quick else asked.seeds)
        for maker in MAKERS
        if maker in names
    ]
    return [task for task in tasks if f"{task.key}/{task.seed}" not in done]


if __name__ == "__main__":
    raise SystemExit(main())
