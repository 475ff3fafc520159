"""Change of a distribution against a reference sample: effect size, confidence bounds, and evidence over nights.

The effect size is the Kolmogorov distance: the largest difference of the two distribution functions. A normal
distribution that moves by 0.25 standard deviations has a distance of 0.1. A change counts only beyond a tolerance, so
that a large number of rows alone is no evidence.
"""

import math
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from aepipe.frozen import FrozenModel

Counts = NDArray[np.int64]

_LEAST_P = 1e-12
"""Smallest p-value that counts: a single night never settles the evidence for good."""
_NORMAL = NormalDist()
LASTING_RUN = 7
"""Partitions in a row that each drift alone and together are a lasting change: a week of nights is no storm."""
_LEVEL = 1e-5
_FEWEST_PARTITIONS = 5
_FEWEST_ROWS = 50
_SAMPLING = math.pi**2 / 12
"""Mean square of the Kolmogorov distance of n rows of a continuous distribution, times n."""


class Change(NamedTuple):
    """Change between two samples, as counts of the same ordered bins."""

    distance: float
    low: float
    """lower confidence bound of the distance"""
    high: float
    shift: float
    """mean change of the normal scores: for a normal distribution, the shift in standard deviations"""


def change_between(reference: Counts, current: Counts, *, level: float = 0.95) -> Change:
    """Compare two samples by their counts in the same ordered bins, (K,) each.

    The bounds hold for any distribution (Dvoretzky, Kiefer & Wolfowitz 1956; constant by Massart 1990), for both
    samples at once.
    """
    share_before, share_now = reference / reference.sum(), current / current.sum()
    before, now = np.cumsum(share_before), np.cumsum(share_now)
    distance = float(np.abs(before - now).max())
    error = sum(_deviation(int(counts.sum()), (1 - level) / 2) for counts in (reference, current))
    middle = np.clip(before - share_before / 2, 1e-9, 1 - 1e-9)
    scores = np.array([_NORMAL.inv_cdf(float(value)) for value in middle])
    shift = float((share_now - share_before) @ scores)
    return Change(distance, max(0.0, distance - error), min(1.0, distance + error), shift)


def drift_p_value(reference: Counts, current: Counts, *, tolerance: float, reference_level: float = _LEVEL) -> float:
    """Return the p-value of the hypothesis that the distance between the distributions is at most the tolerance.

    The error of the reference is bounded once, at `reference_level`, so that the p-values of several nights are valid
    given the same reference.
    """
    distance = float(np.abs(np.cumsum(reference) / reference.sum() - np.cumsum(current) / current.sum()).max())
    excess = distance - tolerance - _deviation(int(reference.sum()), reference_level)
    if excess <= 0:
        return 1.0
    return min(1.0, 2 * math.exp(-2 * int(current.sum()) * excess**2))


class PartitionSpread(FrozenModel):
    """Distances of single partitions from the distribution of all, beyond what their numbers of rows explain."""

    partitions: int = Field(ge=_FEWEST_PARTITIONS)
    mean: float = Field(ge=0)
    deviation: float = Field(ge=0)

    @classmethod
    def fit(cls, counts: Counts) -> Self | None:
        """Measure the spread of partitions by their counts in the same ordered bins, (P, K); None if they are few."""
        rows = counts.sum(axis=1)
        counts, rows = counts[rows >= _FEWEST_ROWS], rows[rows >= _FEWEST_ROWS]
        if len(rows) < _FEWEST_PARTITIONS:
            return None
        shares = np.cumsum(counts, axis=1) / rows[:, None]
        distances = np.abs(shares - np.cumsum(counts.sum(axis=0)) / rows.sum()).max(axis=1)
        excess = np.sqrt(np.maximum(0.0, distances**2 - _SAMPLING / rows))
        return cls(partitions=len(rows), mean=float(excess.mean()), deviation=float(excess.std(ddof=1)))

    def bound(self, level: float) -> float:
        """Return the distance that one more partition like these exceeds with this probability.

        Upper prediction bound of a normal sample (Whitmore 1986).
        """
        factor = math.sqrt(1 + 1 / self.partitions)
        return self.mean + student_quantile(level, self.partitions - 1) * factor * self.deviation

    def pooled_bound(self, level: float, partitions: int) -> float:
        """Return the distance that several more partitions like these exceed together with this probability.

        The differences of single partitions are taken as independent, so that their mean, and that of the partitions
        of this spread, are smaller by the square roots of their numbers.
        """
        scale = math.sqrt(1 / partitions + 1 / self.partitions)
        return scale * (self.mean + student_quantile(level, self.partitions - 1) * self.deviation)


def first_alike(counts: Counts, *, window: int, tolerance: float) -> int:
    """Return the place of the first partition of a reference that the latest partitions do not drift from.

    Partitions before a lasting change would make a reference that every later one differs from, so that training again
    ends no alarm. Those before the first value of a column are left out. Then blocks of LASTING_RUN partitions, and of
    `window`, are added backwards from the latest one, for as long as the latest one differs from all of them by no more
    than is no drift. Nothing else is left out if partitions are too few or too small to tell how much they differ.

    Args:
        counts: (P, K) by partition, in order; missing values are in the first bin.
        window: number of partitions that are compared together.
        tolerance: distance that is no drift.
    """
    first = _first_with_values(counts, tolerance)
    kept = min(_alike(counts[first:], block, tolerance) for block in (LASTING_RUN, max(window, _FEWEST_PARTITIONS)))
    return len(counts) - kept


def _alike(counts: Counts, block: int, tolerance: float) -> int:
    """Return how many of the latest partitions the latest block does not drift from."""
    latest = counts[-block:]
    spread = PartitionSpread.fit(latest)
    if spread is None:
        return len(counts)
    kept = len(latest)
    while kept < len(counts):
        more = min(kept + block, len(counts))
        between = spread.model_copy(update={"partitions": more}).pooled_bound(_LEVEL, len(latest))
        joined, now = counts[-more:].sum(axis=0), latest.sum(axis=0)
        if drift_p_value(joined, now, tolerance=max(tolerance, between), reference_level=_LEVEL) < 1:
            break
        kept = more
    return kept


def _first_with_values(counts: Counts, tolerance: float) -> int:
    """Return the place of the first partition with a value; 0 if values are so rare that it makes no difference."""
    rows = counts.sum(axis=1)
    has_values = counts[:, 0] < rows
    first = int(np.argmax(has_values))
    missing = counts[first:, 0].sum() / max(1, rows[first:].sum())
    return first if has_values.any() and 1 - missing > tolerance else 0


@lru_cache(maxsize=1024)
def student_quantile(level: float, freedom: int) -> float:
    """Return the value that Student's t distribution exceeds with this probability, below 0.5.

    By bisection of the sums for whole degrees of freedom (Abramowitz & Stegun 26.7.3 and 26.7.4), at most 200.

    >>> round(student_quantile(0.025, 4), 3), round(student_quantile(0.0005, 30), 3)
    (2.776, 3.646)
    """
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, min(freedom, 200)) < 1 - 2 * level else (low, middle)
    return math.sqrt(min(freedom, 200)) * math.tan(low)


def _within(angle: float, freedom: int) -> float:
    """Return the probability that t is at most sqrt(freedom) tan(angle) in absolute value."""
    is_odd = freedom % 2
    term = math.cos(angle) if is_odd else 1.0
    total = 0.0
    for step in range(2 + is_odd, freedom + 1, 2):
        total += term
        term *= math.cos(angle) ** 2 * (step - 1) / step
    total *= math.sin(angle)
    return 2 / math.pi * (angle + total) if is_odd else total


def evidence(p_value: float) -> float:
    """Return the e-value of a p-value: the mixture of all power bets, 1 on average under the hypothesis.

    Integral of a p**(a - 1) over a from 0 to 1 (Vovk, Gammerman & Shafer 2022, section 8.2).

    >>> round(evidence(1.0), 3), evidence(0.001) > 10
    (0.5, True)
    """
    p = max(p_value, _LEAST_P)
    log_p = math.log(p)
    if log_p > -1e-3:  # series around p = 1, where the closed form is 0 / 0
        return 0.5 - log_p / 3
    return (1 - p + p * log_p) / (p * log_p**2)


def next_martingale(previous: float, p_value: float) -> float:
    """Update the evidence by one night.

    The product of e-values, restarted at 1 whenever it is below (an e-detector, Shin, Ramdas & Rinaldo 2022): without
    drift it reaches 1 / a on average once in at least 1 / a nights.
    """
    return max(1.0, previous) * evidence(p_value)


def _deviation(rows: int, level: float) -> float:
    """Return the distance of an empirical distribution function that is exceeded with at most this probability."""
    return math.sqrt(math.log(2 / level) / (2 * rows))
