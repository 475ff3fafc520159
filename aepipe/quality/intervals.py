"""Confidence intervals: DeLong's variance of an AUROC, and the exact bound of a share."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aepipe.metrics.ranking import Interval

Z_95 = 1.959963984540054


def delong(truth: ArrayLike, score: ArrayLike) -> tuple[float, float]:
    """Compute the AUROC and its variance. DeLong, DeLong & Clarke-Pearson 1988, by midranks as in Sun & Xu 2014.

    Args:
        truth: Labels, (B,) booleans of both values.
        score: Scores, (B,); higher is more likely positive.
    """
    positive, values = np.asarray(truth, np.bool_), np.asarray(score, np.float64)
    above, below = values[positive], values[~positive]
    rank, rank_above, rank_below = _midranks(values), _midranks(above), _midranks(below)
    of_positives = (rank[positive] - rank_above) / len(below)
    of_negatives = 1 - (rank[~positive] - rank_below) / len(above)
    return float(of_positives.mean()), _mean_variance(of_positives) + _mean_variance(of_negatives)


def mean_of(estimates: Sequence[tuple[float, float]]) -> Interval:
    """Average independent estimates (value, variance), with a 95 % interval."""
    values, variances = np.array(estimates, np.float64).T
    half = Z_95 * float(np.sqrt(variances.sum())) / len(values)
    return Interval(float(values.mean()), float(values.mean()) - half, float(values.mean()) + half)


def upper_bound(hits: int, rows: int, *, level: float) -> float:
    """Compute the one-sided upper confidence bound of a share. Clopper & Pearson 1934.

    >>> round(upper_bound(0, 100, level=0.99), 4)  # 1 - 0.01 ** (1 / 100)
    0.045
    """
    from scipy.stats import beta

    return 1.0 if hits >= rows else float(beta.ppf(level, hits + 1, rows - hits))


def _midranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rank values from 1; equal values share their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def _mean_variance(values: NDArray[np.float64]) -> float:
    return float(values.var(ddof=1) / len(values)) if len(values) > 1 else 0.25
