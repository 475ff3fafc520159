"""Values that training rows rule out are flagged by the model of a job with defaults."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aepipe.config.job import parse_job
from aepipe.inference.table_model import TableModel
from aepipe.jobs.train.train import train_job


def _rows(rows: int, seed: int) -> dict[str, list[str] | np.ndarray]:
    generator = np.random.default_rng(seed)
    city = generator.integers(0, 70, rows)
    return {
        "city": [f"city {each}" for each in city],
        "country": [f"country {each % 7}" for each in city],
        "kind": [f"kind {each}" for each in generator.integers(0, 3, rows)],
        "age": generator.integers(18, 70, rows),
        "amount": generator.lognormal(size=rows),
    }


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TableModel:
    folder: Path = tmp_path_factory.mktemp("impossible")
    pq.write_table(pa.table(_rows(2_000, 0)), folder / "rows.parquet")
    sections = {
        "name": "impossible",
        "data": {"path": "rows.parquet"},
        "calibration": {"alpha": 0.01},
        "train": {"epochs": 3},
    }
    return TableModel.open(train_job(parse_job(sections, source=folder / "job.toml"), device="cpu").bundle)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("country", [f"country {(int(each.removeprefix('city ')) + 1) % 7}" for each in _rows(300, 1)["city"]]),
        ("kind", ["kind of its own"] * 300),
        ("age", np.full(300, 130)),
    ],
)
def test_a_broken_dependency_a_new_category_and_an_impossible_number_are_flagged(
    model: TableModel, column: str, values: list[str] | np.ndarray
) -> None:
    usual = model.score(pa.table(_rows(300, 1)))
    found = model.score(pa.table(_rows(300, 1) | {column: values}))

    assert np.mean(usual["is_anomaly"].to_numpy(zero_copy_only=False)) <= 0.03
    assert np.mean(found["is_cell_anomaly"].to_numpy(zero_copy_only=False)) > 0.95
    assert np.mean(np.array(found["cell_column"].cast(pa.string())) == column) > 0.7
