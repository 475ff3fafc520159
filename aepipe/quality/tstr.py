"""Train on synthetic, test on real (TSTR): loss of a learner that is trained on synthetic instead of real rows."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aepipe.errors import EvaluationInvalid
from aepipe.metrics.ranking import Interval
from aepipe.quality.alignment import Columns, Rows
from aepipe.quality.design_matrix import stacked, tree_matrix
from aepipe.quality.intervals import Z_95, delong
from aepipe.quality.learners import boosted_trees, fit_trees, one_thread

MOST_ROWS, MOST_CELLS = 20_000, 800_000
MOST_CLASSES = 20
ROUNDS = 500

Measure = Literal["AUROC", "mean AUROC", "R2"]


@dataclass(frozen=True, slots=True)
class Downstream:
    """Performance of boosted trees that predict a column of held-out real rows, by training set."""

    column: str
    measure: Measure
    from_real: Interval
    from_synthetic: Interval
    rows: int
    """Rows per training set."""

    @property
    def lost(self) -> float:
        """Loss of performance by training on synthetic rows."""
        return self.from_real.value - self.from_synthetic.value


class _Task(NamedTuple):
    """Features and targets of real training rows, synthetic training rows and test rows."""

    matrices: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
    targets: tuple[NDArray[np.generic], NDArray[np.generic], NDArray[np.generic]]
    is_category: NDArray[np.bool_]


def downstream(columns: Columns, column: str, *, train: Rows, held_out: Rows, synthetic: Rows, seed: int) -> Downstream:
    """Train learners of one column on real and on synthetic rows and test both on held-out rows.

    The measure is AUROC for two classes, the mean one-vs-rest AUROC for up to twenty classes, R2 for a number, with
    95 % intervals over the test rows. Both training sets have the same number of rows, at most 20,000, fewer with more
    than 40 columns.

    Raises:
        EvaluationInvalid: There is no such column, it is constant, or it is a category of more than twenty values.
    """
    if column not in columns.names:
        raise EvaluationInvalid(
            f"column '{column}' to predict does not exist: expected one of {', '.join(columns.names)}."
        )
    generator = np.random.default_rng(seed)
    count = min(len(train), len(synthetic), MOST_ROWS, MOST_CELLS // len(columns.names))
    sides = [train.subsample(count, generator), synthetic.subsample(count, generator), held_out]
    task = _task(columns, column, sides)
    fit = _fit_number if column in columns.numbers else _fit_classes
    with one_thread():
        measure, real = fit(task, 0, column, seed)
        _, drawn = fit(task, 1, column, seed)
    return Downstream(column, measure, real, drawn, count)


def _task(columns: Columns, column: str, sides: list[Rows]) -> _Task:
    """Split features and target, without rows whose target is missing."""
    everything = stacked(sides)
    matrix = tree_matrix(columns, everything)
    position = columns.names.index(column)
    if column in columns.numbers:
        target: NDArray[np.generic] = everything.numbers[:, position]
        known = ~np.isnan(everything.numbers[:, position])
    else:
        target = everything.codes[:, position - len(columns.numbers)]
        known = target != 0
    side = np.repeat(np.arange(3), [len(rows) for rows in sides])
    values = np.delete(matrix.values, position, axis=1)
    first, second, third = (np.flatnonzero(known & (side == which)) for which in range(3))
    return _Task(
        (values[first], values[second], values[third]),
        (target[first], target[second], target[third]),
        np.delete(matrix.is_category, position),
    )


def _fit_classes(task: _Task, which: int, column: str, seed: int) -> tuple[Measure, Interval]:
    classes = _classes(task, column)
    target = task.targets[which]
    scores = np.zeros((len(task.targets[2]), len(classes)))
    if len(np.unique(target)) > 1:  # a constant target cannot be learned: every row scores the same
        learner = boosted_trees(task.is_category, seed=seed)
        found = fit_trees(learner, task.matrices[which], target).predict_proba(task.matrices[2])
        for index, value in enumerate(learner.classes_):
            if value in classes:
                scores[:, np.flatnonzero(classes == value)[0]] = found[:, index]
    truth = task.targets[2]
    scored = classes if len(classes) > 2 else classes[1:]
    estimates = [delong(truth == value, scores[:, np.flatnonzero(classes == value)[0]]) for value in scored]
    value = float(np.mean([auroc for auroc, _ in estimates]))
    # The classes' AUROCs are correlated: averaging them does not narrow the interval.
    half = Z_95 * float(np.mean([np.sqrt(variance) for _, variance in estimates]))
    return ("AUROC" if len(scored) == 1 else "mean AUROC"), Interval(value, value - half, value + half)


def _classes(task: _Task, column: str) -> NDArray[np.generic]:
    """Return the values that training and held-out rows share, the rarest last."""
    learned, counts = np.unique(task.targets[0], return_counts=True)
    classes = learned[np.argsort(-counts, kind="stable")]
    known: NDArray[np.generic] = classes[np.isin(classes, task.targets[2])]
    if len(known) < 2:
        tested = np.unique(task.targets[2])
        where = "the training and held-out rows" if len(learned) < 2 else "the held-out rows"
        problem = (
            f"is constant in {where}" if len(tested) == 1 else "has no two values in both training and held-out rows"
        )
        raise EvaluationInvalid(f"'{column}' {problem}. Choose another column to predict.")
    if len(learned) > MOST_CLASSES:
        raise EvaluationInvalid(
            f"'{column}' has too many values: expected at most {MOST_CLASSES}, got {len(learned)}. "
            "Choose another column."
        )
    return known


def _fit_number(task: _Task, which: int, column: str, seed: int) -> tuple[Measure, Interval]:
    from sklearn.ensemble import HistGradientBoostingRegressor

    truth = np.asarray(task.targets[2], np.float64)
    if len(np.unique(truth)) < 2 or len(np.unique(task.targets[0])) < 2:
        raise EvaluationInvalid(
            f"'{column}' is constant in the training or held-out rows. Choose another column to predict."
        )
    learner = HistGradientBoostingRegressor(
        categorical_features=task.is_category, early_stopping=False, random_state=seed & 0xFFFFFFFF
    )
    found = fit_trees(learner, task.matrices[which], task.targets[which]).predict(task.matrices[2])
    generator = np.random.default_rng(seed)
    drawn = [_r2(truth, found, generator.integers(0, len(truth), len(truth))) for _ in range(ROUNDS)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return "R2", Interval(_r2(truth, found, np.arange(len(truth))), float(low), float(high))


def _r2(truth: NDArray[np.float64], found: NDArray[np.float64], rows: NDArray[np.int64]) -> float:
    spread = float(((truth[rows] - truth[rows].mean()) ** 2).sum())
    return 1 - float(((truth[rows] - found[rows]) ** 2).sum()) / spread if spread > 0 else 0.0
