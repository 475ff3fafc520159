"""How well scores separate the rows that matter from the others. Nothing here knows where either come from."""

from collections.abc import Callable
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aepipe.errors import EvaluationInvalid


class Ranking(NamedTuple):
    """Rows of both classes placed among the distinct scores, 0 the highest: all that a ranking measure looks at."""

    positives: NDArray[np.int64]
    negatives: NDArray[np.int64]
    places: int

    @classmethod
    def of(cls, truth: ArrayLike, score: ArrayLike) -> Self:
        """truth: (B,) of booleans or 0 and 1. score: (B,), higher is stranger.

        Raises EvaluationInvalid where a score is missing, or all rows are of one class.
        """
        positive, values = _checked(truth, score)
        distinct, place = np.unique(-values, return_inverse=True)
        return cls(place[positive], place[~positive], len(distinct))

    def counts(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """How many positives and negatives there are at each place, (places,) each."""
        return np.bincount(self.positives, minlength=self.places), np.bincount(self.negatives, minlength=self.places)

    def resampled(self, generator: np.random.Generator) -> Self:
        """As many rows of each class, drawn with replacement."""
        return self._replace(
            positives=generator.choice(self.positives, len(self.positives)),
            negatives=generator.choice(self.negatives, len(self.negatives)),
        )


class Interval(NamedTuple):
    """A measure and the range that it is likely to lie in."""

    value: float
    low: float
    high: float


class Confusion(NamedTuple):
    """Rows by what they are and whether they were flagged."""

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @property
    def precision(self) -> float:
        """Share of the flagged rows that are positive; 0 where none is flagged."""
        return _share(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float:
        """Share of the positive rows that are flagged."""
        return _share(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def false_alarm_rate(self) -> float:
        """Share of the negative rows that are flagged."""
        return _share(self.false_positives, self.false_positives + self.true_negatives)

    @property
    def flagged(self) -> int:
        """How many rows are flagged."""
        return self.true_positives + self.false_positives

    def f_beta(self, beta: float = 1.0) -> float:
        """Harmonic mean of precision and recall, recall counting `beta` times; 0 where no positive is flagged."""
        weight = beta**2
        hits = (1 + weight) * self.true_positives
        return _share(hits, hits + weight * self.false_negatives + self.false_positives)


def auroc(truth: ArrayLike, score: ArrayLike) -> float:
    """Probability that a positive row scores above a negative one, ties counting half.

    >>> auroc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    return ranking_auroc(Ranking.of(truth, score))


def average_precision(truth: ArrayLike, score: ArrayLike) -> float:
    """Mean of the precision at each distinct score, weighted by the recall gained there; no interpolation.

    >>> round(average_precision([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]), 4)
    0.8333
    """
    return ranking_average_precision(Ranking.of(truth, score))


def ranking_auroc(ranking: Ranking) -> float:
    """`auroc` of rows that are ranked already."""
    positives, negatives = ranking.counts()
    below = len(ranking.negatives) - np.cumsum(negatives) + negatives / 2
    return float(positives @ below / (len(ranking.positives) * len(ranking.negatives)))


def ranking_average_precision(ranking: Ranking) -> float:
    """`average_precision` of rows that are ranked already."""
    positives, negatives = ranking.counts()
    hits = np.cumsum(positives)
    flagged = hits + np.cumsum(negatives)
    # A resampling may leave the first places empty: nothing is flagged there, and no recall gained.
    precision = hits / np.maximum(flagged, 1)
    return float(positives @ precision / len(ranking.positives))


def confusion(truth: ArrayLike, flagged: ArrayLike) -> Confusion:
    """The rows counted by truth and alarm. Raises EvaluationInvalid where all rows are of one class."""
    positive, alarm = _checked(truth, np.asarray(flagged, dtype=np.float64))
    hits, alarms, positives = (int(np.count_nonzero(rows)) for rows in (positive & (alarm > 0), alarm, positive))
    return Confusion(hits, alarms - hits, positives - hits, len(positive) - positives - alarms + hits)


def bootstrap(
    measure: Callable[[Ranking], float], ranking: Ranking, *, seed: int, rounds: int = 1_000, level: float = 0.95
) -> Interval:
    """The measure with its percentile interval, rows drawn again within each class, so that none runs empty.

    Efron & Tibshirani 1993, chapter 13; stratified, since the measures are not defined on one class.
    """
    generator = np.random.Generator(np.random.Philox(seed))
    drawn = [measure(ranking.resampled(generator)) for _ in range(rounds)]
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(measure(ranking), float(low), float(high))


def bootstrap_confusion(
    measure: Callable[[Confusion], float], found: Confusion, *, seed: int, rounds: int = 1_000, level: float = 0.95
) -> Interval:
    """As `bootstrap`, of a measure of the alarms that were raised.

    Of rows drawn again within a class, those that are flagged are binomial: no row needs to be drawn.
    """
    generator = np.random.Generator(np.random.Philox(seed))
    positives, negatives = found.true_positives + found.false_negatives, found.false_positives + found.true_negatives
    hits = generator.binomial(positives, found.recall, rounds)
    false_alarms = generator.binomial(negatives, found.false_alarm_rate, rounds)
    drawn = [
        measure(Confusion(int(hit), int(false), positives - int(hit), negatives - int(false)))
        for hit, false in zip(hits, false_alarms, strict=True)
    ]
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(measure(found), float(low), float(high))


def _checked(truth: ArrayLike, score: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    labels, values = np.asarray(truth), np.asarray(score, dtype=np.float64)
    if labels.shape != values.shape or labels.ndim != 1:
        raise EvaluationInvalid(f"{labels.shape} labels do not go with {values.shape} scores: give one of each a row")
    known = (labels == 0) | (labels == 1) if labels.dtype.kind in "biuf" else [label in (0, 1) for label in labels]
    strange = labels[~np.asarray(known, dtype=np.bool_)]
    if len(strange):
        raise EvaluationInvalid(f"a label is {strange[0]}, expected 0 or 1: say which value is the positive one")
    missing = int(np.count_nonzero(np.isnan(values)))
    if missing:
        raise EvaluationInvalid(f"{missing} of {len(values)} rows have no score: leave out rows that were not scored")
    positive = labels.astype(np.bool_)
    if positive.all() or not positive.any():
        found = f"all {len(positive)} labels are {int(positive[0])}" if len(positive) else "there are no labels"
        raise EvaluationInvalid(f"{found}: rows of both classes are needed")
    return positive, values


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
