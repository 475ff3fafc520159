"""The comparison of synthetic tables: its measures know rows that are as good as real, and rows that are not."""

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.adult import read
from benchmarks.store import Result
from benchmarks.synthesis import section, split
from benchmarks.synthesis_makers import Asked


def test_the_table_of_results_shows_means_and_the_ratio_to_the_peer() -> None:
    def result(maker: str, seed: int, **values: float) -> Result:
        return Result(maker, seed, "k", values, "2026-01-01", "a machine", {"torch": "2"})

    text = section(
        [
            result("aepipe", 0, shapes=0.99, train_cpu_s=40.0, kept=1.0, copies=0.0),
            result("aepipe", 1, shapes=0.97, train_cpu_s=60.0, kept=1.0),
            result("TVAE", 0, shapes=0.88, train_cpu_s=200.0, kept=0.05, copies=0.0),
            result("real rows", 0, shapes=0.995),
        ]
    )

    assert "| column shapes | >= .975 | >= .985 | 0.980 ± 0.010 | 0.880 | 0.995 | 1.11 |" in text
    assert "| training, CPU s | <= 1/3 of TVAE's | 1/7 | 50 ± 10 | 200 |  | 0.25 |" in text
    assert "| measure | must | aim | aepipe (2) | TVAE (1) | real rows (1) | ratio to TVAE |" in text


def test_rows_are_split_without_overlap_and_texts_are_stripped(tmp_path: pytest.TempPathFactory) -> None:
    path = tmp_path / "t.csv"  # type: ignore[operator]
    path.write_text("age, income\n" + "\n".join(f"{age}, <=50K" for age in range(20)) + "\n")

    rows = read(path)
    train, rest = split(rows, 15, seed=1)

    assert rows.column_names == ["age", "income"]
    assert set(rows["income"].to_pylist()) == {"<=50K"}
    assert sorted(train["age"].to_pylist() + rest["age"].to_pylist()) == list(range(20))
    assert Asked("income", "<=50K").of(rest).num_rows == 5


def test_a_learner_predicts_a_column_from_informative_rows() -> None:
    pytest.importorskip("lightgbm")
    from benchmarks.synthesis_measures import measured

    def rows(count: int, seed: int, *, is_real: bool = True) -> pa.Table:
        rng = np.random.default_rng(seed)
        x, kind = rng.standard_normal(count), rng.choice(["a", "b"], count)
        truth = (x + (kind == "a") > 1) if is_real else rng.random(count) < 0.3
        return pa.table({"x": x, "kind": kind, "income": np.where(truth, "high", "low")})

    train, held_out = rows(1_500, 0), rows(1_500, 1)

    good = measured(train, held_out, rows(1_500, 2), predict="income", seed=0)
    poor = measured(train, held_out, rows(1_500, 3, is_real=False), predict="income", seed=0)

    assert good["auroc"] > 0.98 > 0.7 > poor["auroc"]
    assert abs(good["trees"] - 0.5) < 0.05 < poor["trees"] - 0.5
    assert good["shapes"] > 0.95
