"""Measures of synthetic rows: each accepts rows as good as real, and finds the fault it is made for."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from benchmarks.store import Result
from benchmarks.synthesis import Task, read, section, split
from benchmarks.synthesis_copula import GaussianCopula
from benchmarks.synthesis_makers import MAKERS, Asked, Class
from benchmarks.synthesis_measures import dependencies, measured, moments, order_of, rare_shares, variation


def trips(rows: int, seed: int) -> pa.Table:
    """Generate trips whose city determines the country, with a start and a later end."""
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


def test_the_section_has_a_line_per_table_rows_and_maker_and_means_over_seeds() -> None:
    def result(experiment: str, seed: int = 0, **values: float) -> Result:
        return Result(experiment, seed, "k", values, "2026-01-01", "a machine", {})

    text = section(
        [
            result("adult/5000/copula", trees=0.9),
            result("adult/5000/aepipe", trees=0.55, train_cpu_s=12.0),
            result("adult/5000/aepipe", 1, trees=0.57, train_cpu_s=14.0),
            result("adult/20000/aepipe", trees=0.54, copies=0.0),
        ]
    )

    assert "| table | maker | seeds | two-sample AUROC |" in text
    assert text.index("| adult (5,000) | aepipe | 2 | 0.560 |") < text.index("| adult (5,000) | copula | 1 | 0.900 |")
    assert text.index("| adult (5,000) | copula") < text.index("| adult (20,000) | aepipe | 1 | 0.540 |")
    assert "| table | maker | seeds | exact copies | training, CPU s |" in text
    assert "| adult (5,000) | aepipe | 2 |  | 13 |" in text
    assert text.count("| copula |") == 1  # it has no costs


def test_results_are_stored_under_their_settings() -> None:
    task = Task("copula", Path("data/adult.csv"), "income", 5_000, 0)

    assert task.experiment == "adult/5000/copula"
    assert task.key == task._replace(seed=1, path=Path("elsewhere/adult.csv")).key
    others = [
        task._replace(rows=300),
        task._replace(of_class=Class("sex", "Male")),
        task._replace(most=0.6),
        task._replace(target="sex"),
    ]
    assert len({each.key for each in [task, *others]}) == 5


def test_rows_are_split_without_overlap() -> None:
    rows = pa.table({"at": range(100)})

    train, rest = split(rows, 10, most=0.5, seed=1)
    half, other = split(rows, 1_000, most=0.5, seed=1)

    assert (train.num_rows, rest.num_rows) == (10, 20)
    assert not set(train["at"].to_pylist()) & set(rest["at"].to_pylist())
    assert sorted(half["at"].to_pylist() + other["at"].to_pylist()) == list(range(100))


def test_a_peer_gives_rows_of_a_class_and_in_an_order_among_its_draws() -> None:
    train = trips(500, 0)
    asked = Asked(Class("city", "city 1"), order_of(train))

    made = MAKERS["copula"](train, asked, 0)

    assert made.of_class is not None
    assert set(made.of_class["city"].to_pylist()) == {"city 1"}
    assert made.kept == pytest.approx(0.3, abs=0.05)
    assert made.ordered is not None
    assert pc.all(pc.less_equal(made.ordered["start"], made.ordered["end"])).as_py()
    assert MAKERS["real rows"](train, asked, 0).rows is train


@pytest.mark.slow
def test_a_learner_predicts_a_column_from_informative_rows() -> None:
    def rows(count: int, seed: int, *, is_real: bool = True) -> pa.Table:
        rng = np.random.default_rng(seed)
        x, kind = rng.standard_normal(count), rng.choice(["a", "b"], count)
        truth = (x + (kind == "a") > 1) if is_real else rng.random(count) < 0.3
        return pa.table({"x": x, "kind": kind, "income": np.where(truth, "high", "low")})

    train, held_out = rows(1_500, 0), rows(1_500, 1)

    real, false = rows(1_500, 2), rows(1_500, 3, is_real=False)
    good = measured(train, held_out, real, real, target="income", seed=0)
    poor = measured(train, held_out, false, false, target="income", seed=0)

    assert good["useful"] > 0.98 > 0.7 > poor["useful"]
    assert abs(good["trees"] - 0.5) < 0.05 < poor["trees"] - 0.5
    assert good["shapes"] > 0.95
    assert good["copies"] == 0
