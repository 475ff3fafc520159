"""Small tables and tables of few distinct rows: calibration, and alarm rates of at most alpha."""

import json
import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aepipe.bundles.bundle import Bundle
from aepipe.calibration.conformal import least_alpha
from aepipe.config.job import read_job
from aepipe.errors import CalibrationInvalid, DataUnreadable
from aepipe.jobs.score import score
from aepipe.jobs.train.split import folds_of
from aepipe.jobs.train.train import train
from aepipe.jobs.train.training_rows import read_training_rows
from aepipe.tables.partitions import discover


def write(folder: Path, nights: list[pa.Table], *, extra: str = "", train_to: str = "2026-01-01") -> Path:
    for day, table in enumerate(nights, start=1):
        path = folder / "data" / f"dt=2026-01-{day:02d}"
        path.mkdir(parents=True)
        pq.write_table(table, path / "part-0.parquet")
    job = folder / "job.toml"
    job.write_text(
        f'name = "small"\n[data]\npath = "data"\n[model]\nfamily = "pca"\n'
        f'[train]\nto = "{train_to}"\n[run]\nworkers = 1\n{extra}'
    )
    return job


def correlated(rows: int, *, seed: int) -> pa.Table:
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(rows, 2))
    values = hidden @ np.random.default_rng(0).normal(size=(2, 5)) + 0.3 * rng.normal(size=(rows, 5))
    return pa.table({f"x{index}": column for index, column in enumerate(values.T)})


@pytest.mark.slow
def test_three_hundred_rows_are_calibrated_for_alpha_of_one_percent(tmp_path: Path) -> None:
    job = write(tmp_path, [correlated(300, seed=1), correlated(4_000, seed=2)])

    bundle = Bundle.open(train(job).bundle)
    flagged = {night.partition: night.flagged for night in score(job).nights}

    details = bundle.manifest.details["calibration"]
    rows = bundle.manifest.rows
    expected = {"held_out": rows["calibration"], "out_of_fold": rows["train"]}
    assert details == {"method": "cross-conformal", "folds": 10, **expected}
    assert bundle.calibration.n == rows["calibration"] + rows["train"] > 250
    assert bundle.calibration.alpha == 0.01
    card = (bundle.path / "card.md").read_text()
    assert f"cross-conformal, 10 folds; {rows['train']} training rows" in card
    assert "head knn_with_quantiles is the default for clean training rows; no labels chose it" in card
    # The share of normal rows above the second highest of 270 scores is Beta(2, 269): 99.9 % of it lies below .035.
    assert 0.0005 * 4_000 < flagged["dt=2026-01-02"] < 0.035 * 4_000


@pytest.mark.slow
def test_enough_held_out_rows_need_no_folds(tmp_path: Path) -> None:
    bundle = Bundle.open(train(write(tmp_path, [correlated(1_000, seed=1)])).bundle)

    rows = bundle.manifest.rows
    assert bundle.manifest.details["calibration"] == {"training_rows_of_cells": rows["train"]}
    assert bundle.calibration.n == rows["calibration"]


def sums(rows: int, *, seed: int, wrong: int = 0) -> pa.Table:
    """Generate two numbers and their sum, which is wrong but within its usual range in the first rows."""
    rng = np.random.default_rng(seed)
    parts = rng.normal(size=(rows, 2))
    total = parts.sum(axis=1) + 0.05 * rng.normal(size=rows)
    total[:wrong] -= 1.5 * np.sign(total[:wrong])
    return pa.table({"a": parts[:, 0], "b": parts[:, 1], "total": total, "other": rng.normal(size=rows)})


@pytest.mark.slow
def test_a_fold_gives_an_alarm_for_cells_to_tables_with_too_few_held_out_rows(tmp_path: Path) -> None:
    job = write(tmp_path, [sums(700, seed=1), sums(2_000, seed=2, wrong=200)])
    done = []

    bundle = Bundle.open(train(job, progress=lambda stage, share: done.append((stage, share))).bundle)
    score(job)

    calibration, held_out = bundle.calibration, bundle.manifest.rows["calibration"]
    rows = pq.read_table(next((tmp_path / "out" / "small" / "scores" / "dt=2026-01-02").glob("*.parquet")))
    is_cell = rows["is_cell_anomaly"].to_numpy()
    assert held_out < 199 <= calibration.n < 199 + bundle.manifest.rows["train"] / 10 + 2
    assert bundle.manifest.details["calibration"]["out_of_fold"] == calibration.n - held_out
    assert calibration.cells is not None
    assert calibration.cells.n == held_out + bundle.manifest.rows["train"]  # each training row once
    assert 0.004 < calibration.cell_alpha <= 0.01 - calibration.row_alpha
    assert is_cell[:200].mean() > 0.8
    assert is_cell[200:].mean() < 0.03
    assert max(share for stage, share in done if stage == "calibrate" and share < 1) == pytest.approx(10 / 11)


@pytest.mark.slow
def test_training_rows_calibrate_cells_so_that_new_values_of_normal_rows_do_not_hide_broken_sums(
    tmp_path: Path,
) -> None:
    """About 1.5 % of the rows have a value that training lacks; with 200 calibration rows, they took the only rank."""

    def rows(count: int, seed: int, wrong: int = 0) -> pa.Table:
        table, rng = sums(count, seed=seed, wrong=wrong), np.random.default_rng(seed)
        for at in range(5):
            values = [f"v{value}" for value in np.minimum(rng.zipf(2.5, size=count), 999)]
            table = table.append_column(f"c{at}", pa.array(values))
        return table

    job = write(tmp_path, [rows(1_000, 1), rows(4_000, 2, wrong=500)])

    bundle = Bundle.open(train(job).bundle)
    score(job)

    found = pq.read_table(next((tmp_path / "out" / "small" / "scores" / "dt=2026-01-02").glob("*.parquet")))
    calibration, counts = bundle.calibration, bundle.manifest.rows
    assert calibration.n == counts["calibration"] < 250
    assert calibration.cells is not None
    assert calibration.cells.n == counts["calibration"] + counts["train"]
    assert calibration.row_alpha + calibration.cell_alpha <= 0.01
    assert f"calibration of single cells: {counts['train']} training rows" in (bundle.path / "card.md").read_text()
    assert found["is_cell_anomaly"].to_numpy()[:500].mean() > 0.8
    assert found["is_anomaly"].to_numpy()[500:].mean() < 0.02


@pytest.mark.slow
def test_cells_are_calibrated_on_held_out_rows_alone_after_a_drift(tmp_path: Path) -> None:
    """The relation of the last rows differs, so that their cells are more unusual than cells of training rows."""
    early, late = sums(800, seed=1), sums(400, seed=2)
    late = late.set_column(2, "total", pa.array(late["total"].to_numpy() + 0.3 * late["other"].to_numpy()))
    table = pa.concat_tables([early, late]).append_column("at", pa.array(np.arange(1_200)))
    job = write(tmp_path, [table])
    job.write_text(job.read_text().replace('path = "data"', 'path = "data"\nevent_time = "at"'))

    calibration = Bundle.open(train(job).bundle).calibration

    assert calibration.cells is not None
    assert calibration.cells.n == calibration.n == 240


@pytest.mark.slow
def test_the_default_alpha_becomes_the_least_that_the_rows_support(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job = write(tmp_path, [correlated(50, seed=1)])

    with caplog.at_level(logging.WARNING):
        bundle = Bundle.open(train(job).bundle)

    n, alpha = bundle.calibration.n, bundle.calibration.alpha
    assert 40 <= n < 50
    assert alpha == least_alpha(n)
    assert f"alpha is {alpha:g}: {n} calibration rows do not support the default of 0.01" in caplog.text


def test_an_alpha_of_the_job_that_no_fold_can_support_is_refused_before_training(tmp_path: Path) -> None:
    job = write(tmp_path, [correlated(50, seed=1)], extra="[calibration]\nalpha = 0.01\n")

    with pytest.raises(CalibrationInvalid, match=r"expected at least 99, got 4\d. Set alpha >= 0.02\d+, or give more"):
        train(job)


def test_rows_with_equal_keys_are_in_one_fold(tmp_path: Path) -> None:
    table = correlated(300, seed=1).append_column("id", pa.array(np.arange(300) // 3))
    job = read_job(write(tmp_path, [table], extra="").parent / "job.toml")
    job = job.model_copy(update={"data": job.data.model_copy(update={"keys": ("id",)})})
    rows = read_training_rows(job, discover(job))

    folds = folds_of(rows.schema, rows.train, folds=10)

    ids = rows.train["id"].to_numpy()
    assert set(folds.tolist()) == set(range(10))
    assert all(len(set(folds[ids == each])) == 1 for each in np.unique(ids))


@pytest.mark.slow
def test_a_key_that_is_the_same_in_all_rows_still_divides_into_folds(tmp_path: Path) -> None:
    table = correlated(200, seed=1).append_column("id", pa.array(["x"] * 200))
    job = write(tmp_path, [table])
    job.write_text(job.read_text().replace('path = "data"', 'path = "data"\nkeys = ["id"]'))

    assert Bundle.open(train(job).bundle).calibration.n == 180


def test_a_table_of_constants_is_refused_before_training(tmp_path: Path) -> None:
    table = pa.table({"x": np.full(200, 5.0), "c": ["a"] * 200, "n": pa.array([None] * 200, pa.float64())})

    with pytest.raises(DataUnreadable, match=r"has only constant columns: .* got one value in each of 'x', 'c'"):
        train(write(tmp_path, [table]))


def test_training_partitions_without_rows_are_named(tmp_path: Path) -> None:
    job = write(tmp_path, [correlated(200, seed=1).slice(0, 0), correlated(200, seed=1)])

    with pytest.raises(DataUnreadable, match="no rows in the training partitions, dt=2026-01-01 to dt=2026-01-01"):
        train(job)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["pca", "ae"])
@pytest.mark.parametrize("distinct", [2, 3, 5])
def test_a_table_of_few_distinct_rows_is_scored_and_flags_only_other_rows(
    tmp_path: Path, distinct: int, family: str
) -> None:
    rng = np.random.default_rng(distinct)
    kinds = pa.table({"state": [f"s{index}" for index in range(distinct)], "level": np.arange(distinct) * 1.5})
    usual = kinds.take(pa.array(rng.integers(0, distinct, 600)))
    odd = pa.table({"state": ["s0", "new"], "level": [40.0, 0.0]})
    job = write(tmp_path, [usual, pa.concat_tables([usual, odd])])
    job.write_text(job.read_text().replace('"pca"', f'"{family}"'))

    calibration = Bundle.open(train(job).bundle).calibration
    score(job)

    written = pq.read_table(next((tmp_path / "out").rglob("scores/dt=2026-01-02/*.parquet")), partitioning=None)
    flagged = np.flatnonzero(written["is_anomaly"].to_numpy())
    assert 600 in flagged
    assert set(flagged.tolist()) <= {600, 601}
    assert calibration.resolution > 0
    assert json.loads(calibration.to_json())["resolution"] == calibration.resolution
