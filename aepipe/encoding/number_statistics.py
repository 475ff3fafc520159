"""Statistics of numeric training values: centre, scale and decimals. Computed in float64."""

from collections.abc import Sequence

import numpy as np

from aepipe.layout import Number
from aepipe.tables.schema import Transform

FAR = 1e9
"""Spreads beyond which a huge value is a fault or a placeholder; a Pareto tail of index 1 reaches 1e6 in a million."""
HUGE = 1e12
"""Smallest distance, in units of the column, at which a value can be far: spreads of 1e-30 make 1 far from 0."""
HEAVY_TAIL = 50.0
"""Kurtosis above which transform `auto` uses the logarithm; 3 for a normal distribution, 9 for an exponential one."""
SMALL_SPREAD = 1e3
"""Standard deviations from 0 to the mean above which an offset is subtracted in float64: float32 would lose digits."""
MOST_DECIMALS = 6
_SMALLEST_STD = 1e-30
_SMALLEST_SHARE = 1e-6
"""Smallest scale relative to the values that float32 can resolve."""


def fits_float32(values: np.ndarray) -> np.ndarray:
    """Return the mask of values that are finite in float32, bool (n,)."""
    with np.errstate(over="ignore"):
        fits: np.ndarray = np.isfinite(values.astype(np.float32))
    return fits


def usable(values: np.ndarray) -> np.ndarray:
    """Return the mask of values that statistics are fitted to: finite in float32, and not `FAR` from the others.

    One value of 1e30 among amounts would set mean and spread alone, and all other values would become equal. The
    distance is measured from the median, in half the interquartile range; if most values are equal, in the median
    distance of the others.

    Args:
        values: (n,); NaN is not usable.
    """
    mask = fits_float32(values)
    known = values[mask].astype(np.float64)
    if len(known) == 0 or float(known.max()) - float(known.min()) <= HUGE:
        return mask
    center = float(np.median(known))
    distances = np.abs(known - center)
    lower, upper = np.quantile(known, [0.25, 0.75])
    mask[mask] = ~is_far(known, center, float(upper - lower) / 2 or float(np.median(distances[distances > 0])))
    return mask


def is_far(values: np.ndarray, center: float, scale: float) -> np.ndarray:
    """Return the mask of values that are far from a center, for columns of this scale; bool (n,)."""
    far: np.ndarray = np.abs(values - center) > np.float64(max(HUGE, FAR * scale))  # may lie beyond float32
    return far


def far_rows(numbers: Sequence[Number], values: np.ndarray | None) -> tuple[np.ndarray, list[str]]:
    """Find the rows of encoded numbers (B, N) with a value far from the others.

    Its loss alone would steer a training, so that such rows neither train nor calibrate.

    Returns:
        the mask of these rows, bool (B,), and the columns that have such values; (0,) without numbers.
    """
    if values is None or not numbers:
        return np.zeros(0, np.bool_), []
    rows, columns = np.zeros(len(values), np.bool_), []
    for index, number in enumerate(numbers):
        is_log = number.transform == "log"
        center, scale = (number.center, number.scale) if is_log else (number.mean, number.std)
        far = is_far(values[:, index], center, scale)
        if number.low != number.high and far.any():
            rows |= far
            columns.append(number.name)
    return rows, columns


def spread(values: np.ndarray) -> float:
    """Return the standard deviation; 1 for constant or no values."""
    if len(values) == 0 or values.min() == values.max():
        return 1.0
    std = float(values.std())
    return std if std > _SMALLEST_STD else 1.0


def number(
    values: np.ndarray, *, name: str, column: int, transform: Transform = "auto", may_be_missing: bool = False
) -> Number:
    """Fit the numeric feature of observed values.

    Args:
        values: float64 (n,), finite, offset subtracted.
        name: name of the feature.
        column: index of the column.
        transform: `auto` takes the logarithm of heavy-tailed values.
        may_be_missing: training had missing values.
    """
    if len(values) == 0:
        return Number(name=name, column=column, may_be_missing=may_be_missing)
    mean, std = float(values.mean()), spread(values)
    low, high = float(values.min()), float(values.max())
    is_linear = transform == "linear"
    if transform == "auto":
        is_linear = not float(np.mean(((values - mean) / std) ** 4)) > HEAVY_TAIL
    if is_linear:
        return Number(name=name, column=column, mean=mean, std=std, may_be_missing=may_be_missing, low=low, high=high)
    center = float(np.median(values))
    lower, upper = np.quantile(values, [0.25, 0.75])
    half = float(upper - lower) / 2
    scale = half if half > max(_SMALLEST_STD, _SMALLEST_SHARE * abs(center)) else std
    scaled = (values - center) / scale
    transformed = np.sign(scaled) * np.log1p(np.abs(scaled))
    return Number(
        name=name,
        column=column,
        transform="log",
        center=center,
        scale=scale,
        mean=float(transformed.mean()),
        std=spread(transformed),
        may_be_missing=may_be_missing,
        low=low,
        high=high,
    )


def typical(number: Number) -> float:
    """Return a central training value, offset subtracted."""
    return number.center if number.transform == "log" else number.mean


def offset(values: np.ndarray) -> float:
    """Return the offset to subtract in float64: the mean if the spread is small relative to it, else 0.

    >>> offset(np.array([1e9, 1e9 + 1])), offset(np.array([1.0, 2.0]))
    (1000000000.5, 0.0)
    """
    if len(values) == 0:
        return 0.0
    mean = float(values.mean())
    return mean if abs(mean) > SMALL_SPREAD * spread(values) else 0.0


def decimals(values: np.ndarray, resolution: float) -> int | None:
    """Return the number of decimals that all values are rounded to, at most 6; None if they are not rounded.

    Args:
        values: float64 (n,).
        resolution: machine epsilon of the type of the values.

    >>> decimals(np.array([0.25, 3.5]), 2.0**-52), decimals(np.array([1 / 3]), 2.0**-52)
    (2, None)
    """
    if len(values) == 0:
        return None
    with np.errstate(over="ignore"):  # a product beyond float64 is infinite, which is not whole
        for places in range(MOST_DECIMALS + 1):
            # Most columns are not rounded: a thousand values suffice to tell.
            if _is_whole(values[:1000] * 10.0**places, resolution) and _is_whole(values * 10.0**places, resolution):
                return places
    return None


def _is_whole(values: np.ndarray, resolution: float) -> bool:
    slack = 4 * resolution * np.abs(values)
    return bool(slack.max() < 0.01 and (np.abs(values - np.rint(values)) <= slack).all())
