"""Whether synthetic rows of a rare class help a learner to find it, always beside what costs nothing."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aepipe.errors import EvaluationInvalid
from aepipe.metrics.ranking import Interval, average_precision
from aepipe.quality.alignment import Columns, Rows
from aepipe.quality.design_matrix import stacked, tree_matrix
from aepipe.quality.intervals import delong, mean_of
from aepipe.quality.learners import boosted_trees, one_thread

MOST_ROWS = 100_000
FEWEST_OF_A_CLASS = 10
ROUNDS = 400

REAL, WEIGHTS, COPIES, SYNTHETIC = "real rows alone", "class weights", "copies of real rows", "synthetic rows"

_Measure = Callable[[NDArray[np.bool_], NDArray[np.float64]], float]


class Arm(NamedTuple):
    """What boosted trees reach on held-out real rows, with 95 % intervals over these, by what they learned from.

    recall, precision: of the rows that the learner itself takes for the class. recall_of_as_many: where as many rows
    are taken for the class as there are.
    """

    name: str
    rows: int
    rare: int
    average_precision: Interval
    auroc: Interval
    recall_of_as_many: Interval
    recall: Interval
    precision: float


class Augmentation(NamedTuple):
    """Four ways to learn a rare class. gain: average precision of synthetic rows over the best of the others."""

    arms: tuple[Arm, ...]
    best_other: str
    gain: Interval
    held_out: int
    held_out_rare: int

    @property
    def sentence(self) -> str:
        """What it comes to."""
        gain = f"{self.gain.value:+.3f} average precision ({self.gain.low:+.3f} to {self.gain.high:+.3f})"
        if self.gain.low > 0:
            return f"Synthetic rows help: {gain} over {self.best_other}, the best without them."
        if self.gain.high < 0:
            return f"Synthetic rows do harm: {gain} against {self.best_other}, the best without them."
        return f"Synthetic rows make no difference that these rows can show: {gain} against {self.best_other}."


class _Training(NamedTuple):
    """What an arm learns from."""

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
    """Real rows alone, the same with balanced class weights, with copies of the class, and with synthetic rows of it.

    is_rare: which training and held-out rows are of the class; all synthetic rows are. As many copies are drawn as
    there are synthetic rows. Raises EvaluationInvalid for fewer than ten rows of either kind on either side.
    """
    _refuse_few(column, is_rare)
    generator = np.random.default_rng(seed)
    everything = stacked((train, held_out, synthetic))
    matrix = tree_matrix(columns, everything)
    at = columns.names.index(column)
    values, is_category = np.delete(matrix.values, at, axis=1), np.delete(matrix.is_category, at)
    real, test, drawn = np.split(values, [len(train), len(train) + len(held_out)])
    copies = generator.choice(np.flatnonzero(is_rare[0]), len(drawn))
    more = np.concatenate([is_rare[0], np.ones(len(drawn), np.bool_)])
    trainings = (
        _Training(REAL, real, is_rare[0]),
        _Training(WEIGHTS, real, is_rare[0], is_weighted=True),
        _Training(COPIES, np.concatenate([real, real[copies]]), more),
        _Training(SYNTHETIC, np.concatenate([real, drawn]), more),
    )
    with one_thread():
        scores = {each.name: _scores(each, test, is_category, seed) for each in trainings}
    places = _resampled(is_rare[1], seed)
    arms = tuple(_arm(each, scores[each.name], is_rare[1], places) for each in trainings)
    best = max(arms[:-1], key=lambda arm: arm.average_precision.value)
    return Augmentation(
        arms=arms,
        best_other=best.name,
        gain=_gain(is_rare[1], scores[SYNTHETIC], scores[best.name], places),
        held_out=len(held_out),
        held_out_rare=int(is_rare[1].sum()),
    )


def _refuse_few(column: str, is_rare: tuple[NDArray[np.bool_], NDArray[np.bool_]]) -> None:
    for rows, what in zip(is_rare, ("training", "held-out"), strict=True):
        counts = int(rows.sum()), int((~rows).sum())
        if min(counts) < FEWEST_OF_A_CLASS:
            raise EvaluationInvalid(
                f"of the {what} rows {counts[0]:,} have this value of '{column}' and {counts[1]:,} have not, "
                f"{FEWEST_OF_A_CLASS} of each are needed: name another value, or train on more rows"
            )


def _scores(
    training: _Training, test: NDArray[np.float64], is_category: NDArray[np.bool_], seed: int
) -> NDArray[np.float64]:
    learner = boosted_trees(is_category, seed=seed, is_weighted=training.is_weighted)
    return np.asarray(learner.fit(training.values, training.truth).decision_function(test), np.float64)


def _resampled(truth: NDArray[np.bool_], seed: int) -> list[NDArray[np.int64]]:
    """Rows drawn again within each class; the same for every arm, so that arms can be compared."""
    generator = np.random.default_rng(seed)
    sides = np.flatnonzero(truth), np.flatnonzero(~truth)
    return [np.concatenate([generator.choice(side, len(side)) for side in sides]) for _ in range(ROUNDS)]


def _arm(
    training: _Training, scores: NDArray[np.float64], truth: NDArray[np.bool_], places: list[NDArray[np.int64]]
) -> Arm:
    taken = scores > 0  # the log odds: as likely as not
    hits = int((taken & truth).sum())
    return Arm(
        name=training.name,
        rows=len(training.truth),
        rare=int(training.truth.sum()),
        average_precision=_interval(average_precision, truth, scores, places),
        auroc=mean_of([delong(truth, scores)]),
        recall_of_as_many=_interval(_recall_of_as_many, truth, scores, places),
        recall=_interval(lambda true, score: float((score[true] > 0).mean()), truth, scores, places),
        precision=hits / int(taken.sum()) if taken.any() else 0.0,
    )


def _interval(
    measure: _Measure, truth: NDArray[np.bool_], scores: NDArray[np.float64], places: list[NDArray[np.int64]]
) -> Interval:
    """The percentile interval. Efron & Tibshirani 1993, chapter 13."""
    low, high = np.quantile([measure(truth[rows], scores[rows]) for rows in places], [0.025, 0.975])
    return Interval(measure(truth, scores), float(low), float(high))


def _recall_of_as_many(truth: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    """The share of the class among as many rows of the highest scores; which of equal ones count does not matter."""
    count = int(truth.sum())
    limit = np.partition(scores, -count)[-count]
    above, at = scores > limit, scores == limit
    left = (count - int(above.sum())) / int(at.sum())
    return float((truth[above].sum() + left * truth[at].sum()) / count)


def _gain(
    truth: NDArray[np.bool_],
    ours: NDArray[np.float64],
    other: NDArray[np.float64],
    places: list[NDArray[np.int64]],
) -> Interval:
    found = [
        average_precision(truth[rows], ours[rows]) - average_precision(truth[rows], other[rows]) for rows in places
    ]
    low, high = np.quantile(found, [0.025, 0.975])
    return Interval(average_precision(truth, ours) - average_precision(truth, other), float(low), float(high))
