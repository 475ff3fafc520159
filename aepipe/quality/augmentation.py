"""Compare synthetic rows of a rare class as training data with class weights and copied rows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aepipe.errors import EvaluationInvalid
from aepipe.metrics.ranking import Interval, average_precision
from aepipe.quality.alignment import Columns, Rows
from aepipe.quality.design_matrix import stacked, tree_matrix
from aepipe.quality.intervals import delong, mean_of
from aepipe.quality.learners import boosted_trees, fit_trees, one_thread

MOST_ROWS = 100_000
FEWEST_OF_A_CLASS = 10
"""Minimum number of training rows of the class, and of the others."""
FEWEST_HELD_OUT = 3
"""Minimum number of held-out rows of the class: with so few the intervals are wide, but the conclusion holds."""
ROUNDS = 400

REAL, WEIGHTS, COPIES, SYNTHETIC = "real rows alone", "class weights", "copies of real rows", "synthetic rows"

_Measure = Callable[[NDArray[np.bool_], NDArray[np.float64]], float]


class Arm(NamedTuple):
    """Performance of boosted trees on held-out real rows after one way of training, with 95 % intervals.

    recall, precision: at the learner's own threshold, log odds of 0. recall_of_as_many: recall if the number of
    predicted rows equals the number of rows of the class.
    """

    name: str
    rows: int
    rare: int
    average_precision: Interval
    auroc: Interval
    recall_of_as_many: Interval
    recall: Interval
    precision: float


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Four ways to train on a rare class. gain: average precision of synthetic rows minus the best of the others."""

    arms: tuple[Arm, ...]
    best_other: str
    gain: Interval
    held_out: int
    held_out_rare: int

    @property
    def sentence(self) -> str:
        """Conclusion with a recommendation: synthetic rows are added only where they help significantly."""
        gain = f"{self.gain.value:+.3f} average precision ({self.gain.low:+.3f} to {self.gain.high:+.3f})"
        if self.gain.low > 0:
            return f"Synthetic rows help: {gain} over {self.best_other}, the best without them. Add them."
        if self.gain.high < 0:
            return (
                f"Synthetic rows hurt: {gain} compared with {self.best_other}, the best without them. Do not add them."
            )
        return (
            f"Synthetic rows make no significant difference: {gain} compared with {self.best_other}. Do not add them."
        )


class _Training(NamedTuple):
    """Training set of an arm."""

    name: str
    values: NDArray[np.float64]
    truth: NDArray[np.bool_]
    is_weighted: bool = False


def augmentation(
    columns: Columns,
    *,
    column: str,
    is_rare: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    train: Rows,
    held_out: Rows,
    synthetic: Rows,
    seed: int,
) -> Augmentation:
    """Train on real rows alone, with balanced class weights, with copied rows, and with synthetic rows of a class.

    Args:
        columns: Columns of all rows.
        column: Column that holds the class; learners do not see it.
        is_rare: Masks of the training and held-out rows of the class.
        train: Training rows.
        held_out: Real rows to test on.
        synthetic: Synthetic rows, all of the class; the same number of copies is drawn.
        seed: Random seed.

    Raises:
        EvaluationInvalid: The training rows have fewer than ten rows of the class or of the others, or the held-out
            rows fewer than three.
    """
    _refuse_few(column, is_rare)
    generator = np.random.default_rng(seed)
    everything = stacked((train, held_out, synthetic))
    matrix = tree_matrix(columns, everything)
    target = columns.names.index(column)
    values, is_category = np.delete(matrix.values, target, axis=1), np.delete(matrix.is_category, target)
    real, test, drawn = np.split(values, [len(train), len(train) + len(held_out)])
    copies = generator.choice(np.flatnonzero(is_rare[0]), len(drawn))
    more = np.concatenate([is_rare[0], np.ones(len(drawn), np.bool_)])
    trainings = (
        _Training(REAL, real, is_rare[0]),
        _Training(WEIGHTS, real, is_rare[0], is_weighted=True),
        _Training(COPIES, np.concatenate([real, real[copies]]), more),
        _Training(SYNTHETIC, np.concatenate([real, drawn]), more),
    )
    scores: dict[str, NDArray[np.float64]] = {}
    with one_thread():
        for each in trainings:
            learner = boosted_trees(is_category, seed=seed, is_weighted=each.is_weighted)
            fit_trees(learner, each.values, each.truth)
            scores[each.name] = np.asarray(learner.decision_function(test), np.float64)
    generator, truth = np.random.default_rng(seed), is_rare[1]
    classes = np.flatnonzero(truth), np.flatnonzero(~truth)
    # stratified bootstrap resamples, the same for every arm, so that arms are compared in pairs
    resamples = [np.concatenate([generator.choice(rows, len(rows)) for rows in classes]) for _ in range(ROUNDS)]
    arms = tuple(_arm(each, scores[each.name], truth, resamples) for each in trainings)
    best = max(arms[:-1], key=lambda arm: arm.average_precision.value)
    return Augmentation(
        arms=arms,
        best_other=best.name,
        gain=_gain(truth, scores[SYNTHETIC], scores[best.name], resamples),
        held_out=len(held_out),
        held_out_rare=int(truth.sum()),
    )


def _refuse_few(column: str, is_rare: tuple[NDArray[np.bool_], NDArray[np.bool_]]) -> None:
    sides = (("training", FEWEST_OF_A_CLASS), ("held-out", FEWEST_HELD_OUT))
    for rows, (what, fewest) in zip(is_rare, sides, strict=True):
        counts = int(rows.sum()), int((~rows).sum())
        if min(counts) < fewest:
            raise EvaluationInvalid(
                f"{what} rows are too few: expected {fewest} with this value of '{column}' and {fewest} without, got "
                f"{counts[0]:,} and {counts[1]:,}. Choose another value or train on more rows."
            )


def _arm(
    training: _Training, scores: NDArray[np.float64], truth: NDArray[np.bool_], resamples: list[NDArray[np.int64]]
) -> Arm:
    predicted = scores > 0  # log odds
    hits = int((predicted & truth).sum())
    return Arm(
        name=training.name,
        rows=len(training.truth),
        rare=int(training.truth.sum()),
        average_precision=_interval(average_precision, truth, scores, resamples),
        auroc=mean_of([delong(truth, scores)]),
        recall_of_as_many=_interval(recall_at_class_size, truth, scores, resamples),
        recall=_interval(lambda true, score: float((score[true] > 0).mean()), truth, scores, resamples),
        precision=hits / int(predicted.sum()) if predicted.any() else 0.0,
    )


def _interval(
    measure: _Measure, truth: NDArray[np.bool_], scores: NDArray[np.float64], resamples: list[NDArray[np.int64]]
) -> Interval:
    """Return a measure with its percentile bootstrap interval. Efron & Tibshirani 1993, chapter 13."""
    low, high = np.quantile([measure(truth[rows], scores[rows]) for rows in resamples], [0.025, 0.975])
    return Interval(measure(truth, scores), float(low), float(high))


def recall_at_class_size(truth: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    """Return the recall of the n highest scores, n being the size of the class; ties count in proportion."""
    count = int(truth.sum())
    limit = np.partition(scores, -count)[-count]
    above, tied = scores > limit, scores == limit
    fraction = (count - int(above.sum())) / int(tied.sum())
    return float((truth[above].sum() + fraction * truth[tied].sum()) / count)


def _gain(
    truth: NDArray[np.bool_],
    ours: NDArray[np.float64],
    other: NDArray[np.float64],
    resamples: list[NDArray[np.int64]],
) -> Interval:
    found = [
        average_precision(truth[rows], ours[rows]) - average_precision(truth[rows], other[rows]) for rows in resamples
    ]
    low, high = np.quantile(found, [0.025, 0.975])
    return Interval(average_precision(truth, ours) - average_precision(truth, other), float(low), float(high))
