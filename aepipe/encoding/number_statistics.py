"""What training rows say of a number: how it is centred, scaled and rounded. Everything in float64."""

import numpy as np

from aepipe.layout import Number
from aepipe.tables.schema import Transform

HEAVY_TAIL = 50.0
"""Kurtosis of the training values above which `auto` takes the logarithm; a normal's is 3, an exponential's 9."""
SMALL_SPREAD = 1e3
"""An offset is subtracted in float64 where the mean is so many standard deviations from zero: float32 would blur it."""
MOST_DECIMALS = 6
_SMALLEST_STD = 1e-30
_SMALLEST_SHARE = 1e-6
"""A scale that is less of the values themselves is lost in float32."""


def fits_float32(values: np.ndarray) -> np.ndarray:
    """Which values are finite, and stay so in float32, bool (n,)."""
    with np.errstate(over="ignore"):
        fits: np.ndarray = np.isfinite(values.astype(np.float32))
    return fits


def spread(values: np.ndarray) -> float:
    """Standard deviation; 1 for values that are all the same, or none."""
    if len(values) == 0 or values.min() == values.max():
        return 1.0
    std = float(values.std())
    return std if std > _SMALLEST_STD else 1.0


def number(
    values: np.ndarray, *, name: str, column: int, transform: Transform = "auto", may_be_missing: bool = False
) -> Number:
    """The numeric feature of observed values (n,), finite, offset subtracted."""
    if len(values) == 0:
        return Number(name=name, column=column, may_be_missing=may_be_missing)
    mean, std = float(values.mean()), spread(values)
    low, high = float(values.min()), float(values.max())
    if transform == "linear" or (transform == "auto" and not _has_heavy_tails(values, mean, std)):
        return Number(name=name, column=column, mean=mean, std=std, may_be_missing=may_be_missing, low=low, high=high)
    center = float(np.median(values))
    half = _half_middle(values)
    scale = half if half > max(_SMALLEST_STD, _SMALLEST_SHARE * abs(center)) else std
    scaled = (values - center) / scale
    bent = np.sign(scaled) * np.log1p(np.abs(scaled))
    return Number(
        name=name,
        column=column,
        transform="log",
        center=center,
        scale=scale,
        mean=float(bent.mean()),
        std=spread(bent),
        may_be_missing=may_be_missing,
        low=low,
        high=high,
    )


def typical(number: Number) -> float:
    """A value in the middle of the training values, offset subtracted."""
    return number.center if number.transform == "log" else number.mean


def offset(values: np.ndarray) -> float:
    """What to subtract in float64 before float32: the mean where the spread is small beside it, else 0.

    >>> offset(np.array([1e9, 1e9 + 1])), offset(np.array([1.0, 2.0]))
    (1000000000.5, 0.0)
    """
    if len(values) == 0:
        return 0.0
    mean = float(values.mean())
    return mean if abs(mean) > SMALL_SPREAD * spread(values) else 0.0


def decimals(values: np.ndarray, resolution: float) -> int | None:
    """How many decimals all the values are rounded to, at most 6; None if they are not, or there is no telling.

    resolution: relative, of the type that the values came in.

    >>> decimals(np.array([0.25, 3.5]), 2.0**-52), decimals(np.array([1 / 3]), 2.0**-52)
    (2, None)
    """
    if len(values) == 0:
        return None
    for places in range(MOST_DECIMALS + 1):
        # Most columns are not rounded at all: a thousand values say so.
        if _is_whole(values[:1000] * 10.0**places, resolution) and _is_whole(values * 10.0**places, resolution):
            return places
    return None


def _is_whole(values: np.ndarray, resolution: float) -> bool:
    slack = 4 * resolution * np.abs(values)
    return bool(slack.max() < 0.01 and (np.abs(values - np.rint(values)) <= slack).all())


def _has_heavy_tails(values: np.ndarray, mean: float, std: float) -> bool:
    return float(np.mean(((values - mean) / std) ** 4)) > HEAVY_TAIL


def _half_middle(values: np.ndarray) -> float:
    """Half the distance between the quartiles."""
    low, high = np.quantile(values, [0.25, 0.75])
    return float(high - low) / 2
