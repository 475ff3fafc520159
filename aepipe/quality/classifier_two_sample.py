"""Classifier two-sample test: AUROC of learners that separate synthetic rows from held-out real rows."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aepipe.metrics.ranking import Interval
from aepipe.quality.alignment import Columns, Rows
from aepipe.quality.design_matrix import linear_matrix, stacked, tree_matrix
from aepipe.quality.intervals import delong, mean_of
from aepipe.quality.learners import boosted_trees, one_thread

FOLDS = 5
FEWEST_ROWS = 500
MOST_ROWS, MOST_CELLS = 5_000, 200_000

_Scores = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]]


class TwoSample(NamedTuple):
    """AUROC of boosted trees and of a logistic regression, with 95 % intervals; 0.5 is chance, the ideal."""

    trees: Interval
    logistic: Interval
    rows: int
    """Rows per side."""


def two_sample(columns: Columns, real: Rows, synthetic: Rows, *, seed: int) -> TwoSample:
    """Average the AUROC of five stratified folds over the same number of rows per side. Lopez-Paz & Oquab 2017.

    Uses at most 5,000 rows per side, fewer with more than 40 columns. The interval assumes independent folds, which
    makes it slightly too narrow.
    """
    count = min(len(real), len(synthetic), MOST_ROWS, max(MOST_CELLS // len(columns.names), FEWEST_ROWS))
    generator = np.random.default_rng(seed)
    sides = [rows.subsample(count, generator) for rows in (real, synthetic)]
    both, truth = stacked(sides), np.repeat([False, True], count)
    with one_thread():
        trees = _auroc(truth, _trees(columns, both, truth, seed), seed)
        logistic = _auroc(truth, _logistic(both, truth), seed)
    return TwoSample(trees, logistic, count)


def _auroc(truth: NDArray[np.bool_], scores: _Scores, seed: int) -> Interval:
    from sklearn.model_selection import StratifiedKFold

    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed & 0xFFFFFFFF)
    return mean_of([delong(truth[test], scores(train, test)) for train, test in folds.split(truth, truth)])


def _trees(columns: Columns, rows: Rows, truth: NDArray[np.bool_], seed: int) -> _Scores:
    matrix = tree_matrix(columns, rows)

    def scores(train: NDArray[np.int64], test: NDArray[np.int64]) -> NDArray[np.float64]:
        learner = boosted_trees(matrix.is_category, seed=seed)
        return np.asarray(learner.fit(matrix.values[train], truth[train]).decision_function(matrix.values[test]))

    return scores


def _logistic(rows: Rows, truth: NDArray[np.bool_]) -> _Scores:
    from sklearn.linear_model import LogisticRegression

    matrix = linear_matrix(rows)

    def scores(train: NDArray[np.int64], test: NDArray[np.int64]) -> NDArray[np.float64]:
        learner = LogisticRegression(max_iter=300)
        return np.asarray(learner.fit(matrix[train], truth[train]).decision_function(matrix[test]))

    return scores
