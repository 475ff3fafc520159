"""Mean, spread and quantiles of each number, of synthetic rows next to real ones."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aepipe.quality.alignment import Columns, Rows

QUANTILES = (0.01, 0.5, 0.99, 0.999)


class Moments(NamedTuple):
    """Moments of one column; NaN without values."""

    mean: float
    deviation: float
    quantiles: tuple[float, ...]
    """at `QUANTILES`"""
    missing: float
    """share of missing values"""


class ColumnMoments(NamedTuple):
    """Moments of a column of synthetic rows and of real rows."""

    name: str
    synthetic: Moments
    real: Moments


def column_moments(columns: Columns, real: Rows, synthetic: Rows) -> tuple[ColumnMoments, ...]:
    """Return the moments of each number."""
    return tuple(
        ColumnMoments(name, moments_of(synthetic.numbers[:, at]), moments_of(real.numbers[:, at]))
        for at, name in enumerate(columns.numbers)
    )


def moments_of(values: NDArray[np.float64]) -> Moments:
    """Return the moments of values (B,), NaN if missing.

    >>> moments_of(np.array([1.0, 3.0, np.nan, np.nan]))
    Moments(mean=2.0, deviation=1.0, quantiles=(1.02, 2.0, 2.98, 2.998), missing=0.5)
    """
    known = values[~np.isnan(values)]
    missing = 1 - len(known) / max(len(values), 1)
    if not len(known):
        return Moments(float("nan"), float("nan"), (float("nan"),) * len(QUANTILES), missing)
    quantiles = np.round(np.quantile(known, QUANTILES), 12)
    return Moments(float(known.mean()), float(known.std()), tuple(quantiles.tolist()), missing)
