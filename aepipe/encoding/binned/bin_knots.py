"""Quantile function inside each bin, as knots of a piecewise linear curve. Does not use Arrow."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from pydantic import Field

from aepipe.frozen import FrozenModel

INNER, OUTER = (2, 8), (17, 64)
"""Number of knots at even quantiles, and maximum number of knots, of a bin and of the first and last bin, which hold
the tails: knots where the curve is furthest off alone would leave out all but the greatest values."""
MOST_REPEATED = 64
"""Maximum number of distinct values of a bin that are drawn as they are."""
LEAST_REPEATS = 5
"""Minimum number of training rows per distinct value of such a bin."""
_LEAST_LEVEL, _LEVEL_SHARE = 2, 0.001
"""Minimum number and share of the column's rows of a value that is drawn as often as it occurs, in any bin."""
_TOLERANCE = 1e-3
"""Largest error of the curve, as a share of the bin's range; knots are added until the curve is as close."""
_MOST_LOST = 0.01
"""Share of a column's variance that a line across one gap between two values may lose; wider gaps are jumped."""


class Knots(FrozenModel):
    """Quantile functions of all bins, one after the other.

    A bin of often repeated values, such as prices, and each bin of a column of few values, such as grades, is a
    step function and yields these values only. Other bins are linear between knots, and level at each value that
    repeats, for the share of rows that have it. The curve is level for half a training row at the outer end of the
    first and the last bin, and at each end of a bin of rounded values, so that a column's bins keep the mean of the
    training rows (Hazen 1914). Next to a gap that makes a large part of the
    variance, such as that to a single outlier, it is level for whole rows, so that bins keep the variance too.
    """

    counts: tuple[int, ...] = Field(description="knots of each bin, at least two")
    positions: tuple[float, ...] = Field(
        description="on [0, 1], ascending within a bin, which starts at 0 and ends at 1"
    )
    values: tuple[int | float, ...] = Field(description="value of each knot, ascending")

    @property
    def bins(self) -> np.ndarray:
        """Index of the bin of each knot, int64 (K,)."""
        return np.repeat(np.arange(len(self.counts)), self.counts)


class _Curve(NamedTuple):
    positions: np.ndarray
    values: np.ndarray


def fit_knots(
    distinct: np.ndarray,
    counts: np.ndarray,
    begins: Sequence[int],
    *,
    is_rounded: bool,
    is_discrete: bool = False,
    variance: float = np.inf,
    rows_of_column: int = 0,
    unit: float = 0.0,
) -> Knots | None:
    """Fit the quantile function of each bin to the training values; None if their range overflows float64.

    Args:
        distinct: Distinct values of all bins, ascending, (n,).
        counts: Training rows of each value, (n,).
        begins: Index of the first value of each bin.
        is_rounded: Values are integers, have few decimals or repeat; then the curve is level at the ends of every bin,
            for an inner end would otherwise be drawn half as often as it should. Others are not to be repeated.
        is_discrete: The column has few values, which repeat: no value between two of them is drawn.
        variance: Sum over all rows of the squared distance of the column's values from their mean.
        rows_of_column: All rows, also those whose values lie in no bin; 0: those in `counts`.
        unit: Difference that draws are rounded to; 0: they are not rounded.
    """
    if not len(distinct) or not np.isfinite(float(distinct[-1]) - float(distinct[0])):
        return None
    last = len(begins) - 1
    least = max(_LEAST_LEVEL, _LEVEL_SHARE * (rows_of_column or counts.sum()))
    curves = []
    for index, (begin, end) in enumerate(pairwise((*begins, len(distinct)))):
        values, rows = distinct[begin:end], counts[begin:end]
        if is_discrete or (len(values) <= MOST_REPEATED and rows.sum() >= LEAST_REPEATS * len(values)):
            ends = np.cumsum(rows) / rows.sum()  # level at each value, for the share of rows that have it
            positions = np.stack([np.append(0.0, ends[:-1]), ends], axis=1).ravel()
            curves.append(_Curve(positions, np.repeat(values, 2)))
            continue
        jumps = _gaps(values, rows, most=_MOST_LOST * variance)
        curve = _line(
            values,
            rows,
            jumps,
            levels=np.flatnonzero(rows >= least),
            unit=unit,
            is_level=(is_rounded or index == 0, is_rounded or index == last),
        )
        curves.append(_thinned(curve, *(OUTER if index in (0, last) else INNER)))
    return Knots(
        counts=tuple(len(curve.values) for curve in curves),
        positions=tuple(np.round(np.concatenate([curve.positions for curve in curves]), 9).tolist()),
        values=tuple(value for curve in curves for value in curve.values.tolist()),
    )


def _gaps(values: np.ndarray, rows: np.ndarray, *, most: float) -> np.ndarray:
    """Return the index of each value after which a line to the next one would lose more than `most` of the variance.

    A line spreads the rows between two values, which takes a sixth of the squared distance from each of them.
    """
    gaps = np.diff(values.astype(np.float64))
    return np.flatnonzero(gaps > np.sqrt(12 * most / (rows[:-1] + rows[1:])))


def _line(
    values: np.ndarray,
    rows: np.ndarray,
    jumps: np.ndarray,
    *,
    levels: np.ndarray,
    unit: float,
    is_level: tuple[bool, bool],
) -> _Curve:
    """Return a curve through each value at the middle of its rows; ends that are not level are stretched to 0 and 1.

    The curve is level for all rows of the values in `levels`. After the values in `jumps`, it is level to the end of
    their rows and jumps to the next value.
    """
    ends = np.cumsum(rows)
    starts = ends - rows
    single = np.setdiff1d(np.arange(len(values)), levels)
    before, after = _rounded_to(values, jumps, levels, unit=unit)
    of = np.concatenate([single, levels, levels, jumps, jumps + 1])
    positions = np.concatenate(
        [(starts + ends)[single] / 2, starts[levels] + before, ends[levels] - after, ends[jumps], starts[jumps + 1]]
    )
    of, positions = np.unique(np.stack([of, positions]), axis=1)
    values = values[of.astype(np.int64)]
    low = 0.0 if is_level[0] else positions[0]
    high = float(rows.sum()) if is_level[1] else positions[-1]
    positions = (positions - low) / (high - low) if high > low else np.zeros(len(values))
    lead, trail = (positions[0] > 0 or len(values) == 1), (positions[-1] < 1 or len(values) == 1)
    return _Curve(
        np.concatenate([np.zeros(int(lead)), positions, np.ones(int(trail))]),
        np.concatenate([values[:1] if lead else values[:0], values, values[-1:] if trail else values[:0]]),
    )


def _rounded_to(
    values: np.ndarray, jumps: np.ndarray, levels: np.ndarray, *, unit: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return how many rows of the lines before and after each value in `levels` are rounded to it, (n,) each.

    A line has half a row of its other end and these rows of the level. Draws within half a unit become the level.
    """
    is_level = np.isin(np.arange(len(values)), levels)
    is_line = ~(is_level[:-1] & is_level[1:])
    is_line[jumps] = False
    gaps = np.maximum(np.diff(values.astype(np.float64)), max(unit, np.finfo(np.float64).tiny))
    near = np.where(is_line, unit / gaps, 0.0)
    rounded = np.pad(near / (4 - 2 * near), 1)  # x = (0.5 + x) near / 2
    return rounded[levels], rounded[levels + 1]


def _thinned(curve: _Curve, even: int, most: int) -> _Curve:
    """Keep jumps, levels and `even` knots at even quantiles, then those furthest from the curve through the others."""
    values = curve.values.astype(np.float64) - float(curve.values[0])
    kinks = np.flatnonzero((np.diff(curve.positions) == 0) != (np.diff(values) == 0))
    evenly = np.searchsorted(curve.positions, np.linspace(0, 1, even))
    chosen = np.unique(np.concatenate([evenly, kinks, kinks + 1, [len(values) - 1]]))
    tolerance = _TOLERANCE * values[-1]
    while len(chosen) < most:
        errors = np.abs(np.interp(curve.positions, curve.positions[chosen], values[chosen]) - values)
        errors[chosen] = 0.0  # knots at one position differ by a jump, which no curve through them removes
        worst = int(np.argmax(errors))
        if errors[worst] <= tolerance:
            break
        chosen = np.insert(chosen, np.searchsorted(chosen, worst), worst)
    return _Curve(curve.positions[chosen], curve.values[chosen])
