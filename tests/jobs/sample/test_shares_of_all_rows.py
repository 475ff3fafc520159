"""Synthetic rows have the value frequencies of the whole table, later rows included."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aepipe.jobs.sample.sample import sample
from aepipe.jobs.train.train import train

pytestmark = pytest.mark.slow

JOB = """
name = "visits"
[data]
path = "rows"
event_time = "at"
[columns]
plan = "category"
amount = "number"
[model]
family = "tabular_vae"
[train]
epochs = 20
[samples.quality]
check = false
[run]
device = "cpu"
"""


def test_values_that_came_up_late_are_drawn_as_often_as_in_the_whole_table(tmp_path: Path) -> None:
    rng, rows = np.random.default_rng(0), 4_000
    is_late = np.arange(rows) >= 0.7 * rows  # the split by time: these rows fit no weight
    is_annual = rng.random(rows) < np.where(is_late, 0.25, 0.1)
    table = pa.table(
        {
            "at": pa.array(np.arange(rows) * 60_000_000, pa.timestamp("us")),
            "plan": np.where(is_annual, "annual", "monthly"),
            "amount": rng.normal(np.where(is_annual, 90, 10), 1),
        }
    )
    (tmp_path / "rows").mkdir()
    pq.write_table(table, tmp_path / "rows" / "part.parquet")
    (tmp_path / "job.toml").write_text(JOB)

    train(tmp_path / "job.toml")
    made = pq.read_table(sample(tmp_path / "job.toml", rows=20_000, seed=1).path)

    annual = made["plan"].to_numpy(zero_copy_only=False) == "annual"
    assert is_annual[~is_late].mean() < 0.12
    assert annual.mean() == pytest.approx(is_annual.mean(), abs=0.01)
    assert made["amount"].to_numpy().mean() == pytest.approx(table["amount"].to_numpy().mean(), abs=2)
    assert (made["amount"].to_numpy()[annual] > 50).mean() > 0.95  # .963 to .979 by the seed of training
