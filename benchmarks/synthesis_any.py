"""Synthetic rows of any table with a target: aepipe, a Gaussian copula, TVAE and real rows.

python -m benchmarks.synthesis_any TABLE=TARGET ..., with tables as CSV, Parquet, or npz of ADBench (target: y).
"""

import importlib.util
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pyarrow.types as pt

from benchmarks import command
from benchmarks.page import origin, put_into, table
from benchmarks.store import Result, Store, Values, key_of
from benchmarks.synthesis_copula import GaussianCopula
from benchmarks.synthesis_gaps import Order, gaps, order_of, variation

NAME = "synthesis_any"
MEASURES = {
    "trees": ("two-sample AUROC", ".3f"),
    "useful": ("usefulness AUROC", ".3f"),
    "shapes": ("shapes", ".3f"),
    "trends": ("trends", ".3f"),
    "mean": ("mean", ".3f"),
    "spread": ("spread", ".3f"),
    "q99": ("99 %", ".2f"),
    "q999": ("99.9 %", ".2f"),
    "rare": ("rare shares", ".3f"),
    "dependencies": ("dependencies", ".3f"),
    "constraint": ("TV added by a constraint", ".3f"),
    "closer": ("closer to training", ".3f"),
    "train_cpu_s": ("training, CPU s", ".0f"),
}


class Made(NamedTuple):
    """Synthetic rows, rows under an order of two columns, and the CPU seconds of training."""

    rows: pa.Table
    ordered: pa.Table | None
    train_cpu_s: float


class Task(NamedTuple):
    """One maker on one table."""

    maker: str
    path: Path
    target: str
    rows: int
    seed: int

    @property
    def title(self) -> str:
        return f"{self.maker} on {self.path.stem}, seed {self.seed}"


def perform(task: Task) -> Values:
    """Train, sample and measure, in this process, on one thread."""
    import torch

    torch.set_num_threads(1)
    pa.set_cpu_count(1)
    every = read(task.path)
    if task.target not in every.column_names:
        raise SystemExit(f"{task.path} has no column {task.target}: expected one of {', '.join(every.column_names)}")
    order = np.random.default_rng(task.seed).permutation(every.num_rows)
    count = min(task.rows, every.num_rows // 2)
    train, held_out = (every.take(pa.array(part)) for part in (order[:count], order[count : 3 * count]))
    asked = order_of(train)
    made = MAKERS[task.maker](train, asked, task.seed)
    found = dict(gaps(train, held_out, made.rows, target=task.target, seed=task.seed))
    if asked is not None and made.ordered is not None:
        found["constraint"] = variation(train, made.rows, made.ordered, asked)
    return found | ({"train_cpu_s": made.train_cpu_s} if made.train_cpu_s else {})


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


def aepipe(train: pa.Table, order: Order | None, seed: int) -> Made:
    """Job file, `aepipe train` and `aepipe sample`, with defaults but for the family."""
    from aepipe.jobs.sample.sample import sample
    from aepipe.jobs.train.train import train as train_job

    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "job.toml"
        (Path(folder) / "rows").mkdir()
        pq.write_table(train, Path(folder) / "rows" / "part.parquet")
        text = (
            f'name = "table"\n[data]\npath = "rows"\n[model]\nfamily = "tabular_vae"\n[train]\nseed = {seed}\n'
            '[samples.quality]\ncheck = false\n[run]\ndevice = "cpu"\n'
        )
        job.write_text(text)
        begun = time.process_time()
        train_job(job)
        spent = time.process_time() - begun
        free = sample(job, rows=train.num_rows, seed=seed + 1, partition="free")
        rows = pq.read_table(free.path).select(train.column_names)
        if order is None:
            return Made(rows, None, spent)
        job.write_text(f'{text}[[samples.constraints]]\nlow = "{order.low}"\nhigh = "{order.high}"\n')
        held = sample(job, rows=train.num_rows, seed=seed + 1, partition="held")
        return Made(rows, pq.read_table(held.path).select(train.column_names), spent)


def copula(train: pa.Table, order: Order | None, seed: int) -> Made:
    """The Gaussian copula; rows that violate the order are rejected."""
    begun = time.process_time()
    model = GaussianCopula(train, seed=seed)
    spent = time.process_time() - begun
    rows = model.sample(train.num_rows, seed=seed + 1)
    return Made(
        rows, None if order is None else _in_order(model.sample(10 * train.num_rows, seed=seed + 2), order), spent
    )


def tvae(train: pa.Table, order: Order | None, seed: int) -> Made:
    """SDV's TVAE at its defaults, on the CPU; rows that violate the order are rejected."""
    import torch
    from ctgan import TVAE

    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002  # it has no seed of its own
    model = TVAE(enable_gpu=False)
    begun = time.process_time()
    texts = [field.name for field in train.schema if pt.is_string(field.type)]
    model.fit(train.to_pandas().dropna(), discrete_columns=texts)
    spent = time.process_time() - begun
    both = [
        pa.Table.from_pandas(model.sample(rows), preserve_index=False).select(train.column_names).cast(train.schema)
        for rows in (train.num_rows, 4 * train.num_rows)
    ]
    return Made(both[0], None if order is None else _in_order(both[1], order), spent)


def real_rows(train: pa.Table, order: Order | None, seed: int) -> Made:
    """The training rows: how good rows can be."""
    return Made(train, None, 0.0)


MAKERS: Mapping[str, Callable[[pa.Table, Order | None, int], Made]] = {
    "aepipe": aepipe,
    "copula": copula,
    "TVAE": tvae,
    "real rows": real_rows,
}


def _in_order(rows: pa.Table, order: Order) -> pa.Table:
    holds = pc.less_equal(rows[order.low], rows[order.high])
    return rows.filter(pc.fill_null(holds, True))


def section(results: Sequence[Result], rows: int) -> str:
    """The table of each maker on each table, means over the seeds."""
    by_case: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        name, _, maker = result.experiment.partition("/")
        by_case.setdefault((name, maker), []).append(result)
    lines = [
        "## Synthetic rows of any table",
        "",
        f"Made by `python -m benchmarks.{NAME}` with at most {rows:,} training rows per table, at most half of it. "
        "Two-sample: boosted trees, 0.5 is ideal. Usefulness: boosted trees that learned the target from synthetic "
        "rows, tested on held-out rows. Mean, spread and quantiles: the largest error of a number column, in standard "
        "deviations of the training rows. Rare shares: mean ratio to the share in training, values of 0.2 to 1 % of "
        "the rows. Dependencies: share of rows in which a column follows from another one as in training. Constraint: "
        "an order of two columns that all training rows have; what it adds to the total variation of the column it "
        "changes most. adult and flights were used in development, the other tables were not.",
        "",
        origin(results),
        "",
        *table(
            ("table", "maker", *(title for title, _ in MEASURES.values())),
            [
                (name, maker, *(_mean(found, key) for key in MEASURES))
                for (name, maker), found in sorted(by_case.items())
            ],
        ),
    ]
    return "\n".join(lines) + "\n"


def _mean(results: Sequence[Result], measure: str) -> str:
    values = [result.values[measure] for result in results if measure in result.values]
    return f"{np.mean(values):{MEASURES[measure][1]}}" if values else ""


def main() -> int:
    """Measure what has no result yet, and print the table."""
    parser = command.parser(NAME, (__doc__ or "").split("\n")[0])
    parser.add_argument("tables", nargs="*", metavar="TABLE=TARGET", help="files, each with the column to predict")
    parser.add_argument("--rows", type=int, default=10_000, help="training rows per table, at most half of it")
    asked = parser.parse_args()
    if asked.list:
        print("\n".join(MAKERS))
        return 0
    if not asked.tables and not asked.report:
        parser.error("name at least one table, such as adult.csv=income")
    os.environ["OMP_NUM_THREADS"] = "1"  # before the processes that measure import anything
    rows = 2_000 if asked.quick else asked.rows
    store = Store(asked.results, NAME)
    names = command.chosen(MAKERS, asked.only)
    if "TVAE" in names and importlib.util.find_spec("ctgan") is None:
        print("TVAE is left out: install ctgan", flush=True)
        names.discard("TVAE")
    known = set() if asked.fresh else set(store.read())
    tasks = [
        Task(maker, Path(path), target, rows, seed)
        for path, _, target in (one.rpartition("=") for one in asked.tables)
        for seed in range(1 if asked.quick else asked.seeds)
        for maker in MAKERS
        if maker in names and f"{_key(maker, Path(path), target, rows)}/{seed}" not in known
    ]

    def note(task: Task, values: Values) -> None:
        key = _key(task.maker, task.path, task.target, rows)
        store.add(f"{task.path.stem}/{task.maker}", task.seed, key, values)

    failed = 0 if asked.report else command.in_processes(perform, tasks, note, workers=asked.workers)
    text = section(list(store.read().values()), rows)
    print(text)
    if not (asked.quick or asked.no_page):
        put_into(command.PAGE, text, name=NAME)
    return int(failed > 0)


def _key(maker: str, path: Path, target: str, rows: int) -> str:
    return key_of({"maker": maker, "table": path.stem, "target": target, "rows": rows, "contract": 1})


if __name__ == "__main__":
    raise SystemExit(main())
