"""Tables with known anomalies, and the two protocols of splitting them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks import command

Doubles = NDArray[np.float64]
Flags = NDArray[np.bool_]
Places = NDArray[np.int64]

PATH_VARIABLE = "AEPIPE_ADBENCH_DATA"

_ROWS_STREAM, _HALVES_STREAM = 0, 1
"""Combined with the seed, so that the choice of rows and the choice of halves are independent."""


class Table(NamedTuple):
    """Rows (B, F) and which of them are anomalies (B,)."""

    rows: Doubles
    is_anomaly: Flags

    def at(self, places: Places) -> "Table":
        """Return the rows at these positions, in this order."""
        return Table(self.rows[places], self.is_anomaly[places])


class Split(NamedTuple):
    """Training and test rows of a detector; it sees no labels."""

    train: Doubles
    test: Doubles
    is_anomaly: Flags
    """labels of the test rows"""
    scores_own_rows: bool
    """whether the test rows are the training rows"""


def data_path() -> Path:
    """Return the folder of the tables."""
    return command.data_path(PATH_VARIABLE, "adbench")


def names(folder: Path) -> list[str]:
    """Return the tables of a folder in the order of their numbers; exit if there are none."""
    found = sorted(folder.glob("*.npz"), key=_number)
    if not found:
        raise SystemExit(
            f"no table in {folder}: name the folder of ADBench's classical npz files with --data or {PATH_VARIABLE}"
        )
    return [path.stem for path in found]


def load(folder: Path, name: str) -> Table:
    """Read the table of `<name>.npz`: X, and y with 1 for an anomaly."""
    with np.load(folder / f"{name}.npz") as arrays:
        return Table(arrays["X"].astype(np.float64), arrays["y"].astype(np.int64) == 1)


def at_most(table: Table, most: int, *, seed: int) -> Table:
    """Return the table, or `most` random rows of it with the same share of anomalies, at least one."""
    if len(table.rows) <= most:
        return table
    generator = np.random.default_rng([seed, _ROWS_STREAM])
    anomalies = max(1, round(most * table.is_anomaly.mean()))
    normal, anomalous = np.flatnonzero(~table.is_anomaly), np.flatnonzero(table.is_anomaly)
    kept = [generator.permutation(normal)[: most - anomalies], generator.permutation(anomalous)[:anomalies]]
    return table.at(np.sort(np.concatenate(kept)))


def clean(table: Table, seed: int) -> Split:
    """Split a table: train on a random half of the normal rows, test on the other half and all anomalies."""
    normal = np.random.default_rng([seed, _HALVES_STREAM]).permutation(np.flatnonzero(~table.is_anomaly))
    half = len(normal) // 2
    learned = np.sort(normal[:half])
    others = table.at(np.setdiff1d(np.arange(len(table.rows)), learned))
    return Split(table.rows[learned], others.rows, others.is_anomaly, scores_own_rows=False)


def polluted(table: Table, seed: int) -> Split:
    """Split a table: train and test on all rows, anomalies included."""
    return Split(table.rows, table.rows, table.is_anomaly, scores_own_rows=True)


PROTOCOLS: Mapping[str, Callable[[Table, int], Split]] = {"clean": clean, "polluted": polluted}


def standardised(train: Doubles, test: Doubles) -> tuple[Doubles, Doubles]:
    """Standardise both by the training rows' means and standard deviations; only centre constant columns."""
    mean, spread = train.mean(axis=0), train.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    return (train - mean) / spread, (test - mean) / spread


def _number(path: Path) -> tuple[int, str]:
    number = path.stem.partition("_")[0]
    return int(number) if number.isdecimal() else 0, path.stem
