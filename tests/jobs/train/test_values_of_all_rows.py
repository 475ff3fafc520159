"""Calibration rows do not define codes, but synthetic rows have their values."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aepipe.config.job import read_job
from aepipe.jobs.train.training_data import TrainingData, read_training_data
from aepipe.layout import UNSEEN
from aepipe.tables.partitions import discover

JOB = """
name = "payments"
[data]
path = "rows"
event_time = "at"
[model]
family = "tabular_vae"
"""
ROWS, OUTLIER = 2_000, 90_000.0


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    folder = tmp_path_factory.mktemp("payments")
    amount = np.round(np.random.default_rng(0).lognormal(3, 1, ROWS), 2)
    amount[-1] = OUTLIER  # the last row by time is a calibration row
    at = pa.array(np.arange(ROWS) * 60_000_000, pa.timestamp("us"))
    (folder / "rows").mkdir()
    pq.write_table(pa.table({"at": at, "amount": amount, "tax": amount / 5}), folder / "rows" / "part.parquet")
    (folder / "job.toml").write_text(JOB)
    job = read_job(folder / "job.toml")
    return read_training_data(job, discover(job), as_codes=True)


def test_an_outlier_among_the_calibration_rows_is_as_unknown_to_the_network_as_a_new_one(data: TrainingData) -> None:
    codes = data.calibration["cat"]

    assert data.calibration_rows["amount"][-1].as_py() == OUTLIER
    assert codes[-1].tolist() == [UNSEEN, UNSEEN]
    assert (codes[:-1] != UNSEEN).all()


def test_an_outlier_among_the_calibration_rows_counts_for_the_last_bin(data: TrainingData) -> None:
    last = [category.size - 1 for category in data.encoding.layout.categories]

    counted = data.counted[2]["cat"]

    assert counted[-1].tolist() == last
    assert np.array_equal(counted[:-1], data.calibration["cat"][:-1])


def test_an_outlier_among_the_calibration_rows_is_drawn_from_the_last_bin(data: TrainingData) -> None:
    last = data.encoding.layout.categories[0].size - 1
    uniform = np.linspace(0, 1, 1_000, endpoint=False)[:, None].repeat(2, axis=1)

    drawn = data.encoding.decode({"cat": np.full((1_000, 2), last, np.int32)}, uniform).column("amount").to_numpy()

    rows = np.concatenate([part["cat"][:, 0] for part in (data.train, data.dev, data.calibration)])
    assert (drawn == OUTLIER).mean() == pytest.approx(1 / (1 + (rows == last).sum()), abs=0.002)
