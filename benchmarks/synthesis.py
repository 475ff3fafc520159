"""Synthetic rows of a census table: quality and cost, compared with SDV's TVAE.

python -m benchmarks.synthesis, with AEPIPE_ADULT_DATA naming the census table "adult" as CSV. ctgan is no
dependency, for its licence forbids that: install it by hand.
"""

import argparse
import importlib.util
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from benchmarks import adult, command
from benchmarks.page import origin, put_into, table
from benchmarks.store import Result, Store, Values, key_of
from benchmarks.synthesis_makers import MAKERS, SPEED_ROWS, Asked

NAME = "synthesis"
TRAIN_ROWS = 20_000
PREDICT = "income"
ASKED = Asked("relationship", "Wife")
PEER = "TVAE"
NEEDS = {"aepipe": "lightgbm", PEER: "ctgan", "real rows": "lightgbm"}


class Row(NamedTuple):
    """A line of the table: what it says, the value it shows, how, and what it must and should reach."""

    title: str
    measure: str
    shown: str
    must: str
    aim: str


ROWS = (
    Row("column shapes", "shapes", ".3f", ">= .975", ">= .985"),
    Row("pair trends", "trends", ".3f", ">= .955", ">= .970"),
    Row("train on synthetic, test on real: AUROC (LightGBM)", "auroc", ".3f", ">= .900", ">= .910"),
    Row("two-sample test, boosted trees: AUROC", "trees", ".3f", "<= .70", "<= .60"),
    Row("two-sample test, logistic regression: AUROC", "logistic", ".3f", "<= .53", "<= .515"),
    Row("closer to a training row than to a held-out one", "closer", ".3f", ".47 to .53", ""),
    Row("exact copies of training rows", "copies", ".4f", "within the bound", ""),
    Row("upper 99 % bound of the hold-out's copies", "copies_bound", ".4f", "", ""),
    Row("training, CPU s", "train_cpu_s", ".0f", "<= 1/3 of TVAE's", "1/7"),
    Row("rows sampled a CPU second, one thread", "rows_a_cpu_s", ",.0f", ">= TVAE's", "2 x"),
    Row("share of draws kept for a class", "kept", ".3f", "1", ""),
    Row("two-sample test of that class, boosted trees: AUROC", "class_trees", ".3f", "", ""),
)


class Task(NamedTuple):
    """One maker with one seed."""

    maker: str
    seed: int
    rows: int
    data: Path

    @property
    def title(self) -> str:
        return f"{self.maker}, seed {self.seed}"


def perform(task: Task) -> Values:
    """Train, sample and measure, in this process, on one thread."""
    import torch

    from benchmarks.synthesis_measures import measured, of_class

    torch.set_num_threads(1)
    pa.set_cpu_count(1)
    train, held_out = split(adult.read(task.data), task.rows, seed=task.seed)
    made = MAKERS[task.maker](train, ASKED, task.rows, task.seed)
    costs = {"train_cpu_s": made.train_cpu_s, "rows_a_cpu_s": made.rows_a_cpu_s, "kept": made.kept}
    return {
        **measured(train, held_out, made.rows, predict=PREDICT, seed=task.seed),
        **of_class(ASKED.of(held_out), made.asked, seed=task.seed),
        **{name: value for name, value in costs.items() if np.isfinite(value)},
    }


def split(rows: pa.Table, train_rows: int, *, seed: int) -> tuple[pa.Table, pa.Table]:
    """So many rows to learn from, and all others."""
    order = np.random.default_rng(seed).permutation(rows.num_rows)
    return rows.take(pa.array(order[:train_rows])), rows.take(pa.array(order[train_rows:]))


def section(results: Sequence[Result]) -> str:
    """The table of what was measured, means over the seeds."""
    makers = [name for name in MAKERS if any(result.experiment == name for result in results)]
    headers = [f"{name} ({len([result for result in results if result.experiment == name])})" for name in makers]
    lines = [
        "## Synthetic tables",
        "",
        f'Made by `python -m benchmarks.{NAME}` on the census table "adult" (32,561 rows, 15 columns): '
        f"{TRAIN_ROWS:,} rows are used for training; aepipe keeps 30 % of them for early stopping and calibration; all "
        "figures compare with the other rows, means ± standard deviations over seeds, the number of "
        "seeds in brackets. aepipe: "
        "family `tabular_vae` with the defaults of its job, CPU seconds of the whole `aepipe train`, calibration and "
        f"ONNX export too, rows per second of `aepipe sample`, {SPEED_ROWS:,} rows into Parquet without quality gate. "
        "TVAE: ctgan's defaults, `fit`, and `sample` into a DataFrame. The requested class is "
        f"{ASKED.column} = {ASKED.value}, 4.8 % of the rows: by `--where`, or the share that TVAE's "
        "draws happen to have.",
        "",
        origin(results),
        "",
        *table(
            ("measure", "must", "aim", *headers, "ratio to TVAE"),
            [(row.title, row.must, row.aim, *_cells(row, makers, results)) for row in ROWS],
        ),
    ]
    return "\n".join(lines) + "\n"


def _cells(row: Row, makers: Sequence[str], results: Sequence[Result]) -> Iterator[str]:
    means = {}
    for maker in makers:
        values = [result.values[row.measure] for result in results if _is_of(result, maker, row.measure)]
        means[maker] = float(np.mean(values)) if values else float("nan")
        spread = f" ± {np.std(values):{row.shown}}" if len(values) > 1 else ""
        yield f"{means[maker]:{row.shown}}{spread}" if values else ""
    peer = means.get(PEER, np.nan)
    ratio = means.get("aepipe", np.nan) / peer if peer else np.nan
    yield f"{ratio:.2f}" if np.isfinite(ratio) and not row.measure.startswith("copies") else ""


def _is_of(result: Result, maker: str, measure: str) -> bool:
    return result.experiment == maker and measure in result.values


def key(maker: str, rows: int) -> str:
    """What a result of it is kept under."""
    return key_of({"maker": maker, "rows": rows, "predict": PREDICT, "asked": ASKED, "contract": 1})


def main() -> int:
    """Measure what has no result yet, and put the table into the page."""
    parser = command.parser(NAME, (__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, default=adult.data_path(), help="the CSV")
    asked = parser.parse_args()
    if asked.list:
        print("\n".join(MAKERS))
        return 0
    os.environ["OMP_NUM_THREADS"] = "1"  # before the processes that measure import anything
    rows = 2_000 if asked.quick else TRAIN_ROWS
    store = Store(asked.results, NAME)

    def note(task: Task, values: Values) -> None:
        store.add(task.maker, task.seed, key(task.maker, rows), values)

    failed = (
        0 if asked.report else command.in_processes(perform, _tasks(asked, rows, store), note, workers=asked.workers)
    )
    known = {key(maker, rows) for maker in MAKERS}
    text = section([result for result in store.read().values() if result.key in known])
    print(text)
    if not (asked.quick or asked.no_page):
        put_into(command.PAGE, text, name=NAME)
    return int(failed > 0)


def _tasks(asked: argparse.Namespace, rows: int, store: Store) -> list[Task]:
    meant = command.chosen(MAKERS, asked.only)
    done = set() if asked.fresh else set(store.read())
    for maker in sorted(meant):
        if importlib.util.find_spec(NEEDS[maker]) is None:
            print(f"{maker} is left out: install {NEEDS[maker]}", flush=True)
            meant.discard(maker)
    seeds = range(1 if asked.quick else asked.seeds)
    found = [Task(maker, seed, rows, asked.data) for seed in seeds for maker in MAKERS if maker in meant]
    return [task for task in found if f"{key(task.maker, rows)}/{task.seed}" not in done]


if __name__ == "__main__":
    raise SystemExit(main())
