"""Source columns in `evaluate`: conditions see parsed text, and copies of the label are named."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aepipe.jobs.evaluate.evaluate import evaluate
from aepipe.jobs.score import score
from aepipe.jobs.train.train import train

JOB = """
name = "orders"
[data]
path = "rows"
labels = ["y"]
[columns]
amount = {kind = "number", format = "1.234,5"}
[model]
family = "pca"
[calibration]
alpha = 0.05
[train]
to = "2026-01-01"
"""


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    """Train and score two nights: `copy` repeats the label, `amount` is a number in German notation."""
    rng = np.random.default_rng(0)
    for day in (1, 2):
        amounts, y = rng.lognormal(7, 1, 400), rng.integers(0, 2, 400)
        table = pa.table(
            {
                "amount": [f"{amount:,.2f}".translate(str.maketrans(",.", ".,")) for amount in amounts],
                "x": rng.normal(size=400),
                "copy": np.where(y == 1, "bad", "good"),
                "y": y,
            }
        )
        path = tmp_path / "rows" / f"dt=2026-01-{day:02d}" / "part-0.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(table, path)
    job = tmp_path / "job.toml"
    job.write_text(JOB)
    train(job)
    score(job)
    return job


@pytest.mark.slow
def test_a_condition_compares_numbers_that_are_stored_as_text(orders: Path) -> None:
    orders.write_text(JOB + '[evaluate]\nanomaly = "amount > 3000"\n')

    found = evaluate(orders, first="2026-01-02")

    table = pq.read_table(orders.parent / "rows" / "dt=2026-01-02" / "part-0.parquet", partitioning=None)
    amounts = [float(text.replace(".", "").replace(",", ".")) for text in table["amount"].to_pylist()]
    assert (found.rows, found.anomalies) == (400, sum(amount > 3000 for amount in amounts))


@pytest.mark.slow
def test_a_modelled_copy_of_the_label_is_named(orders: Path) -> None:
    found = evaluate(orders, label="y", first="2026-01-02")

    (warning,) = [warning for warning in found.warnings if "one to one" in warning]
    assert warning.startswith("column 'copy' determines the label 'y' one to one, so that the scores use the answer.")
