"""Measures of synthetic rows of any table: each knows rows that are as good as real, and the fault it is made for."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from benchmarks.store import Result
from benchmarks.synthesis_any import read, section
from benchmarks.synthesis_copula import GaussianCopula
from benchmarks.synthesis_gaps import dependencies, moments, order_of, rare_shares, variation


def trips(rows: int, seed: int) -> pa.Table:
    """Trips whose country follows from the city, with an amount, and an end after the start."""
    rng = np.random.default_rng(seed)
    city = rng.choice(5, rows, p=[0.5, 0.3, 0.15, 0.045, 0.005])
    start = rng.normal(10 + city, 2, rows)
    return pa.table(
        {
            "city": pa.array([f"city {code}" for code in city]),
            "country": pa.array([None if code == 2 else f"country {code // 2}" for code in city]),
            "start": start,
            "end": start + rng.exponential(1, rows),
        }
    )


def test_rows_as_good_as_real_have_no_gaps() -> None:
    train, made = trips(40_000, 0), trips(40_000, 1)
    numbers = [np.stack([each["start"], each["end"]], 1) for each in (train, made)]

    assert dependencies(train, made) == 1.0
    assert rare_shares(train, made) == pytest.approx(1, abs=0.3)
    assert max(moments(numbers[0], numbers[1]).values()) < 0.5
    order = order_of(train)
    assert order == ("start", "end")
    assert abs(variation(train, made, made, order)) < 0.02


def test_gaps_are_found() -> None:
    train, made = trips(20_000, 0), trips(20_000, 1)
    moved = made.set_column(1, "country", pa.array(made["country"].to_pylist()[::-1]))
    without = made.filter(pc.not_equal(made["city"], "city 4"))
    order = order_of(train)
    assert order is not None

    assert dependencies(train, moved) < 0.8
    assert rare_shares(train, without) == 0
    wider = moments(np.arange(1_000.0)[:, None], 2 * np.arange(1_000.0)[:, None])
    assert wider["spread"] == pytest.approx(1)
    assert wider["mean"] > 1
    assert variation(train, made, made.filter(pc.not_equal(made["city"], "city 0")), order) > 0.3


def test_the_copula_has_the_values_and_the_correlations_of_its_rows() -> None:
    train = trips(8_000, 0)

    made = GaussianCopula(train, seed=0).sample(8_000, seed=1)

    assert made.schema == train.schema
    real, drawn = (np.corrcoef(each["start"], each["end"])[0, 1] for each in (train, made))
    assert drawn == pytest.approx(real, abs=0.05)
    shares = [each["city"].to_pylist().count("city 0") / 8_000 for each in (train, made)]
    assert shares[0] == pytest.approx(shares[1], abs=0.03)
    assert np.mean(made["start"]) == pytest.approx(np.mean(train["start"]), abs=0.15)


def test_tables_are_read_from_parquet_csv_and_arrays(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1, 2], "b": ["x ", "y"]}), tmp_path / "t.parquet")
    (tmp_path / "t.csv").write_text("a, b\n1, x\n2, y\n")
    np.savez(tmp_path / "t.npz", X=np.eye(2), y=np.array([0, 1]))

    assert read(tmp_path / "t.parquet")["b"].to_pylist() == ["x", "y"]
    assert read(tmp_path / "t.csv").to_pylist() == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    assert read(tmp_path / "t.npz")["y"].to_pylist() == ["no", "yes"]


def test_the_section_has_a_line_per_table_and_maker() -> None:
    values = {"trees": 0.55, "train_cpu_s": 12.0}
    results = [Result(f"adult/{name}", 0, "k", values, "2026-01-01", "m", {}) for name in ("aepipe", "copula")]

    text = section(results, 5_000)

    assert "| adult | aepipe | 0.550 |" in text
    assert "| adult | copula | 0.550 |" in text
