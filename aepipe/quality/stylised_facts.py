"""Stylised facts of returns and other series: tails, memory and clustering, which columns by themselves do not show.

Cont 2001, Empirical properties of asset returns: heavy tails, no autocorrelation of returns, clusters of volatility,
and falls that raise it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LAGS = (1, 10)
"""Lags of the autocorrelation of absolute deviations; that of the values is at lag 1."""

FEWEST_PAIRS = 30


class StylisedFacts(NamedTuple):
    """Facts of one quantity; NaN where it is constant or has too few steps."""

    skewness: float
    excess_kurtosis: float
    """0 for a normal distribution, above it for heavy tails"""
    autocorrelation: float
    """at lag 1"""
    absolute_autocorrelation: tuple[float, ...]
    """of absolute deviations from the mean, by lag: clusters of volatility"""
    leverage: float
    """correlation of a value with the absolute deviation of the next one; negative if falls raise the volatility"""


def stylised_facts(values: NDArray[np.floating], series: NDArray[np.integer]) -> StylisedFacts:
    """Return the facts of series whose steps follow each other.

    Args:
        values: (N,), NaN where missing.
        series: (N,) code of the series of each step; steps of one series lie together, in order.
    """
    known = values[np.isfinite(values)].astype(np.float64)
    deviations = values.astype(np.float64) - (known.mean() if len(known) else 0.0)
    sizes = np.abs(deviations)
    return StylisedFacts(
        skewness=_moment(known, 3),
        excess_kurtosis=_moment(known, 4) - 3,
        autocorrelation=_lagged(deviations, deviations, series, 1),
        absolute_autocorrelation=tuple(_lagged(sizes, sizes, series, lag) for lag in LAGS),
        leverage=_lagged(deviations, sizes, series, 1),
    )


def facts_of_windows(windows: NDArray[np.floating]) -> tuple[StylisedFacts, ...]:
    """Return the facts of each channel of windows, (B, T, F)."""
    rows, steps, channels = windows.shape
    series = np.repeat(np.arange(rows), steps)
    return tuple(stylised_facts(windows[:, :, channel].reshape(-1), series) for channel in range(channels))


def fact_names() -> Sequence[str]:
    """Return the names of the facts in the order of `fact_values`."""
    return ("skewness", "excess kurtosis", "autocorrelation", *(f"of |x|, lag {lag}" for lag in LAGS), "leverage")


def fact_values(facts: StylisedFacts) -> tuple[float, ...]:
    """Return the facts as a row of a table."""
    skewness, kurtosis, autocorrelation, absolute, leverage = facts
    return (skewness, kurtosis, autocorrelation, *absolute, leverage)


def _moment(known: NDArray[np.float64], order: int) -> float:
    """Return a standardised central moment; NaN for fewer than two different values."""
    deviation = float(known.std()) if len(known) else 0.0
    return float(np.mean(((known - known.mean()) / deviation) ** order)) if deviation > 0 else float("nan")


def _lagged(first: NDArray[np.float64], second: NDArray[np.float64], series: NDArray[np.integer], lag: int) -> float:
    """Return the correlation of `first` with `second` lag steps later within a series; NaN for few pairs."""
    before, after = first[:-lag], second[lag:]
    fine = (series[:-lag] == series[lag:]) & np.isfinite(before) & np.isfinite(after)
    before, after = before[fine], after[fine]
    if len(before) < FEWEST_PAIRS or not before.std() or not after.std():
        return float("nan")
    return float(np.corrcoef(before, after)[0, 1])
