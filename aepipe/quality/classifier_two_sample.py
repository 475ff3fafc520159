"""Classifier two-sample test: AUROC of learners that separate synthetic rows from held-out real rows."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from aepipe.metrics.ranking import Interval
from aepipe.quality.alignment import Columns, Rows
from aepipe.quality.design_matrix import linear_matrix, stacked, tree_matrix
from aepipe.quality.intervals import delong, mean_of
from aepipe.quality.learners import boosted_trees, fit_trees, one_thread

FOLDS = 5
FEWEST_ROWS = 500
MOST_ROWS, MOST_CELLS = 5_000, 200_000
MOST_USED, MOST_IMPLAUSIBLE = 10, 10

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression

    _Classifier: TypeAlias = HistGradientBoostingClassifier | LogisticRegression


class Implausible(NamedTuple):
    """Synthetic row that boosted trees, trained on other rows, are most certain about."""

    row: int
    probability: float
    """of being synthetic"""


class TwoSample(NamedTuple):
    """AUROC of boosted trees and of a logistic regression, with 95 % intervals; 0.5 is chance, the ideal.

    rows: rows per side. used: loss in AUROC of the trees if a column is shuffled, largest first.
    """

    trees: Interval
    logistic: Interval
    rows: int
    used: tuple[tuple[str, float], ...] = ()
    least_plausible: tuple[Implausible, ...] = ()


def two_sample(columns: Columns, real: Rows, synthetic: Rows, *, seed: int) -> TwoSample:
    """Average the AUROC of five stratified folds over the same number of rows per side. Lopez-Paz & Oquab 2017.

    Uses at most 5,000 rows per side, fewer with more than 40 columns. The interval assumes independent folds, which
    makes it slightly too narrow.
    """
    from sklearn.linear_model import LogisticRegression

    count = min(len(real), len(synthetic), MOST_ROWS, max(MOST_CELLS // len(columns.names), FEWEST_ROWS))
    generator = np.random.default_rng(seed)
    indices = [np.sort(generator.choice(len(rows), count, replace=False)) for rows in (real, synthetic)]
    both = stacked([rows.take(index) for rows, index in zip((real, synthetic), indices, strict=True)])
    truth = np.repeat([False, True], count)
    matrix = tree_matrix(columns, both)
    with one_thread():
        trees = _Folds(matrix.values, truth, seed)
        auroc = trees.auroc(lambda *rows: fit_trees(boosted_trees(matrix.is_category, seed=seed), *rows))
        logistic = _Folds(linear_matrix(both), truth, seed).auroc(
            lambda *rows: LogisticRegression(max_iter=300).fit(*rows)
        )
        used = _shuffling_losses(columns.names, trees, generator)
    order = np.argsort(-trees.scores[count:], kind="stable")[:MOST_IMPLAUSIBLE]
    certain = 1 / (1 + np.exp(-trees.scores[count:]))
    least_plausible = tuple(Implausible(int(indices[1][at]), float(certain[at])) for at in order)
    return TwoSample(auroc, logistic, count, used, least_plausible)


class _Folds:
    """Classifiers of five stratified folds, and the log odds that each row is synthetic, by the others' rows."""

    def __init__(self, matrix: NDArray[np.float64], truth: NDArray[np.bool_], seed: int) -> None:
        from sklearn.model_selection import StratifiedKFold

        self.matrix = matrix
        self.truth = truth
        self.scores = np.zeros(len(truth))
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed & 0xFFFFFFFF)
        self._splits = list(folds.split(truth, truth))
        self.first: tuple[_Classifier, NDArray[np.int64]]  # learner and tested rows of the first fold

    def auroc(self, fit: Callable[[NDArray[np.float64], NDArray[np.bool_]], "_Classifier"]) -> Interval:
        """Fit all folds and average their AUROC, with a 95 % interval."""
        estimates = []
        for at, (train, test) in enumerate(self._splits):
            learner = fit(self.matrix[train], self.truth[train])
            self.scores[test] = learner.decision_function(self.matrix[test])
            estimates.append(delong(self.truth[test], self.scores[test]))
            if at == 0:
                self.first = learner, test
        return mean_of(estimates)


def _shuffling_losses(
    names: Sequence[str], folds: _Folds, generator: np.random.Generator
) -> tuple[tuple[str, float], ...]:
    """Return the loss in AUROC of the first fold if one column is shuffled, largest first. Breiman 2001."""
    learner, test = folds.first
    truth, rows = folds.truth[test], folds.matrix[test]
    whole, _ = delong(truth, folds.scores[test])
    losses = []
    for at, name in enumerate(names):
        shuffled = rows.copy()
        shuffled[:, at] = generator.permutation(shuffled[:, at])
        auroc, _ = delong(truth, learner.decision_function(shuffled))
        losses.append((name, whole - auroc))
    return tuple(sorted(losses, key=lambda each: -each[1])[:MOST_USED])
