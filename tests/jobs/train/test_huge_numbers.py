"""Numbers of 1e20 to 1e308 among ordinary ones change neither the training nor the scores of other rows."""

import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aepipe.config.job import parse_job
from aepipe.encoding import fit
from aepipe.encoding.number_statistics import FAR, usable
from aepipe.inference.table_model import TableModel
from aepipe.jobs.train.train import train_job
from aepipe.jobs.train.training_data import encode_rows
from aepipe.jobs.train.training_rows import TrainingRows
from tests.support.columns import schema_of

pytestmark = pytest.mark.slow


HUGE = (1e20, -1e25, 1e30, -1e37, 3e38, 1e300, -1e308, np.inf, -np.inf, np.nan)
PLACES = np.arange(len(HUGE)) * 7


def table(rows: int, seed: int, *, huge: bool = False, dtype: type = np.float64) -> pa.Table:
    generator = np.random.default_rng(seed)
    a = generator.normal(10, 2, rows)
    columns = [a, 2 * a + generator.normal(size=rows), generator.lognormal(0, 1, rows)]
    if huge:
        for index, (place, value) in enumerate(zip(PLACES, HUGE, strict=True)):
            columns[index % 3][place] = value
    with np.errstate(over="ignore"):
        arrays = [values.astype(dtype) for values in columns]
    return pa.table(dict(zip("abc", arrays, strict=True)) | {"kind": generator.choice(["x", "y"], rows)})


@settings(max_examples=100)
@given(st.integers(0, 1_000), st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.sampled_from(HUGE))
def test_only_far_values_are_not_usable(seed: int, loc: float, scale: float, huge: float) -> None:
    values = np.random.default_rng(seed).normal(loc, scale, 300)
    values[:5] = huge

    assert usable(values).tolist() == [False] * 5 + [True] * 295


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).pareto(1, 100_000),
        np.random.default_rng(0).lognormal(0, 3, 100_000),
        np.random.default_rng(0).standard_cauchy(100_000),
        np.r_[np.zeros(9_000), np.random.default_rng(0).lognormal(5, 2, 1_000)],
        np.full(100, 3.0),
        np.array([0.0, 1e15]),
        np.r_[np.zeros(9), 1e-45, -1.0],
        np.array([]),
    ],
)
def test_heavy_tails_and_constants_are_usable(values: np.ndarray) -> None:
    assert usable(values).all()


def test_encoding_is_that_of_the_ordinary_values() -> None:
    clean, mixed = table(2_000, 0), table(2_000, 0, huge=True)
    ordinary = clean.filter(pa.array(~np.isin(np.arange(2_000), PLACES)))

    for with_huge, without in zip(
        fit(schema_of(mixed), mixed.to_batches()).layout.numbers,
        fit(schema_of(ordinary), ordinary.to_batches()).layout.numbers,
        strict=True,
    ):
        for name in ("mean", "std", "center", "scale", "low", "high"):
            assert getattr(with_huge, name) == pytest.approx(getattr(without, name), rel=0.05, abs=0.01)
        assert with_huge.transform == without.transform


def test_far_rows_are_left_out_of_every_part_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    mixed = table(300, 0)
    for place in (3, 150):
        b = mixed["b"].to_numpy().copy()
        b[place] = FAR * 1e9
        mixed = mixed.set_column(1, "b", pa.array(b))
    parts = [mixed.slice(0, 100), mixed.slice(100, 100), mixed.slice(200, 100)]
    empty = mixed.slice(0, 0)
    job = parse_job({"name": "t", "data": {"path": "."}}, source=Path("/jobs/job.toml"))

    with caplog.at_level(logging.WARNING):
        data = encode_rows(job, TrainingRows(schema_of(mixed), *parts, empty, empty, 100.0))

    assert data.counts == {"train": 99, "dev": 99, "calibration": 100}
    assert (
        "1 training rows are left out because a number is 1e+09 times farther" in caplog.text and "'b'" in caplog.text
    )


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("family", ["pca", pytest.param("vae", marks=pytest.mark.slow)])
def test_scores_of_other_rows_are_equal_bit_for_bit(tmp_path: Path, family: str, dtype: type) -> None:
    pq.write_table(table(600, 0, dtype=dtype), tmp_path / "t.parquet")
    raw = {"data": {"path": "t.parquet"}, "train": {"epochs": 1}, "calibration": {"alpha": 0.05}}
    job = parse_job({"name": "t", "model": {"family": family}, **raw}, source=tmp_path / "job.toml")
    model = TableModel.open(train_job(job).bundle, device="cpu")

    clean = model.score(table(3_000, 1, dtype=dtype))
    mixed = model.score(table(3_000, 1, dtype=dtype, huge=True))

    others = pa.array(~np.isin(np.arange(3_000), PLACES))
    assert mixed.filter(others).equals(clean.filter(others))
    flagged = mixed["is_anomaly"].to_numpy() | mixed["score"].is_null().to_numpy()
    assert flagged[PLACES].all()


@pytest.mark.slow
def test_training_with_huge_numbers_flags_like_training_without(tmp_path: Path) -> None:
    shares = []
    for huge in (False, True):
        pq.write_table(table(1_500, 0, huge=huge), tmp_path / "t.parquet")
        raw = {"data": {"path": "t.parquet"}, "model": {"family": "pca"}, "train": {"epochs": 1}}
        job = parse_job({"name": f"t{huge}", **raw, "calibration": {"alpha": 0.02}}, source=tmp_path / "job.toml")
        scores = TableModel.open(train_job(job).bundle, device="cpu").score(table(3_000, 2))
        shares.append((scores["score"].to_numpy(), scores["is_anomaly"].to_numpy().mean()))

    assert np.corrcoef(shares[0][0], shares[1][0])[0, 1] > 0.95
    assert 0.005 < shares[1][1] < 0.05
