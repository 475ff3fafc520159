"""Weights between a model and the nearest rows: the better estimate wins in each column."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pytest

from aepipe.encoding import Encoding, fit
from aepipe.inference.best_estimate import WeighedEstimate
from tests.inference.test_nearest_rows import gaps, table
from tests.support.columns import schema_of

NAMES = ("kind", "x", "y", "noise")


@pytest.fixture(scope="module")
def encoding() -> Encoding:
    train = table(400, 0)
    return fit(schema_of(train), train.to_batches())


def learned(encoding: Encoding, model: Mapping[str, pa.Array], held_out: pa.Table) -> WeighedEstimate:
    return WeighedEstimate.learn(encoding, table(400, 0), held_out, lambda rows, missing: model)


def test_a_model_that_knows_the_truth_is_believed_and_one_that_guesses_is_not(encoding: Encoding) -> None:
    truth = table(300, 1)
    (right,) = truth.combine_chunks().to_batches()
    guesses = {name: pa.array(np.random.default_rng(2).permutation(np.array(truth[name]))) for name in NAMES}

    knows = learned(encoding, dict(zip(NAMES, right.columns, strict=True)), truth).weights
    guess = learned(encoding, guesses, truth).weights

    assert knows["noise"] > 0.8  # neighbours do not determine it
    assert guess["x"] < 0.2
    assert guess["kind"] < 0.5
    assert all(0 <= weight <= 1 for weight in [*knows.values(), *guess.values()])


def test_only_missing_cells_of_estimates_change_and_null_ones_stay_null(encoding: Encoding) -> None:
    truth = table(60, 3)
    holed = gaps(truth, 0.3, 4)
    missing = {name: np.asarray(holed[name].is_null()) for name in NAMES}
    guesses = {name: pa.array(np.random.default_rng(2).permutation(np.array(truth[name]))) for name in NAMES}
    guesses["y"] = pa.array(guesses["y"].to_pylist(), pa.float64(), mask=np.arange(60) < 30)
    shuffled = {name: pa.array(np.random.default_rng(2).permutation(np.array(table(900, 5)[name]))) for name in NAMES}
    weighed = learned(encoding, shuffled, table(900, 5))

    found = weighed.refine(holed, missing, guesses)

    is_whole = ~np.any(list(missing.values()), axis=0)
    for name in NAMES:
        assert found[name].type == guesses[name].type
        assert found[name].filter(pa.array(is_whole)).equals(guesses[name].filter(pa.array(is_whole)))
    assert np.asarray(found["y"].is_null())[:30].all()
    asked = missing["x"] & ~missing["y"]
    off = np.asarray(found["x"])[asked] - np.asarray(truth["x"])[asked]
    before = np.asarray(guesses["x"])[asked] - np.asarray(truth["x"])[asked]
    assert np.abs(off).mean() < 1.5 < 5 < np.abs(before).mean()


def test_rows_without_gaps_keep_what_the_model_says(encoding: Encoding) -> None:
    (rows,) = table(20, 6).to_batches()
    none = {name: np.zeros(20, np.bool_) for name in NAMES}
    weighed = learned(encoding, dict(zip(NAMES, rows.columns, strict=True)), table(20, 6))

    assert weighed.refine(rows, none, {"x": rows["y"]}) == {"x": rows["y"]}
