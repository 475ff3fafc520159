"""Logistic regression of a label, against scikit-learn."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from aepipe.jobs.evaluate.label_accuracy import (
    fit_logistic_regression,
    label_accuracy,
    standardised,
    stratified_folds,
    variances_without,
)


def table(rows: int, *, classes: int = 2, columns: int = 6) -> tuple[NDArray[np.float64], NDArray[np.str_]]:
    generator = np.random.default_rng(rows)
    matrix = generator.normal(size=(rows, columns)) * np.exp(generator.normal(size=columns))
    matrix[:, 0] = generator.random(rows) < 0.01  # a rare category, which some folds lack
    matrix[:, 1] = 7.0
    logits = (matrix - matrix.mean(axis=0)) @ generator.normal(size=(columns, classes))
    return matrix, np.array([*"zab"])[(logits + generator.gumbel(size=logits.shape)).argmax(axis=1)]


def by_scikit_learn(matrix: NDArray[np.float64], target: NDArray[np.str_], folds: int) -> float:
    exact = LogisticRegression(solver="newton-cholesky", tol=1e-10, max_iter=1_000)
    chosen = StratifiedKFold(folds, shuffle=True, random_state=0)
    return float(cross_val_score(make_pipeline(StandardScaler(), exact), matrix, target, cv=chosen).mean())


@pytest.mark.parametrize("rows", [60, 400, 3_000])
@pytest.mark.parametrize("classes", [2, 3])
def test_accuracy_is_that_of_scikit_learn(rows: int, classes: int) -> None:
    matrix, target = table(rows, classes=classes)

    found = label_accuracy(matrix, target, folds=5)

    assert found == pytest.approx(by_scikit_learn(matrix, target, 5), abs=1e-3)
    assert found > np.unique(target, return_counts=True)[1].max() / rows


@pytest.mark.parametrize("rows", [60, 401])
def test_folds_are_those_of_scikit_learn(rows: int) -> None:
    _, target = table(rows, classes=3)

    found = stratified_folds(target, 5)

    splits = StratifiedKFold(5, shuffle=True, random_state=0).split(target, target)
    for fold, (_, held_out) in enumerate(splits):
        np.testing.assert_array_equal(np.flatnonzero(found == fold), held_out)


@pytest.mark.parametrize("start", [None, 30.0])
def test_weights_minimise_the_penalised_loss(start: float | None) -> None:
    matrix, target = table(2_000)
    rows = np.ones((2_000, 5), np.float32)
    rows[:, :-1] = matrix[:, 2:]
    exact = LogisticRegression(solver="newton-cholesky", tol=1e-10).fit(rows[:, :-1].astype(np.float64), target == "z")

    found = fit_logistic_regression(rows, target == "z", start=None if start is None else np.full(5, start))

    np.testing.assert_allclose(found, [*exact.coef_[0], exact.intercept_[0]], rtol=1e-3, atol=1e-3)


def test_a_wrong_curvature_only_costs_steps() -> None:
    matrix, target = table(2_000)
    rows = standardised(matrix[:, 2:])
    penalty = np.array([0.25, 1.0, 4.0, 2.0, 0.0])

    exact = fit_logistic_regression(rows, target == "z", penalty=penalty)
    found = fit_logistic_regression(
        rows, target == "z", penalty=penalty, start=np.full(5, 3.0), curvature=np.diag([1e-3, 1.0, 9.0, 1.0, 1e4])
    )

    scaled = rows[:, :-1].astype(np.float64) / np.sqrt(penalty[:-1])
    known = LogisticRegression(solver="newton-cholesky", tol=1e-10).fit(scaled, target == "z").coef_[0]
    np.testing.assert_allclose(exact[:-1] * np.sqrt(penalty[:-1]), known, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(found, exact, rtol=2e-3, atol=2e-3)


def test_variances_leave_out_one_block() -> None:
    matrix, _ = table(500)
    matrix[:, 2] = 1e9 + np.arange(500)
    matrix[:100, 3], matrix[100:, 3] = np.arange(100), 5.0
    rows = standardised(matrix)[:, :-1]
    blocks = [slice(0, 100), slice(100, 300), slice(300, 500)]

    found = list(variances_without(rows, blocks))

    wide = rows.astype(np.float64)
    np.testing.assert_allclose(wide.var(axis=0), [1, 0, 1, 1, 1, 1], atol=1e-6)
    for block, variances in zip(blocks, found, strict=True):
        np.testing.assert_allclose(variances, np.delete(wide, block, axis=0).var(axis=0), rtol=1e-4, atol=1e-12)


def test_separable_classes_have_finite_weights() -> None:
    rows = np.stack([np.linspace(-2, 2, 100), np.ones(100)], axis=1).astype(np.float32)

    found = fit_logistic_regression(rows, rows[:, 0] > 0)

    assert np.isfinite(found).all()
    assert (((rows @ found) > 0) == (rows[:, 0] > 0)).all()
