"""Imputation by a masked autoencoder, from file to file."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aepipe.jobs.sample.impute import impute
from aepipe.jobs.train.train import train

JOB = """
name = "gaps"
[data]
path = "rows"
keys = ["id"]
[columns]
shape = "category"
[model]
family = "masked_ae"
latent = 3
[train]
epochs = 40
to = "2026-01-01"
[run]
device = "cpu"
[samples.quality]
check = false
"""


def points(rows: int) -> pa.Table:
    """Generate points of three named clusters; the third number is the sum of the others."""
    rng = np.random.default_rng(0)
    cluster = rng.integers(0, 3, rows)
    x, y = (np.array([[0, 0], [5, 5], [9, 1]])[cluster] + 0.3 * rng.standard_normal((rows, 2))).T
    names = pa.array([f"shape {index}" for index in cluster])
    return pa.table({"id": np.arange(rows), "x": x, "y": y, "total": x + y, "shape": names})


def with_gaps(table: pa.Table, share: float) -> pa.Table:
    rng = np.random.default_rng(1)
    for name in ("x", "shape"):
        kept = table[name].combine_chunks().to_pylist()
        gaps = rng.random(len(kept)) < share
        values = [None if is_gap else value for value, is_gap in zip(kept, gaps, strict=True)]
        table = table.set_column(
            table.schema.get_field_index(name), name, pa.array(values, table.schema.field(name).type)
        )
    return table


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a job on rows without gaps and on a partition with gaps."""
    folder = tmp_path_factory.mktemp("gaps")
    for day, table in (("01", points(1_500)), ("02", with_gaps(points(500), 0.2))):
        (folder / "rows" / f"dt=2026-01-{day}").mkdir(parents=True)
        pq.write_table(table, folder / "rows" / f"dt=2026-01-{day}" / "part.parquet")
    (folder / "job.toml").write_text(JOB)
    train(folder / "job.toml")
    return folder / "job.toml"


@pytest.mark.slow
def test_gaps_in_columns_that_had_none_in_training_are_filled_from_the_other_cells(job: Path) -> None:
    real, gapped = points(500), with_gaps(points(500), 0.2)

    result = impute(job, "dt=2026-01-02", how="mean")

    filled = pq.read_table(result.path)
    gaps = np.asarray(gapped["x"].is_null())
    off = np.asarray(filled["x"]) - np.asarray(real["x"])
    assert (off[~gaps] == 0).all()
    assert np.sqrt(np.mean(np.square(off[gaps]))) < 0.25 * np.std(np.asarray(real["x"]))
    named = np.asarray(filled["shape"]) == np.asarray(real["shape"])
    assert named[~np.asarray(gapped["shape"].is_null())].all()
    assert named.mean() > 0.97
    assert result.filled == {"x": gaps.sum(), "shape": gapped["shape"].null_count}
    assert not any(result.left.values())


@pytest.mark.slow
def test_draws_depend_on_the_seed_and_the_estimate_does_not(job: Path) -> None:
    gaps = np.asarray(with_gaps(points(500), 0.2)["x"].is_null())

    def drawn(seed: int, how: str = "draw") -> np.ndarray:
        return np.asarray(pq.read_table(impute(job, "dt=2026-01-02", seed=seed, how=how).path)["x"])[gaps]

    first, other, again = drawn(1), drawn(2), drawn(1)

    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(drawn(1, "mean"), drawn(2, "mean"))


@pytest.mark.slow
def test_best_estimates_use_the_nearest_training_rows_unless_these_are_gone(
    job: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def error(rows: pa.Table) -> float:
        gaps = np.asarray(with_gaps(points(500), 0.2)["x"].is_null())
        return float(np.abs(np.asarray(rows["x"]) - np.asarray(points(500)["x"]))[gaps].mean())

    near = pq.read_table(impute(job, "dt=2026-01-02", how="mean", draws=7).path)
    assert not caplog.records
    train_rows = job.parent / "rows" / "dt=2026-01-01"
    train_rows.rename(job.parent / "gone")
    try:
        alone = pq.read_table(impute(job, "dt=2026-01-02", how="mean", draws=8).path)
    finally:
        (job.parent / "gone").rename(train_rows)

    assert "the rows that it was trained on are gone" in caplog.text
    assert error(near) < 0.9 * error(alone)
