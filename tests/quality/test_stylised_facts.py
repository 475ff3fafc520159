"""Stylised facts against scipy and pandas, and on series with known facts."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.stats import kurtosis, skew

from aepipe.quality.stylised_facts import fact_names, fact_values, facts_of_windows, stylised_facts


def returns(steps: int, seed: int = 0) -> NDArray[np.float64]:
    """Return an asymmetric GARCH process, in which falls raise the volatility."""
    generator = np.random.default_rng(seed)
    found, variance = np.zeros(steps), 1.0
    for step in range(steps):
        found[step] = np.sqrt(variance) * generator.standard_normal()
        variance = 0.05 + (0.05 + 0.2 * (found[step] < 0)) * found[step] ** 2 + 0.75 * variance
    return found


def test_the_facts_of_one_series_are_those_of_scipy_and_pandas() -> None:
    values = returns(2_000)

    found = stylised_facts(values, np.zeros(2_000, np.int64))

    sizes = pd.Series(np.abs(values - values.mean()))
    assert found.skewness == pytest.approx(skew(values))
    assert found.excess_kurtosis == pytest.approx(kurtosis(values))
    assert found.autocorrelation == pytest.approx(pd.Series(values).autocorr(1))
    assert found.absolute_autocorrelation == pytest.approx((sizes.autocorr(1), sizes.autocorr(10)))
    assert found.leverage == pytest.approx(pd.Series(values).corr(sizes.shift(-1)))
    assert len(fact_values(found)) == len(fact_names())


def test_returns_have_tails_clusters_and_leverage_and_shuffled_ones_only_tails() -> None:
    values, one = returns(20_000), np.zeros(20_000, np.int64)
    shuffled = np.random.default_rng(1).permutation(values)

    found, other = stylised_facts(values, one), stylised_facts(shuffled, one)

    assert found.excess_kurtosis == pytest.approx(other.excess_kurtosis)
    assert found.excess_kurtosis > 0.5
    assert min(found.absolute_autocorrelation) > 0.05
    assert found.leverage < -0.05
    assert max(np.abs([*other.absolute_autocorrelation, other.leverage, found.autocorrelation])) < 0.04


def test_pairs_of_steps_lie_within_one_series_and_missing_ones_are_left_out() -> None:
    windows = np.random.default_rng(0).normal(size=(50, 12)).cumsum(axis=1)
    windows[3, 4] = np.nan

    (found,) = facts_of_windows(windows[:, :, None])

    deviations = windows - np.nanmean(windows)
    pairs = np.array([pair for row in deviations for pair in pairwise(row)])
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    assert found.autocorrelation == pytest.approx(np.corrcoef(pairs.T)[0, 1])


@pytest.mark.parametrize("values", [np.ones(100), np.full(100, np.nan), np.zeros(0), np.arange(5.0)])
def test_facts_that_cannot_be_had_are_missing(values: NDArray[np.float64]) -> None:
    found = stylised_facts(values, np.zeros(len(values), np.int64))

    assert np.isnan(found.autocorrelation)
    assert np.isnan(found.leverage)
