"""Cut tables to a few hundred rows and count the alarms of a default job at alpha = 0.01; write docs/benchmarks.md.

python -m benchmarks.small_tables
python -m benchmarks.small_tables --only 38_thyroid --no-page
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import logging
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import torch
from scipy.stats import betabinom

from aepipe.calibration.conformal import Calibration
from aepipe.config.job import parse_job
from aepipe.inference.table_model import TableModel
from aepipe.jobs.train.train import train_job
from benchmarks import detection_baselines, detection_peers
from benchmarks.command import PAGE
from benchmarks.detection_detectors import Clock, Detector, filled
from benchmarks.detection_ours import arrow
from benchmarks.detection_tables import PATH_VARIABLE, Doubles, Flags, Split, Table, data_path, load, names
from benchmarks.page import put_into, table
from benchmarks.store import machine

ALPHA = 0.01
SIZES = (150, 300, 600)
FEWEST_FRESH, MOST_FRESH, MOST_ANOMALIES = 1_000, 4_000, 1_000
MOST_COLUMNS = 6
HELD_OUT, FOLDS = 0.2, 10
PEERS = ("pyod-knn", "pyod-iforest", "nearest-row")
OURS = "ours"


class Found(NamedTuple):
    """Alarms of one detector on one table of one size."""

    calibration_rows: int
    has_cells: bool
    recall: float
    precision: float
    false_alarms: int
    normal_rows: int
    fit_cpu_s: float

    @property
    def is_in_band(self) -> bool:
        """Return True if alpha and the number of calibration rows explain this many flagged normal rows."""
        kept = int(ALPHA * (self.calibration_rows + 1) + 1e-9)
        law = betabinom(self.normal_rows, kept, self.calibration_rows + 1 - kept)
        return bool(self.false_alarms <= law.ppf(0.975))


Results = Mapping[tuple[int, str], Sequence[Found]]
"""(rows, detector) -> one result per table and seed"""


def main(words: Sequence[str] | None = None) -> None:
    """Measure all sizes of all tables, print and write the page."""
    asked = _parser().parse_args(words)
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    known = {each.name: each for each in (*detection_baselines.detectors(), *detection_peers.detectors())}
    found: dict[tuple[int, str], list[Found]] = {(size, name): [] for size in SIZES for name in (OURS, *PEERS)}
    tables = dict(_tables(asked.data, asked.only))
    for name, rows in tables.items():
        for seed in range(asked.seeds):
            for size in SIZES:
                split = cut(rows, size, seed)
                found[size, OURS].append(ours(split, seed))
                for peer in PEERS:
                    found[size, peer].append(of_peer(known[peer], split, seed))
                print(name, size, seed, found[size, OURS][-1], flush=True)
    text = "\n".join(_section(found, list(tables), seeds=asked.seeds)) + "\n"
    print(text)
    if not asked.no_page:
        put_into(PAGE, text, name="small tables")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.small_tables", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--data", type=Path, default=data_path(), help=f"folder of npz files; {PATH_VARIABLE}")
    parser.add_argument("--seeds", type=int, default=1, help="cuts of each table")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these tables")
    parser.add_argument("--no-page", action="store_true", help="print the table only")
    return parser


def _tables(data: Path, only: Sequence[str] | None) -> Iterator[tuple[str, Table]]:
    """Yield the tables of few columns that leave enough normal rows to measure false alarms of 1 %."""
    for name in names(data):
        if only and name not in only:
            continue
        found = load(data, name)
        normal = int(np.count_nonzero(~found.is_anomaly))
        if normal >= max(SIZES) + FEWEST_FRESH and found.rows.shape[1] <= MOST_COLUMNS:
            yield name, found


def cut(found: Table, size: int, seed: int) -> Split:
    """Draw `size` normal rows to learn from; other normal rows and anomalies are the test rows."""
    generator = np.random.default_rng([seed, size])
    normal = generator.permutation(np.flatnonzero(~found.is_anomaly))
    anomalies = generator.permutation(np.flatnonzero(found.is_anomaly))[:MOST_ANOMALIES]
    tested = np.concatenate([normal[size : size + MOST_FRESH], anomalies])
    return Split(found.rows[normal[:size]], found.rows[tested], found.is_anomaly[tested], scores_own_rows=False)


def ours(split: Split, seed: int) -> Found:
    """Train a default job on the rows and score the others."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pq.write_table(arrow(split.train), folder / "rows.parquet")
        raw = {"name": "small", "data": {"path": "rows.parquet"}, "train": {"seed": seed}}
        job = parse_job({**raw, "calibration": {"alpha": ALPHA}}, source=folder / "job.toml")
        begun = time.process_time()
        bundle = train_job(job, device="cpu").bundle
        cpu_s = time.process_time() - begun
        model = TableModel.open(bundle, device="cpu")
        flags = np.asarray(model.score(arrow(split.test))["is_anomaly"].to_numpy(), np.bool_)
        calibration = model.bundle.calibration
    return _found(flags, split, calibration, has_cells=calibration.cell_alpha > 0, cpu_s=cpu_s)


def of_peer(detector: Detector, split: Split, seed: int) -> Found:
    """Calibrate a detector as small tables are: on held-out rows, and on the others by folds."""
    rows = np.random.default_rng(seed).permutation(split.train)
    held_out, learned = rows[: int(HELD_OUT * len(rows))], rows[int(HELD_OUT * len(rows)) :]
    clock = Clock()

    def score(train: Doubles, test: Doubles, fit: int) -> Doubles:
        part = Split(train, test, np.zeros(len(test), np.bool_), scores_own_rows=False)
        return filled(detector.run(part, seed * (FOLDS + 1) + fit, clock).scores)

    scores, tested = np.split(score(learned, np.concatenate([held_out, split.test]), FOLDS), [len(held_out)])
    folds = np.arange(len(learned)) % FOLDS
    parts = [score(learned[folds != fold], learned[folds == fold], fold) for fold in range(FOLDS)]
    calibration = Calibration.fit(np.concatenate([scores, *parts]), alpha=ALPHA)
    return _found(calibration.p_values(tested) <= ALPHA, split, calibration, has_cells=False, cpu_s=clock.fit_cpu_s)


def _found(flags: Flags, split: Split, calibration: Calibration, *, has_cells: bool, cpu_s: float) -> Found:
    hits, false_alarms = int(flags[split.is_anomaly].sum()), int(flags[~split.is_anomaly].sum())
    anomalies, normal = int(split.is_anomaly.sum()), int((~split.is_anomaly).sum())
    precision = hits / (hits + false_alarms) if hits + false_alarms else 0.0
    return Found(calibration.n, has_cells, hits / anomalies, precision, false_alarms, normal, cpu_s)


def _section(found: Results, tables: Sequence[str], *, seeds: int) -> Iterator[str]:
    yield "## Alarms of small tables"
    yield ""
    yield (
        f"Made by `python -m benchmarks.small_tables`, {datetime.now(UTC):%Y-%m-%d}, {machine()}, one thread. "
        f"{len(tables)} tables of ADBench with at most {MOST_COLUMNS} columns and at least "
        f"{max(SIZES) + FEWEST_FRESH:,} normal rows, {seeds} draw{'s' * (seeds > 1)} of each. A default job at "
        f"alpha = {ALPHA:g} learns from this number of normal rows; up to {MOST_FRESH:,} other normal rows and "
        f"{MOST_ANOMALIES:,} anomalies are scored. Too few rows are held out, so that training rows calibrate by "
        "folds. The others have the same threshold: a fifth of the rows is held out, the rest calibrates by "
        f"{FOLDS} folds. Per cent, means. `worst`: most false alarms of a draw. `above the band`: draws with more "
        "false alarms than alpha and the calibration rows explain with 97.5 % probability."
    )
    yield ""
    header = ("rows", "detector", "calibration rows", "with cells", "recall", "precision", "false", "worst")
    lines = []
    for (size, name), each in found.items():
        false = np.array([100 * one.false_alarms / one.normal_rows for one in each])
        above = sum(not one.is_in_band for one in each)
        rates = (100 * np.mean([one.recall for one in each]), 100 * np.mean([one.precision for one in each]))
        rows = f"{min(one.calibration_rows for one in each)} to {max(one.calibration_rows for one in each)}"
        cells = f"{sum(one.has_cells for one in each)} of {len(each)}" if name == OURS else ""
        figures = (*(f"{rate:.1f}" for rate in rates), f"{false.mean():.2f}", f"{false.max():.2f}")
        cpu_s = f"{np.mean([one.fit_cpu_s for one in each]):.1f}"
        lines.append((f"{size}", name, rows, cells, *figures, f"{above} of {len(each)}", cpu_s))
    yield from table((*header, "above the band", "CPU s of training"), lines)


if __name__ == "__main__":
    main()
