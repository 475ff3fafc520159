"""Mean, spread and quantiles of each number, of synthetic rows next to real ones."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aepipe.quality.alignment import Columns, Rows, moments

STANDARD_ERRORS = 4.0
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
    """Moments of a column of synthetic rows and of real rows.

    error: error of mean and standard deviation beyond chance, see `moment_error`; NaN if a side is constant.
    """

    name: str
    synthetic: Moments
    real: Moments
    error: float = float("nan")


def column_moments(
    columns: Columns, real: Rows, synthetic: Rows, *, both: Rows | None = None
) -> tuple[ColumnMoments, ...]:
    """Return the moments of each number.

    Args:
        columns: Columns of all sides.
        real: Rows to compare with.
        synthetic: Synthetic rows.
        both: Held-out and training rows, which errors are measured against; None: `real`.
    """
    reference = real if both is None else both
    found = []
    for at, name in enumerate(columns.numbers):
        drawn, kept = synthetic.numbers[:, at], real.numbers[:, at]
        error = moment_error(drawn, reference.numbers[:, at])
        found.append(ColumnMoments(name, moments_of(drawn), moments_of(kept), error))
    return tuple(found)


def moment_error(synthetic: NDArray[np.float64], real: NDArray[np.float64]) -> float:
    """Return the error of mean and standard deviation beyond four standard errors; NaN if a side is constant.

    The mean is in standard deviations of the real values, the standard deviation as the absolute logarithm of its
    ratio. Standard errors hold for large samples of one distribution and use its fourth moment (Cramer 1946, 27.7).

    Args:
        synthetic: Values, (B,), NaN if missing.
        real: Values, (M,), likewise.
    """
    sides = [values[~np.isnan(values)] for values in (synthetic, real)]
    if any(len(values) < 2 or values.min() == values.max() for values in sides):
        return float("nan")
    sides = _in_one_unit(sides)
    means, deviations = ([float(measure(values)) for values in sides] for measure in (np.mean, np.std))
    # the larger side has seen more of the tail; a lone outlier must not excuse itself
    trusted = 1 if len(sides[1]) >= len(sides[0]) else int(np.argmax([_kurtosis(values) for values in sides]))
    share = sum(1 / len(values) for values in sides)
    of_mean = abs(means[0] - means[1]) / deviations[1] - STANDARD_ERRORS * np.sqrt(share)
    of_log = abs(np.log(deviations[0] / deviations[1])) - STANDARD_ERRORS * np.sqrt(
        (_kurtosis(sides[trusted]) - 1) * share / 4
    )
    return float(max(of_mean, of_log, 0.0))


def _in_one_unit(sides: Sequence[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """Divide the values of all sides by one power of two, so that the squares of 1e300 or 1e-300 can be represented."""
    exponent = np.frexp(max(np.abs(values).max() for values in sides))[1]
    return [np.ldexp(values, -exponent) for values in sides]


def _kurtosis(values: NDArray[np.float64]) -> float:
    """Return the fourth standardised moment, 3 for a normal distribution."""
    return float((((values - values.mean()) / values.std()) ** 4).mean())


def moments_of(values: NDArray[np.float64]) -> Moments:
    """Return the moments of values (B,), NaN if missing.

    >>> moments_of(np.array([0.0, 1000.0, np.nan, np.nan]))
    Moments(mean=500.0, deviation=500.0, quantiles=(10.0, 500.0, 990.0, 999.0), missing=0.5)
    """
    known = values[~np.isnan(values)]
    missing = 1 - len(known) / max(len(values), 1)
    if not len(known):
        return Moments(float("nan"), float("nan"), (float("nan"),) * len(QUANTILES), missing)
    center, spread = moments(known[:, None])
    deviation = float(spread[0]) if known.min() < known.max() else 0.0
    return Moments(float(center[0]), deviation, tuple(np.quantile(known, QUANTILES).tolist()), missing)
