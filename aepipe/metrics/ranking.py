"""Ranking and confusion metrics of scores against labels, with bootstrap intervals."""

from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aepipe.errors import EvaluationInvalid

_DRAWN_AT_ONCE = 64_000
"""Counts that are drawn at once: 512 KB per class, which stay in the cache."""
_DRAWN_ROWS = 256
"""Negatives in the first ranks, whose counts are drawn; the others are taken as normal."""
_RANKS_PER_ROW = 8
"""Rows per rank above which one binomial per rank is cheaper than one draw per row."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """Rows of both classes as ranks among the distinct scores, 0 the highest: the input of every ranking measure."""

    positives: NDArray[np.int64]
    negatives: NDArray[np.int64]
    places: int

    @classmethod
    def of(cls, truth: ArrayLike, score: ArrayLike) -> Self:
        """Rank labelled scores.

        Raises EvaluationInvalid if a score is missing, or all rows are of one class.

        Args:
            truth: (B,), boolean or 0 and 1.
            score: (B,), higher is more anomalous.
        """
        positive, values = checked_labels(truth, score)
        distinct, place = np.unique(-values, return_inverse=True)
        return cls(place[positive], place[~positive], len(distinct))

    def counts(self) -> "RankCounts":
        """Count positives and negatives at each rank."""
        return RankCounts(
            np.bincount(self.positives, minlength=self.places), np.bincount(self.negatives, minlength=self.places)
        )

    def resampled(self, generator: "np.random.Generator") -> Self:
        """Draw rows with replacement within each class, keeping the size of both classes."""
        return replace(
            self,
            positives=generator.choice(self.positives, len(self.positives)),
            negatives=generator.choice(self.negatives, len(self.negatives)),
        )


class RankCounts(NamedTuple):
    """Positive and negative rows at each rank, the highest first, (R,) each."""

    positives: NDArray[np.int64]
    negatives: NDArray[np.int64]

    def merged(self) -> Self:
        """Merge ranks that hold no positives with their neighbours, which changes no measure: (R,) each."""
        is_positive = self.positives > 0
        starts = np.flatnonzero(is_positive | np.concatenate([[True], is_positive[:-1]]))
        return type(self)(np.add.reduceat(self.positives, starts), np.add.reduceat(self.negatives, starts))

    def resampled_measures(self, generator: "np.random.Generator", rounds: int) -> NDArray[np.float64]:
        """Draw rows with replacement within each class, and compute AUROC and average precision, (2, rounds)."""
        is_positive, is_negative = np.flatnonzero(self.positives), np.flatnonzero(self.negatives)
        positives = _drawn(self.positives[is_positive], generator, rounds).astype(np.float64)
        negatives = _nearly_drawn(self.negatives[is_negative], generator, rounds)
        hits, false_alarms = np.cumsum(positives, axis=1), np.cumsum(negatives, axis=1)
        above, through = (np.searchsorted(is_negative, is_positive, side=side) for side in ("left", "right"))
        at_rank = np.take(false_alarms, through, axis=1)
        tied = 0.0 if np.array_equal(above, through) else (at_rank - np.take(false_alarms, above, axis=1)) / 2
        wrong = np.einsum("ij,ij->i", positives, at_rank - tied)
        # Resampling may leave the first ranks empty: nothing is flagged there, and recall does not rise.
        precision = hits / np.maximum(hits + at_rank, 1)
        everything = hits[:, -1]
        return np.stack(
            [
                1 - wrong / (everything * false_alarms[:, -1]),
                np.einsum("ij,ij->i", positives, precision) / everything,
            ]
        )

    def auroc(self) -> float:
        """Compute `auroc`."""
        below = self.negatives.sum() - np.cumsum(self.negatives) + self.negatives / 2
        return float((self.positives * below).sum() / (self.positives.sum() * self.negatives.sum()))

    def average_precision(self) -> float:
        """Compute `average_precision`."""
        hits = np.cumsum(self.positives)
        precision = hits / np.maximum(hits + np.cumsum(self.negatives), 1)
        return float((self.positives * precision).sum() / self.positives.sum())


def _nearly_drawn(counts: NDArray[np.int64], generator: "np.random.Generator", rounds: int) -> NDArray[np.float64]:
    """Draw as many rows as were counted, in proportion to the counts, after a column of zeros: (rounds, R + 1).

    Counts behind the first rows are normal, with the mean and covariance of drawn ones: the measures depend on sums of
    many of them.
    """
    first = int(np.searchsorted(np.cumsum(counts), _DRAWN_ROWS, side="right"))
    found = np.zeros((rounds, len(counts) + 1))
    drawn = _drawn(np.append(counts[:first], counts[first:].sum()), generator, rounds)
    found[:, 1 : first + 1] = drawn[:, :-1]
    if first == len(counts):
        return found
    others = counts[first:].astype(np.float32)
    normal = generator.standard_normal((rounds, len(others)), dtype=np.float32)  # half the time of float64
    normal *= np.sqrt(others)
    # the sum of the others is known: each takes its share of what is left
    left = drawn[:, -1] - normal.sum(axis=1, dtype=np.float64)
    np.multiply(left[:, None], others / others.sum(), out=found[:, first + 1 :])
    found[:, first + 1 :] += normal
    return found


def _drawn(counts: NDArray[np.int64], generator: "np.random.Generator", rounds: int) -> NDArray[np.int64]:
    """Draw as many rows as were counted, in proportion to the counts: (rounds, R)."""
    total, ranks = int(counts.sum()), len(counts)
    if _RANKS_PER_ROW * ranks < total:
        return generator.multinomial(total, counts / total, size=rounds)
    drawn = np.repeat(np.arange(ranks), counts)[generator.integers(0, total, (rounds, total))]
    drawn += ranks * np.arange(rounds)[:, None]  # one count for all rounds
    return np.bincount(drawn.ravel(), minlength=rounds * ranks).reshape(rounds, ranks)


class Interval(NamedTuple):
    """Value of a measure with its confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Confusion:
    """Confusion matrix: number of rows by label and flag."""

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @property
    def precision(self) -> float:
        """Share of the flagged rows that are positive; 0 if none is flagged."""
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
        """Number of flagged rows."""
        return self.true_positives + self.false_positives

    def f_beta(self, beta: float = 1.0) -> float:
        """Compute the harmonic mean of precision and recall, recall counting `beta` times.

        Returns 0 if no positive is flagged.
        """
        return f_beta(self.true_positives, self.false_negatives, self.false_positives, beta)


def f_beta(hits: float, misses: float, false_alarms: float, beta: float = 1.0) -> float:
    """Compute the F-beta score from counts or shares of rows; a miss weighs `beta`**2 false alarms.

    >>> f_beta(1, 0, 1), f_beta(0, 3, 2, beta=2.0)
    (0.6666666666666666, 0.0)
    """
    weighted = (1 + beta**2) * hits
    return _share(weighted, weighted + beta**2 * misses + false_alarms)


def auroc(truth: ArrayLike, score: ArrayLike) -> float:
    """Compute the probability that a positive row scores above a negative one; ties count half.

    >>> auroc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    return ranking_auroc(Ranking.of(truth, score))


def average_precision(truth: ArrayLike, score: ArrayLike) -> float:
    """Compute the mean precision over the distinct scores, weighted by the gain in recall; no interpolation.

    >>> round(average_precision([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]), 4)
    0.8333
    """
    return ranking_average_precision(Ranking.of(truth, score))


def ranking_auroc(ranking: Ranking) -> float:
    """Compute `auroc` from a ranking."""
    return ranking.counts().auroc()


def ranking_average_precision(ranking: Ranking) -> float:
    """Compute `average_precision` from a ranking."""
    return ranking.counts().average_precision()


def confusion(truth: ArrayLike, flagged: ArrayLike) -> Confusion:
    """Count the rows by label and flag. Raises EvaluationInvalid if all rows are of one class."""
    positive, alarm = checked_labels(truth, np.asarray(flagged, dtype=np.float64))
    hits, alarms, positives = (int(np.count_nonzero(rows)) for rows in (positive & (alarm > 0), alarm, positive))
    return Confusion(hits, alarms - hits, positives - hits, len(positive) - positives - alarms + hits)


class RankingIntervals(NamedTuple):
    """AUROC and average precision with their confidence intervals."""

    auroc: Interval
    average_precision: Interval


def bootstrap_ranking(ranking: Ranking, *, seed: int, rounds: int = 1_000, level: float = 0.95) -> RankingIntervals:
    """Compute AUROC and average precision with percentile intervals, resampling rows within each class.

    Efron & Tibshirani 1993, chapter 13; stratified, since the measures are not defined on one class. Of the negatives
    only the number between positives is drawn, so that a draw costs as many steps as there are distinct positives.
    """
    generator = np.random.Generator(np.random.Philox(seed))
    counts = ranking.counts().merged()
    at_once = max(1, _DRAWN_AT_ONCE // len(counts.positives))
    sizes = [min(at_once, rounds - done) for done in range(0, rounds, at_once)]
    spread = np.concatenate([counts.resampled_measures(generator, size) for size in sizes], axis=1)
    low, high = np.quantile(spread, [(1 - level) / 2, (1 + level) / 2], axis=1)
    values = (counts.auroc(), counts.average_precision())
    return RankingIntervals(*(Interval(v, float(a), float(b)) for v, a, b in zip(values, low, high, strict=True)))


class AlarmIntervals(NamedTuple):
    """Precision and recall of alarms with their confidence intervals."""

    precision: Interval
    recall: Interval


def bootstrap_alarms(found: Confusion, *, seed: int, rounds: int = 1_000, level: float = 0.95) -> AlarmIntervals:
    """Compute precision and recall with percentile intervals, as `bootstrap_ranking` does.

    Flagged rows of a resampled class are binomial, so that no rows are drawn.
    """
    generator = np.random.Generator(np.random.Philox(seed))
    positives, negatives = found.true_positives + found.false_negatives, found.false_positives + found.true_negatives
    hits = generator.binomial(positives, found.recall, rounds)
    flagged = hits + generator.binomial(negatives, found.false_alarm_rate, rounds)
    spread = [hits / np.maximum(flagged, 1), hits / positives]  # a draw without alarms has a precision of 0
    low, high = np.quantile(spread, [(1 - level) / 2, (1 + level) / 2], axis=1)
    values = (found.precision, found.recall)
    return AlarmIntervals(*(Interval(v, float(a), float(b)) for v, a, b in zip(values, low, high, strict=True)))


def checked_labels(truth: ArrayLike, score: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return labels and scores as vectors, (B,) each.

    Raises EvaluationInvalid if their shapes differ, a score is missing, or all rows are of one class.
    """
    labels, values = np.asarray(truth), np.asarray(score, dtype=np.float64)
    if labels.shape != values.shape or labels.ndim != 1:
        raise EvaluationInvalid(
            f"labels do not match the scores: expected two vectors of one length, got {labels.shape} and "
            f"{values.shape}. Give one label and one score per row."
        )
    known = (labels == 0) | (labels == 1) if labels.dtype.kind in "biuf" else [label in (0, 1) for label in labels]
    invalid = labels[~np.asarray(known, dtype=np.bool_)]
    if len(invalid):
        raise EvaluationInvalid(f"a label is invalid: expected 0 or 1, got {invalid[0]}. State the positive value.")
    missing = int(np.count_nonzero(np.isnan(values)))
    if missing:
        raise EvaluationInvalid(f"{missing} of {len(values)} rows have no score. Leave out rows that were not scored.")
    positive = labels.astype(np.bool_)
    if positive.all() or not positive.any():
        found = f"{len(positive)} labels, all {int(positive[0])}" if len(positive) else "no labels"
        raise EvaluationInvalid(
            f"labels are not of both classes: expected 0 and 1, got {found}. Give rows of both classes."
        )
    return positive, values


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def rank_correlation(first: ArrayLike, second: ArrayLike) -> float | None:
    """Compute Spearman's rank correlation of two scores of the same rows, (B,) each; ties share their mean rank.

    None if one of them has a single value.

    >>> rank_correlation([1, 2, 3], [10, 20, 40]), rank_correlation([1, 2, 3], [5, 5, 5])
    (1.0, None)
    """
    ranks = []
    for values in (first, second):
        _, place, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
        last = np.cumsum(counts, dtype=np.float64)
        ranks.append((last - (counts - 1) / 2)[place])  # ties share their mean rank
    centred = np.stack(ranks) - np.mean(ranks, axis=1, keepdims=True)
    spread = float(np.sqrt((centred**2).sum(axis=1).prod()))
    return float(np.clip(centred[0] @ centred[1] / spread, -1, 1)) if spread else None
