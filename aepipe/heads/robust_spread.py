"""Robust spreads: interquartile ranges in standard deviations of a normal distribution."""

import numpy as np
from numpy.typing import NDArray

IQR_OF_NORMAL = 1.349
"""Interquartile range of N(0, 1)."""


def robust_spread(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the spread of each column of `values` (B, D) as (D,): 0 where the quartiles are equal.

    The values have no missing ones.
    """
    low, high = np.quantile(values, [0.25, 0.75], axis=0)
    return np.asarray((high - low) / IQR_OF_NORMAL)


def spread_of_known(values: NDArray[np.floating]) -> float:
    """Return the spread of the finite values of one column (B,).

    Equal quartiles do not mean a constant column here: a number that is 0 in most rows still needs a step by which to
    perturb it, so the standard deviation takes the place of a range of 0. Returns 0 without finite values.
    """
    known = values[np.isfinite(values)]
    return (float(robust_spread(known)) or float(known.std())) if len(known) else 0.0
