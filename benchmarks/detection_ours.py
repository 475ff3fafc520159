"""aepipe as a nightly job uses it: a job and its Parquet file, a bundle, and the output of the exported scorer.

Everything happens in a temporary folder and nothing is kept: the numbers are what is left.
"""

import functools
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from aepipe.calibration.conformal import Calibration, rows_needed
from aepipe.config.job import parse_job
from aepipe.inference.output_schema import Predictions
from aepipe.inference.table_model import TableModel
from aepipe.jobs.train.train import train_job
from benchmarks.detection_alarms import ALPHAS
from benchmarks.detection_detectors import Clock, Detector, Scored
from benchmarks.detection_tables import Doubles, Flags, Split

Sections = Mapping[str, Mapping[str, object]]
"""Sections of a job file: section -> key -> value; keys that are not named have their defaults."""

RECIPES: Mapping[str, Mapping[str, Sections]] = {
    "ours": {
        "clean": {"train": {"data": "clean"}},
        "polluted": {"train": {"data": "polluted"}},
    },
    "ours-reconstruction": {
        "clean": {"model": {"family": "ae"}, "train": {"data": "clean"}, "score": {"head": "reconstruction"}},
        "polluted": {"model": {"family": "ae"}, "train": {"data": "polluted"}, "score": {"head": "reconstruction"}},
    },
    "ours-vae-elbo": {
        "clean": {"model": {"family": "vae"}, "train": {"data": "clean"}, "score": {"head": "elbo"}},
        "polluted": {"model": {"family": "vae"}, "train": {"data": "polluted"}, "score": {"head": "elbo"}},
    },
}
"""Recipe -> protocol -> sections of the job. `ours` is compared with the peers."""

OUR_RECIPE = "ours"

_ALPHA = 0.2
"""Of the calibration, which no score hangs on: the smallest table has too few rows for the default. Flags are at the
alphas of the benchmark, from the same calibration rows."""

_FILE = "rows.parquet"


def detectors() -> list[Detector]:
    """Return a detector for each recipe."""
    return [Detector(name, functools.partial(_run, recipe), recipe) for name, recipe in RECIPES.items()]


def _run(recipe: Mapping[str, Sections], split: Split, seed: int, clock: Clock) -> Scored:
    sections = recipe["polluted" if split.scores_own_rows else "clean"]
    with trained(sections, split.train, seed, clock) as model:
        rows = arrow(split.test)
        with clock.scoring():
            predictions = model.predict(rows)
            answers = model.scores_of(predictions)
        calibration = model.bundle.calibration
    alphas = [alpha for alpha in ALPHAS if calibration.n >= rows_needed(alpha)]
    flags = {alpha: flags_at(calibration, predictions, alpha) for alpha in alphas}
    return Scored(answers["score"].to_numpy().astype(np.float64), flags)


def flags_at(calibration: Calibration, predictions: Predictions, alpha: float) -> Flags:
    """Return `is_anomaly` of each row as it would be at this alpha, by its score or its most unusual cell, (B,)."""
    of_row, of_cell = calibration.levels_at(alpha)
    flagged = predictions.p_value <= of_row
    if predictions.cells is not None:
        flagged |= predictions.cells.p_value <= of_cell
    return np.asarray(flagged & (predictions.invalid == 0))


def job_sections(sections: Sections, *, seed: int) -> dict[str, Any]:
    """Return the parsed job file of these sections, with the sections that every job of the benchmark has."""
    common: Sections = {"data": {"path": _FILE}, "train": {"seed": seed}, "calibration": {"alpha": _ALPHA}}
    merged = {name: {**common.get(name, {}), **sections.get(name, {})} for name in {*common, *sections}}
    return {"name": "detection", **merged}


@contextmanager
def trained(sections: Sections, rows: Doubles, seed: int, clock: Clock) -> Iterator[TableModel]:
    """Train a bundle on these rows in a temporary folder and yield its model."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pq.write_table(arrow(rows), folder / _FILE)
        job = parse_job(job_sections(sections, seed=seed), source=folder / "job.toml")
        with clock.fitting():
            bundle = train_job(job, device="cpu").bundle
        yield TableModel.open(bundle, device="cpu")


def arrow(rows: Doubles) -> pa.Table:
    """Return a table with columns c0, c1 ... of float64."""
    return pa.table({f"c{column}": np.ascontiguousarray(values) for column, values in enumerate(rows.T)})
