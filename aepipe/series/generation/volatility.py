"""Volatility of innovations: calm and restless stretches, as in returns."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_SHARES = (0.02, 0.05, 0.1, 0.2, 0.3)
_PERSISTENCES = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99)
_LEAST_GAIN = 10.0
"""Log likelihood, in nats, by which clusters must explain the innovations better than none."""

_MOST_STEPS = 5_000
"""Steps that the parameters are chosen on: the latest."""

_LEAST_POWER = 1e-3


class Volatility(NamedTuple):
    """GARCH(1, 1) of each channel (Bollerslev 1986): v[t + 1] = 1 - a - b + a u[t]^2 + b v[t], with a mean of 1.

    A channel without clusters has a = b = 0.
    """

    share: Floats
    """a, (F,)"""
    memory: Floats
    """b, (F,)"""

    @classmethod
    def fit(cls, stretches: Sequence[Floats]) -> "Volatility":
        """Choose the parameters of the greatest Gaussian likelihood on a grid.

        Args:
            stretches: Innovations u of consecutive steps with a mean square of 1, (S, F) each, NaN where unknown.
        """
        pairs = [(0.0, 0.0), *((a, p - a) for p in _PERSISTENCES for a in _SHARES if p >= a)]
        share, memory = (np.array(side)[:, None] for side in zip(*pairs, strict=True))
        channels = stretches[0].shape[1]
        grid = cls(share, memory)
        likelihood, left = np.zeros((len(pairs), channels)), _MOST_STEPS
        for stretch in reversed(stretches):
            part = stretch[max(len(stretch) - left, 0) :]
            power = grid.powers(part[:, None])  # (S, G, F)
            likelihood -= 0.5 * np.nansum(np.log(power) + part[:, None] ** 2 / power, axis=0)
            left -= len(part)
            if left <= 0:
                break
        best = likelihood.argmax(axis=0)
        is_clustered = likelihood.max(axis=0) > likelihood[0] + _LEAST_GAIN
        best = np.where(is_clustered, best, 0)
        return cls(share[best, 0], memory[best, 0])

    def next(self, power: Floats, innovation: Floats) -> Floats:
        """Return the variance of the next step from that of this one; where the innovation is unknown, it is usual."""
        square = np.where(np.isnan(innovation), power, innovation**2)
        return np.maximum(1 - self.share - self.memory + self.share * square + self.memory * power, _LEAST_POWER)

    def powers(self, stretch: Floats) -> Floats:
        """Return the variance of each step before its innovation is known, (S, ..., F)."""
        shape = np.broadcast_shapes(stretch.shape[1:], self.share.shape)
        found = np.ones((len(stretch), *shape))
        for step in range(1, len(stretch)):
            found[step] = self.next(found[step - 1], stretch[step - 1])
        return found

    def standardised(self, stretch: Floats) -> Floats:
        """Return the innovations of a stretch, (S, F), divided by their volatility."""
        return np.asarray(stretch / np.sqrt(self.powers(stretch)))
