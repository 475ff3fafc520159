"""Noise of drawn series: variance, autocorrelation and volatility clusters of the training residuals."""

import numpy as np
import pytest
from scipy.linalg import solve_toeplitz

from aepipe.series.generation.noise import Noise, yule_walker
from aepipe.series.generation.volatility import Volatility


def _process(coefficients: list[float], steps: int, seed: int = 0) -> np.ndarray:
    rng, found = np.random.default_rng(seed), np.zeros(steps + 500)
    for step in range(len(coefficients), len(found)):
        past = found[step - len(coefficients) : step][::-1]
        found[step] = np.dot(coefficients, past) + rng.normal()
    return found[500:]


def _correlation(values: np.ndarray, lag: int) -> float:
    return float(np.corrcoef(values[:-lag], values[lag:])[0, 1])


@pytest.mark.parametrize("coefficients", [[0.7], [1.2, -0.5], [0.0, 0.0, 0.6]])
def test_coefficients_solve_the_yule_walker_equations(coefficients: list[float]) -> None:
    values = _process(coefficients, 20_000)

    found, variance = yule_walker([values])

    order = len(found)
    covariance = [values[lag:] @ values[: len(values) - lag] / (len(values) - lag) for lag in range(order + 1)]
    np.testing.assert_allclose(found, solve_toeplitz(covariance[:-1], covariance[1:]), rtol=1e-8)
    assert variance == pytest.approx(covariance[0] - np.dot(found, covariance[1:]), rel=1e-8)
    np.testing.assert_allclose(found[: len(coefficients)], coefficients, atol=0.05)


def test_drawn_noise_has_the_variance_and_autocorrelation_of_the_residuals() -> None:
    values = _process([1.2, -0.5], 20_000)
    values[::50] = np.nan  # missing steps

    drawn = Noise.fit([values[:9_000, None], values[9_000:, None]]).draw(1, 40_000, np.random.default_rng(1))[0, :, 0]

    lag_one = 1.2 / 1.5
    assert drawn.std() == pytest.approx(np.nanstd(values), rel=0.05)
    assert _correlation(drawn, 1) == pytest.approx(lag_one, abs=0.03)
    assert _correlation(drawn, 2) == pytest.approx(1.2 * lag_one - 0.5, abs=0.05)


def test_steps_that_are_missing_every_weekend_do_not_hide_the_memory() -> None:
    values = _process([0.6], 30_000)
    values[np.arange(len(values)) % 7 >= 5] = np.nan

    drawn = Noise.fit([values[:, None]]).draw(1, 40_000, np.random.default_rng(1))[0, :, 0]

    assert drawn.std() == pytest.approx(np.nanstd(values), rel=0.05)
    for lag in (1, 2, 4):
        assert _correlation(drawn, lag) == pytest.approx(0.6**lag, abs=0.06)


def test_stretches_shorter_than_the_lags_count_too() -> None:
    values = _process([0.7], 6_000)
    lengths = np.random.default_rng(0).integers(1, 30, 300)
    ends = np.cumsum(lengths)

    noise = Noise.fit([values[end - length : end, None] for length, end in zip(lengths, ends, strict=True)])

    drawn = noise.draw(1, 20_000, np.random.default_rng(1))[0, :, 0]
    assert drawn.std() == pytest.approx(values[: ends[-1]].std(), rel=0.1)
    assert _correlation(drawn, 1) == pytest.approx(0.7, abs=0.06)


def test_innovations_of_channels_stay_together() -> None:
    rng = np.random.default_rng(0)
    shared = rng.normal(size=5_000)
    values = np.column_stack([shared, -shared + 0.1 * rng.normal(size=5_000)])

    drawn = Noise.fit([values]).draw(3, 2_000, rng)

    assert drawn.shape == (3, 2_000, 2)
    assert np.corrcoef(drawn.reshape(-1, 2).T)[0, 1] < -0.98


def test_channels_of_different_memory_keep_their_correlation() -> None:
    fast, slow = np.random.default_rng(0).normal(size=20_000), _process([0.95], 20_000, seed=1)
    values = np.column_stack([fast + 0.2 * slow, slow])
    values[::40, 0] = np.nan

    drawn = Noise.fit([values]).draw(1, 40_000, np.random.default_rng(1))[0]

    known = values[np.isfinite(values).all(axis=1)]
    assert np.corrcoef(drawn.T)[0, 1] == pytest.approx(np.corrcoef(known.T)[0, 1], abs=0.08)
    np.testing.assert_allclose(drawn.std(axis=0), known.std(axis=0), rtol=0.1)


def test_constant_and_unknown_residuals_give_no_noise() -> None:
    values = np.column_stack([np.zeros(300), np.full(300, np.nan)])

    assert not Noise.fit([values]).draw(2, 50, np.random.default_rng(0)).any()


def _returns(steps: int, share: float, memory: float, seed: int = 0) -> np.ndarray:
    """Simulate a GARCH(1, 1) process with variance 1."""
    rng, found, power = np.random.default_rng(seed), np.zeros(steps), 1.0
    for step in range(steps):
        found[step] = np.sqrt(power) * rng.normal()
        power = 1 - share - memory + share * found[step] ** 2 + memory * power
    return found


def test_clusters_of_volatility_are_found_and_drawn() -> None:
    values = _returns(5_000, 0.1, 0.85)

    noise = Noise.fit([values[:, None]])
    drawn = noise.draw(4, 20_000, np.random.default_rng(1))[:, :, 0]

    assert noise.volatility.share[0] == pytest.approx(0.1, abs=0.05)
    assert noise.volatility.share[0] + noise.volatility.memory[0] == pytest.approx(0.95, abs=0.05)
    assert drawn.std() == pytest.approx(values.std(), rel=0.1)
    assert np.mean(drawn**4) / np.mean(drawn**2) ** 2 > 3.2  # heavier tails than a normal distribution
    for lag in (1, 10):
        found = np.mean([_correlation(np.abs(path), lag) for path in drawn])
        assert found == pytest.approx(_correlation(np.abs(_returns(80_000, 0.1, 0.85, seed=2)), lag), abs=0.06)


def test_the_likelihood_is_that_of_a_loop() -> None:
    values = _returns(300, 0.2, 0.6)
    values[50] = np.nan
    volatility = Volatility(np.array([0.2]), np.array([0.6]))

    power, expected = 1.0, []
    for value in values:
        expected.append(value / np.sqrt(power))
        power = 0.2 + 0.2 * (power if np.isnan(value) else value**2) + 0.6 * power

    np.testing.assert_allclose(volatility.standardised(values[:, None])[:, 0], expected, rtol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_noise_without_volatility_clusters_draws_none(seed: int) -> None:
    found = Volatility.fit([np.random.default_rng(seed).normal(size=(3_000, 2))])

    assert not found.share.any()
    assert not found.memory.any()


def test_a_shorter_noise_is_the_beginning_of_a_longer_one() -> None:
    noise = Noise.fit([_process([0.9], 500)[:, None]])

    short, long = (noise.draw(2, steps, np.random.default_rng(3)) for steps in (20, 50))

    np.testing.assert_array_equal(short, long[:, :20])
