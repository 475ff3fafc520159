"""Calibration of the alarm for cells by training rows: when they join, and the folds that they are in."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import binom

from aepipe.config.job import parse_job
from aepipe.inference.table_model import TableModel
from aepipe.jobs.train.cell_calibration import LEVEL, score_higher
from aepipe.jobs.train.split import blocks_of, folds_of
from aepipe.jobs.train.train import train_job
from tests.support.columns import schema_of


def test_scores_of_one_source_are_seldom_taken_for_higher_ones() -> None:
    generator = np.random.default_rng(0)

    found = [score_higher(generator.exponential(size=200), generator.exponential(size=700)) for _ in range(1_000)]

    assert sum(found) <= binom(1_000, LEVEL).ppf(0.999)


def test_a_shift_and_a_heavier_tail_are_found_and_lower_scores_are_not() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.exponential(size=200), generator.exponential(size=700)
    few = np.where(np.arange(200) < 15, 9.0, first)

    assert score_higher(first + 0.5, second)
    assert score_higher(few, second)
    assert not score_higher(second, first + 0.5)


def test_no_training_rows_calibrate_nothing() -> None:
    assert score_higher(np.ones(3), np.zeros(0))


def test_equal_scores_are_not_higher() -> None:
    assert not score_higher(np.ones(200), np.ones(700))


def test_folds_of_rows_with_an_event_time_are_spans_of_it() -> None:
    order = np.random.default_rng(0).permutation(100)
    table = pa.table({"at": order, "x": np.zeros(100)})
    schema = schema_of(table, event_time="at")

    folds = blocks_of(schema, table, folds=10)

    assert folds.tolist() == (order // 10).tolist()


@pytest.mark.parametrize("keys", [(), ("id",)])
def test_folds_without_an_event_time_are_those_of_the_models(keys: tuple[str, ...]) -> None:
    table = pa.table({"id": np.arange(100) // 4, "x": np.zeros(100)})
    schema = schema_of(table, keys=keys)

    assert blocks_of(schema, table, folds=10).tolist() == folds_of(schema, table, folds=10).tolist()


@pytest.mark.slow
def test_cells_of_a_job_are_measured_in_units_of_its_alpha(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=1_500)
    table = pa.table({"x": x, "double": 2 * x + generator.normal(size=1_500), "z": generator.normal(size=1_500)})
    pq.write_table(table, tmp_path / "rows.parquet")

    def cells(alpha: float) -> np.ndarray:
        described = {"name": "x", "data": {"path": "rows.parquet"}, "model": {"family": "pca"}}
        job = parse_job(described | {"calibration": {"alpha": alpha}}, source=tmp_path / "job.toml")
        scored = TableModel.open(train_job(job, device="cpu").bundle).score(table)
        return scored["cell_z"].to_numpy()

    narrow, wide = cells(0.05), cells(0.01)

    assert np.quantile(narrow, 0.9) > 1.1 * np.quantile(wide, 0.9)
    assert (narrow > 1).mean() == pytest.approx(3 * 0.01, abs=0.015)
    assert (wide > 1).mean() < 0.01
