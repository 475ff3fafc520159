"""Classifier two-sample test: AUROC of learners that separate synthetic rows from held-out real rows."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

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

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression

    _Classifier: TypeAlias = HistGradientBoostingClassifier | LogisticRegression


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
    from sklearn.linear_model import LogisticRegression

    count = min(len(real), len(synthetic), MOST_ROWS, max(MOST_CELLS // len(columns.names), FEWEST_ROWS))
    generator = np.random.default_rng(seed)
    sides = [rows.subsample(count, generator) for rows in (real, synthetic)]
    both, truth = stacked(sides), np.repeat([False, True], count)
    matrix = tree_matrix(columns, both)
    with one_thread():
        trees = _auroc(lambda: boosted_trees(matrix.is_category, seed=seed), matrix.values, truth, seed)
        logistic = _auroc(lambda: LogisticRegression(max_iter=300), linear_matrix(both), truth, seed)
    return TwoSample(trees, logistic, count)


def _auroc(
    create: Callable[[], "_Classifier"], matrix: NDArray[np.float64], truth: NDArray[np.bool_], seed: int
) -> Interval:
    """Average the AUROC of a classifier over stratified folds, with its 95 % interval."""
    from sklearn.model_selection import StratifiedKFold

    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed & 0xFFFFFFFF)
    estimates = []
    for train, test in folds.split(truth, truth):
        scores = create().fit(matrix[train], truth[train]).decision_function(matrix[test])
        estimates.append(delong(truth[test], scores))
    return mean_of(estimates)
