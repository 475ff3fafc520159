"""Noise that a privacy budget asks for, by the accountant of opacus (Rényi differential privacy, Mironov 2017)."""

import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

from aepipe.versions import named_extras

_ORDERS = [1 + at / 10 for at in range(1, 100)] + list(range(12, 64)) + [2.0**at for at in range(6, 13)]
"""Orders of the Rényi divergence: the orders of opacus, and greater ones for small budgets."""
_COUNTS_SHARE = 0.2
"""Share of epsilon that the counts of codes would take alone; together with the steps they take less."""
_LEAST_NOISE, _MOST_NOISE = 0.01, 1e6
_PRECISION = 1e-3


class Mechanism(NamedTuple):
    """Gaussian mechanism: standard deviation of its noise per unit of sensitivity, and what it is applied to."""

    noise: float
    sample_rate: float
    """probability of each row to be in a step; 1 for a query of all rows"""
    steps: int = 1


class NoisePlan(NamedTuple):
    """Noise of the counts of codes and of the gradients of all steps."""

    counts: Mechanism
    gradients: Mechanism

    def epsilon(self, delta: float) -> float:
        """Return the epsilon that both spend together."""
        return epsilon_of(self, delta)


def plan_noise(epsilon: float, delta: float, *, sample_rate: float, steps: int) -> NoisePlan:
    """Return the least noise, to a thousandth, that keeps counts and gradients together within (epsilon, delta).

    Args:
        epsilon: Budget.
        delta: Probability that the budget does not cover.
        sample_rate: Probability of each row to be in a step.
        steps: Number of steps.

    Raises:
        ExtraMissing: opacus is not installed.
    """
    counts = _least(lambda noise: epsilon_of([Mechanism(noise, 1.0)], delta) <= _COUNTS_SHARE * epsilon)
    of_counts = Mechanism(counts, 1.0)

    def is_within(noise: float) -> bool:
        return epsilon_of([of_counts, Mechanism(noise, sample_rate, steps)], delta) <= epsilon

    return NoisePlan(of_counts, Mechanism(_least(is_within), sample_rate, steps))


def epsilon_of(mechanisms: Sequence[Mechanism], delta: float) -> float:
    """Return the epsilon that these mechanisms spend one after another, by the accountant of opacus.

    Raises:
        ExtraMissing: opacus is not installed.
    """
    with named_extras("[train] epsilon"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of packages that opacus imports, and of the best order at the end of the list
        from opacus.accountants import RDPAccountant

        accountant = RDPAccountant()
        accountant.history = [tuple(mechanism) for mechanism in mechanisms]
        return float(accountant.get_epsilon(delta=delta, alphas=_ORDERS))


def _least(is_within: Callable[[float], bool]) -> float:
    """Return the least noise, to a thousandth and never below it, that is within a budget."""
    low, high = _LEAST_NOISE, 1.0
    while not is_within(high) and high < _MOST_NOISE:
        low, high = high, 2 * high
    while high / low > 1 + _PRECISION:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if is_within(middle) else (middle, high)
    return high
