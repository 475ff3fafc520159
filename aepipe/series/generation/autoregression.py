"""Latents of windows that follow each other: a vector autoregression."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LARGEST_RADIUS = 0.98
"""Spectral radius of a transition; a random walk would leave the latents that the decoder knows."""

FEWEST_PAIRS = 30
"""Pairs of states below which an entity takes the process of all."""

_DOUBLINGS = 12  # sums 2^12 terms of the stationary covariance


class VectorAutoregression(NamedTuple):
    """Process x[k + 1] = x[k] A + e[k]; the innovations e are drawn from the training (bootstrap).

    Values are in standard deviations of the training states.
    """

    transition: Floats
    """A, (Z, Z)"""
    innovations: Floats
    """(M, Z)"""
    states: Floats
    """(N, Z) that a path starts from"""
    scale: Floats
    """(Z,) unit of the values"""

    @classmethod
    def fit(
        cls, before: Floats, after: Floats, *, towards: "VectorAutoregression | None" = None, weight: float = 1.0
    ) -> "VectorAutoregression":
        """Fit by ridge regression to pairs of states of mean 0 that follow each other, (M, Z) each.

        Args:
            before: First states.
            after: Second states.
            towards: Process that few pairs follow, and whose scale is used; None: transition 0.
            weight: Weight of `towards`, in pairs.
        """
        if towards is not None and len(before) < FEWEST_PAIRS:
            return towards
        spread = before.std(axis=0)
        scale = np.where(spread > 1e-9, spread, 1.0) if towards is None else towards.scale
        first, second = before / scale, after / scale
        latents = len(scale)
        prior = np.zeros((latents, latents)) if towards is None else towards.transition
        gram = first.T @ first + weight * np.eye(latents)
        transition = np.asarray(np.linalg.solve(gram, first.T @ second + weight * prior), np.float64)
        radius = float(np.abs(np.linalg.eigvals(transition)).max(initial=0.0))
        if radius > LARGEST_RADIUS:
            transition = transition * (LARGEST_RADIUS / radius)
        residuals = second - first @ transition
        innovations = np.asarray(residuals - residuals.mean(axis=0), np.float64)
        wanted, reached = first.std(axis=0), np.sqrt(np.diag(_stationary(transition, innovations)))
        factor = np.where(reached > 1e-9, np.clip(wanted / np.maximum(reached, 1e-9), 0.5, 2.0), 1.0)
        return cls(transition, innovations, first / factor, scale * factor)

    def draw(self, paths: int, steps: int, generator: np.random.Generator) -> Floats:
        """Draw paths, (B, steps, Z); a shorter path of the same generator is their beginning."""
        state = self.states[generator.integers(len(self.states), size=paths)]
        chosen = generator.integers(len(self.innovations), size=(steps, paths))
        found = np.empty((paths, steps, len(self.scale)))
        for step in range(steps):
            found[:, step] = state
            state = state @ self.transition + self.innovations[chosen[step]]
        return found * self.scale


def _stationary(transition: Floats, innovations: Floats) -> Floats:
    """Return the covariance of the process, (Z, Z): the sum of A'^k Q A^k, by doubling."""
    covariance, power = innovations.T @ innovations / max(len(innovations), 1), transition
    for _ in range(_DOUBLINGS):
        covariance = covariance + power.T @ covariance @ power
        power = power @ power
    return np.asarray(covariance)
