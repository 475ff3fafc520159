"""Epsilon against closed forms, opacus and published values; noise that keeps a budget."""

import math

import pytest

from aepipe.training.privacy_noise import Mechanism, epsilon_of, plan_noise

DELTA = 1e-5


def renyi(order: int, *, rate: float, noise: float) -> float:
    """Compute the Rényi divergence of one step, for integer orders (Mironov, Talwar & Zhang 2019, section 3.3)."""
    terms = [
        math.comb(order, k) * (1 - rate) ** (order - k) * rate**k * math.exp((k * k - k) / (2 * noise**2))
        for k in range(order + 1)
    ]
    return math.log(sum(terms)) / (order - 1)


def test_epsilon_is_that_of_the_closed_form_at_the_best_integer_order() -> None:
    found = epsilon_of([Mechanism(4.0, 0.01, 10_000)], DELTA)

    expected = min(
        10_000 * renyi(order, rate=0.01, noise=4.0)
        + math.log((order - 1) / order)
        - (math.log(DELTA) + math.log(order)) / (order - 1)  # Balle et al. 2020, theorem 21
        for order in range(2, 64)
    )
    assert found == pytest.approx(expected, rel=1e-3)
    assert found < expected * (1 + 1e-9)


def test_epsilon_is_the_published_one_or_below() -> None:
    """Abadi et al. 2016, section 3: 1.26 at q = 0.01, sigma = 4, 10,000 steps; the bound from moments is looser."""
    of_moments = min(
        10_000 * renyi(order, rate=0.01, noise=4.0) - math.log(DELTA) / (order - 1) for order in range(2, 64)
    )

    assert of_moments == pytest.approx(1.26, abs=0.005)
    assert 0.8 * 1.26 < epsilon_of([Mechanism(4.0, 0.01, 10_000)], DELTA) < 1.26


@pytest.mark.parametrize(("noise", "rate", "steps"), [(1.1, 0.01, 1_000), (2.0, 0.1, 300), (5.0, 1.0, 1)])
def test_epsilon_is_that_of_the_accountant_of_opacus_step_by_step(noise: float, rate: float, steps: int) -> None:
    from opacus.accountants import RDPAccountant

    accountant = RDPAccountant()
    for _ in range(steps):
        accountant.step(noise_multiplier=noise, sample_rate=rate)

    assert epsilon_of([Mechanism(noise, rate, steps)], DELTA) == pytest.approx(accountant.get_epsilon(DELTA), rel=1e-9)


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 10.0])
def test_the_planned_noise_spends_the_budget_and_no_more(epsilon: float) -> None:
    plan = plan_noise(epsilon, DELTA, sample_rate=0.05, steps=400)

    assert 0.99 * epsilon < plan.epsilon(DELTA) <= epsilon
    assert plan.gradients[1:] == (0.05, 400)
    assert epsilon_of([plan.counts], DELTA) <= 0.2 * epsilon
    assert epsilon_of([plan.counts._replace(noise=0.99 * plan.counts.noise)], DELTA) > 0.2 * epsilon
