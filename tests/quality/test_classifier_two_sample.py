"""Classifier two-sample test, TSTR and their intervals."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from aepipe.errors import EvaluationInvalid
from aepipe.quality.alignment import Columns, Rows
from aepipe.quality.classifier_two_sample import two_sample
from aepipe.quality.intervals import delong, upper_bound
from aepipe.quality.tstr import downstream

COLUMNS = Columns(("x", "y"), ("kind",), (3,))


def rows(count: int, seed: int, *, slope: float = 1.0) -> Rows:
    """Generate rows in which y depends on x by the slope, and the kind on y."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(count)
    y = slope * x + 0.3 * rng.standard_normal(count)
    return Rows(np.column_stack([x, y]), 1 + (y > 1).astype(np.int32)[:, None])


def test_delong_equals_double_loop_over_pairs() -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat([True, False], [13, 17])
    score = np.round(rng.standard_normal(30) + truth, 1)

    value, variance = delong(truth, score)

    wins = (score[truth][:, None] > score[~truth]) + 0.5 * (score[truth][:, None] == score[~truth])
    assert value == pytest.approx(roc_auc_score(truth, score))
    assert variance == pytest.approx(wins.mean(1).var(ddof=1) / 13 + wins.mean(0).var(ddof=1) / 17)


@pytest.mark.parametrize(("hits", "rows"), [(0, 50), (3, 50), (50, 50)])
def test_upper_bound_has_its_confidence_level(hits: int, rows: int) -> None:
    from scipy.stats import binom

    bound = upper_bound(hits, rows, level=0.99)

    assert bound == 1.0 if hits == rows else binom.cdf(hits, rows, bound) == pytest.approx(0.01)


def test_same_distribution_gives_chance_and_only_trees_detect_a_broken_relation() -> None:
    same = two_sample(COLUMNS, rows(600, 0), rows(600, 1), seed=0)
    broken = rows(600, 1)
    broken.numbers[:, 1] = np.random.default_rng(2).permutation(broken.numbers[:, 1])

    found = two_sample(COLUMNS, rows(600, 0), replace(broken, codes=rows(600, 0).codes), seed=0)

    assert same.trees.low - 0.03 < 0.5 < same.trees.high + 0.03
    assert found.trees.low > 0.75
    assert found.logistic.high < 0.6


def test_column_without_values_in_any_row_or_in_a_fold_changes_nothing() -> None:
    """scikit-learn cannot bin a column of NaN; a column with one value has none in the fold that tests this row."""
    sides = rows(200, 0), rows(200, 1, slope=0.2)
    expected = two_sample(COLUMNS, *sides, seed=0)
    for known in (0, 1):
        wider = []
        for side in sides:
            sparse = np.full((200, 1), np.nan)
            sparse[:known] = 1.0
            wider.append(replace(side, numbers=np.hstack([side.numbers, sparse])))

        found = two_sample(Columns(("x", "y", "empty"), ("kind",), (3,)), *wider, seed=0)

        assert found.trees == expected.trees
        assert found.logistic.value == pytest.approx(expected.logistic.value, abs=0.02)


@pytest.mark.parametrize("target", ["kind", "y"])
def test_tstr_leaves_out_a_column_without_values(target: str) -> None:
    sides = {"train": rows(300, 0), "held_out": rows(200, 1), "synthetic": rows(300, 2)}
    empty = {name: np.full((len(side.numbers), 1), np.nan) for name, side in sides.items()}
    wider = {name: replace(side, numbers=np.hstack([side.numbers, empty[name]])) for name, side in sides.items()}

    found = downstream(Columns(("x", "y", "empty"), ("kind",), (3,)), target, **wider, seed=0)

    assert found == downstream(COLUMNS, target, **sides, seed=0)


def test_tstr_loss_measures_information_missing_from_synthetic_rows() -> None:
    sides = {"train": rows(800, 0), "held_out": rows(400, 1)}

    good = downstream(COLUMNS, "kind", **sides, synthetic=rows(800, 2), seed=0)
    useless = downstream(COLUMNS, "y", **sides, synthetic=rows(800, 2, slope=-1.0), seed=0)

    assert good.measure == "AUROC"
    assert good.from_real.value > 0.99
    assert abs(good.lost) < 0.01
    assert useless.measure == "R2"
    assert useless.from_real.value > 0.8
    assert useless.from_synthetic.high < 0


def test_synthetic_rows_of_one_class_give_chance() -> None:
    one_class = replace(rows(100, 2), codes=np.ones((100, 1), np.int32))

    found = downstream(COLUMNS, "kind", train=rows(100, 0), held_out=rows(100, 1), synthetic=one_class, seed=0)

    assert found.from_synthetic.value == 0.5


def test_invalid_column_to_predict_is_rejected() -> None:
    constant = Rows(rows(50, 0).numbers, np.ones((50, 1), np.int32))

    with pytest.raises(EvaluationInvalid, match="'kind' is constant in the training and held-out rows"):
        downstream(COLUMNS, "kind", train=constant, held_out=constant, synthetic=constant, seed=0)
    with pytest.raises(EvaluationInvalid, match="column 'knid' to predict does not exist: expected one of x, y, kind"):
        downstream(COLUMNS, "knid", train=constant, held_out=constant, synthetic=constant, seed=0)
