"""Hide cells of rows and fill them by aepipe and by scikit-learn's imputers; writes docs/benchmarks.md.

python -m benchmarks.imputation
python -m benchmarks.imputation --only 6_cardio --families masked_ae --no-page
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from sklearn.experimental import enable_iterative_imputer  # noqa: F401  IterativeImputer needs this import
from sklearn.impute import IterativeImputer, KNNImputer

from aepipe.bundles.bundle import Bundle
from aepipe.config.job import parse_job
from aepipe.inference.imputation import Imputer
from aepipe.jobs.sample.reference_data import learned_rows
from aepipe.jobs.train.train import train_job
from benchmarks import adult
from benchmarks.command import PAGE
from benchmarks.detection_tables import PATH_VARIABLE, data_path, load, names
from benchmarks.page import put_into
from benchmarks.reasons import normal_rows
from benchmarks.store import machine

HIDDEN = 0.2
"""Share of the cells that are hidden, by chance."""
LEARNED, FILLED = 2_000, 500
"""Rows to learn from, and rows with hidden cells."""
DRAWS = 10
TABLES = (
    "adult",
    "5_campaign",
    "6_cardio",
    "7_Cardiotocography",
    "11_donors",
    "20_letter",
    "35_SpamBase",
    "38_thyroid",
)
"""Tables with categories, as far as ADBench has them, and three of numbers."""

Doubles = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Found(NamedTuple):
    """Root mean square error of numbers in standard deviations, share of right categories, and CPU seconds.

    NaN without hidden cells of the kind.
    """

    error: float
    right: float
    seconds: float


def main(words: Sequence[str] | None = None) -> None:
    """Measure every table, print and write the section."""
    asked = _parser().parse_args(words)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")  # the iterative imputer says that it stops early
    torch.set_num_threads(1)
    found: dict[str, dict[str, Found]] = {}
    for name in asked.only or TABLES:
        found[name] = measure(read(asked.data, name), families=asked.families, seed=asked.seed)
        for method, result in found[name].items():
            print(name, method, *(f"{value:.3g}" for value in result), flush=True)
    text = section(found)
    print(text)
    if not asked.no_page:
        put_into(PAGE, text + "\n", name="imputation")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.imputation", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, default=data_path(), help=f"folder of npz files; {PATH_VARIABLE}")
    parser.add_argument("--families", nargs="+", default=["tabular_vae", "masked_ae"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these tables")
    parser.add_argument("--no-page", action="store_true", help="print the table only")
    return parser


def read(data: Path, name: str) -> pa.Table:
    """Return the rows of a table: adult, or the normal rows of one of ADBench."""
    if name == "adult":
        return adult.read(adult.data_path()).slice(0, LEARNED + FILLED)
    if name not in names(data):
        raise SystemExit(f"there is no table {name} in {data}: expected adult or a file of ADBench")
    return normal_rows(load(data, name), most=LEARNED + FILLED)


def measure(table: pa.Table, *, families: Sequence[str], seed: int) -> dict[str, Found]:
    """Hide cells of the last fifth of the rows at most and fill them by every method."""
    filled = min(FILLED, table.num_rows // 5)
    learned, whole = table.slice(0, table.num_rows - filled), table.slice(table.num_rows - filled)
    hidden = np.random.default_rng(seed).random((whole.num_rows, whole.num_columns)) < HIDDEN
    gaps = hide(whole, hidden)
    methods: dict[str, Callable[[], pa.Table]] = {
        **{family: lambda family=family: _ours(learned, gaps, family) for family in families},  # type: ignore[misc]
        "kNN": lambda: fill_by(KNNImputer(n_neighbors=5), learned, gaps),
        "iterative": lambda: fill_by(IterativeImputer(random_state=seed), learned, gaps),
    }
    found = {}
    for name, method in methods.items():
        began = time.process_time()
        rows = method()
        found[name] = Found(*distances(learned, whole, rows, hidden), time.process_time() - began)
    return found


def hide(table: pa.Table, hidden: Mask) -> pa.Table:
    """Return the rows with nulls in place of the hidden cells (B, columns)."""
    columns = [
        pc.if_else(pa.array(cells), pa.scalar(None, column.type), column)
        for column, cells in zip(table.columns, hidden.T, strict=True)
    ]
    return pa.Table.from_arrays(columns, names=table.column_names)


def distances(learned: pa.Table, whole: pa.Table, filled: pa.Table, hidden: Mask) -> tuple[float, float]:
    """Return the error of the hidden numbers in standard deviations of the training rows, and the right categories.

    An error counts at most five standard deviations: otherwise a few rows of a heavy tail would decide.
    """
    squares, right = [], []
    for name, cells in zip(whole.column_names, hidden.T, strict=True):
        real, found = (np.asarray(table[name].to_pylist(), object)[cells] for table in (whole, filled))
        if _is_number(learned[name].type):
            spread = float(np.std(learned[name].to_numpy())) or 1.0
            errors = (np.asarray(real, np.float64) - np.asarray(found, np.float64)) / spread
            squares.append(np.minimum(np.abs(errors), 5.0) ** 2)
        else:
            right.append(real == found)
    return (
        float(np.sqrt(np.mean(np.concatenate(squares)))) if squares else float("nan"),
        float(np.mean(np.concatenate(right))) if right else float("nan"),
    )


def _ours(learned: pa.Table, gaps: pa.Table, family: str) -> pa.Table:
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(learned, Path(folder) / "rows.parquet")
        sections = {"name": "gaps", "data": {"path": "rows.parquet"}, "model": {"family": family}}
        job = parse_job(sections | {"calibration": {"alpha": 0.05}}, source=Path(folder) / "job.toml")
        bundle = Bundle.open(train_job(job, device="cpu").bundle)
        imputer = Imputer(bundle, seed=0, device="cpu", draws=DRAWS)
        known = learned_rows(job, bundle)
        assert known is not None
        imputer.learn(*known)
    batches = gaps.combine_chunks().to_batches(imputer.rows)
    return pa.Table.from_batches([imputer.block(index, batch).rows for index, batch in enumerate(batches)])


def fill_by(imputer: KNNImputer | IterativeImputer, learned: pa.Table, gaps: pa.Table) -> pa.Table:
    """Fill standardised numbers and indicators of categories; the greatest indicator decides."""
    coded = {name: _Coded.of(learned[name]) for name in learned.column_names}
    train, test = (
        np.column_stack([coded[name].matrix(table[name]) for name in table.column_names]) for table in (learned, gaps)
    )
    filled = imputer.fit(train).transform(test)
    columns, at = [], 0
    for name in learned.column_names:
        columns.append(coded[name].read(filled[:, at : at + coded[name].width]))
        at += coded[name].width
    return pa.Table.from_arrays(columns, names=learned.column_names)


class _Coded(NamedTuple):
    """A column as numbers: standardised, or one indicator per value."""

    mean: float
    spread: float
    values: tuple[str, ...]

    @classmethod
    def of(cls, column: pa.ChunkedArray) -> "_Coded":
        """Learn the scale of a number, or the values of a category."""
        if _is_number(column.type):
            numbers = column.to_numpy().astype(np.float64)
            return cls(float(numbers.mean()), float(numbers.std()) or 1.0, ())
        return cls(0.0, 1.0, tuple(sorted(set(map(str, column.to_pylist())))))

    @property
    def width(self) -> int:
        """Number of columns of the matrix."""
        return max(1, len(self.values))

    def matrix(self, column: pa.ChunkedArray) -> Doubles:
        """Return the column as numbers (B, width), NaN where it is null."""
        cells = column.to_pylist()
        if not self.values:
            numbers = np.array([np.nan if cell is None else float(cell) for cell in cells])
            return ((numbers - self.mean) / self.spread)[:, None]
        found = np.array([[float(cell == value) for value in self.values] for cell in cells])
        found[[cell is None for cell in cells]] = np.nan
        return found

    def read(self, filled: Doubles) -> pa.Array:
        """Return the values of filled numbers (B, width)."""
        if not self.values:
            return pa.array(filled[:, 0] * self.spread + self.mean)
        return pa.array([self.values[index] for index in filled.argmax(axis=1)])


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def section(found: Mapping[str, Mapping[str, Found]]) -> str:
    """Return the part of the page, in Markdown."""
    return "\n".join(_lines(found))


def _lines(found: Mapping[str, Mapping[str, Found]]) -> Iterator[str]:
    methods = list(next(iter(found.values())))
    peers = [name for name in methods if name in ("kNN", "iterative")]
    yield "## Imputation"
    yield ""
    yield (
        f"Made by `python -m benchmarks.imputation`, {datetime.now(UTC).date().isoformat()}, {machine()}, one thread. "
        f"Adult and the normal rows of tables of ADBench, at most {LEARNED:,} rows to learn from and {FILLED} to fill, "
        f"in which {100 * HIDDEN:.0f} % of the cells are hidden by chance; no cell is missing in the rows learned "
        f"from. `aepipe impute --how mean --draws {DRAWS}` with the defaults of each family, and scikit-learn's "
        "`KNNImputer` (5 neighbours) and `IterativeImputer` on standardised numbers and indicators of categories. "
        "Error of numbers: root mean square in standard deviations, each at most 5 (lower is better) / per cent of "
        "categories that are right (higher is better) / CPU seconds with training."
    )
    yield ""
    yield f"| table | {' | '.join(methods)} |"
    yield "|---" * (len(methods) + 1) + "|"
    for table, results in found.items():
        yield f"| {table} | {' | '.join(_cell(results[name]) for name in methods)} |"
    yield ""
    yield " ".join(_sentence(found, name, peers) for name in methods if name not in peers)


def _sentence(found: Mapping[str, Mapping[str, Found]], name: str, peers: Sequence[str]) -> str:
    """Count the tables in which a family is at least as good as every peer, in each measure that the table has."""
    by_error, by_category = [], []
    for results in found.values():
        ours, others = results[name], [results[peer] for peer in peers]
        by_error.append(np.isnan(ours.error) or ours.error <= min(each.error for each in others))
        by_category.append(np.isnan(ours.right) or ours.right >= max(each.right for each in others))
    both = sum(map(all, zip(by_error, by_category, strict=True)))
    return (
        f"`{name}` is at least as good as both imputers of scikit-learn in {both} of {len(found)} tables "
        f"({sum(by_error)} by the error, {sum(by_category)} by the categories)."
    )


def _cell(found: Found) -> str:
    error = "-" if np.isnan(found.error) else f"{found.error:.3f}"
    right = "-" if np.isnan(found.right) else f"{100 * found.right:.1f}"
    return f"{error} / {right} / {found.seconds:.0f}"


if __name__ == "__main__":
    main()
