"""Latents of drawn series: processes with the moments of their training data."""

import numpy as np
import pytest
from scipy.linalg import solve_discrete_lyapunov

from aepipe.series.generation.autoregression import LARGEST_RADIUS, VectorAutoregression


def _process(coefficients: list[float], steps: int, seed: int = 0) -> np.ndarray:
    rng, found = np.random.default_rng(seed), np.zeros(steps + 500)
    for step in range(len(coefficients), len(found)):
        past = found[step - len(coefficients) : step][::-1]
        found[step] = np.dot(coefficients, past) + rng.normal()
    return found[500:]


def test_drawn_latents_have_the_covariance_of_the_process() -> None:
    rng, transition = np.random.default_rng(0), np.array([[0.8, 0.3], [-0.3, 0.8]])
    states = np.zeros((20_000, 2))
    for step in range(1, len(states)):
        states[step] = states[step - 1] @ transition + rng.normal(size=2) * [1.0, 0.2]
    states -= states.mean(axis=0)

    model = VectorAutoregression.fit(states[:-1], states[1:])
    drawn = model.draw(50, 2_000, rng).reshape(-1, 2)

    expected = solve_discrete_lyapunov(transition.T, np.diag([1.0, 0.04]))
    np.testing.assert_allclose(np.cov(drawn.T), expected, rtol=0.1, atol=0.05)
    np.testing.assert_allclose(model.transition * model.scale / model.scale[:, None], transition, atol=0.05)


def test_a_random_walk_is_held_to_the_spread_of_training() -> None:
    walk = np.cumsum(np.random.default_rng(0).normal(size=(400, 1)), axis=0)
    walk -= walk.mean()

    model = VectorAutoregression.fit(walk[:-1], walk[1:])
    drawn = model.draw(200, 1_000, np.random.default_rng(1))

    assert np.abs(np.linalg.eigvals(model.transition)).max() <= LARGEST_RADIUS + 1e-12
    assert drawn[:, 500:].std() == pytest.approx(walk.std(), rel=0.5)


def test_few_pairs_take_the_process_of_all_and_some_are_drawn_to_it() -> None:
    states = _process([0.9], 5_000)[:, None]
    pooled = VectorAutoregression.fit(states[:-1], states[1:])
    other = _process([0.0], 100, seed=1)[:, None]

    few = VectorAutoregression.fit(other[:2], other[1:3], towards=pooled, weight=100.0)
    some = VectorAutoregression.fit(other[:-1], other[1:], towards=pooled, weight=100.0)

    assert few is pooled
    assert 0.2 < some.transition[0, 0] < 0.9


def test_a_shorter_path_is_the_beginning_of_a_longer_one() -> None:
    states = _process([0.9], 500)[:, None]
    process = VectorAutoregression.fit(states[:-1], states[1:])

    short, long = (process.draw(2, steps, np.random.default_rng(3)) for steps in (20, 50))

    np.testing.assert_array_equal(short, long[:, :20])
