"""Generalised-Pareto tail of scores above the highest observed one. Independent of p-values."""

from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, FiniteFloat

from aepipe.frozen import FrozenModel

SHARE = 0.1
"""Share of the scores, the highest ones, that a tail is fitted on."""

FEWEST, MOST = 30, 1_000
"""Bounds of the number of exceedances: fewer cannot determine a shape, more reach into the body."""

_LEAST = float(np.finfo(np.float64).tiny)


class Tail(FrozenModel):
    """Survival function of scores above `start`, fitted by peaks over a threshold (Pickands 1975).

    The excess of a generalised-Pareto variable over a higher threshold has the same shape, and a scale that grows by
    shape times the distance. These three numbers therefore determine the distribution above the highest observed score.
    """

    start: FiniteFloat = Field(description="the highest score seen; the tail stands above it")
    shape: FiniteFloat = Field(ge=0, description="0: exponential; the greater, the heavier")
    scale: FiniteFloat = Field(gt=0, description="of the excess over `start`")

    @classmethod
    def fit(cls, ordered: NDArray[np.float64]) -> Self | None:
        """Fit on scores (n,) in ascending order; None if too few of them differ.

        A negative shape would end the tail at a finite score: all scores beyond it would tie, with p = 0. The tail is
        then exponential instead, which overestimates p.
        """
        count = min(MOST, int(SHARE * len(ordered)))
        if count < FEWEST:
            return None
        threshold, top = ordered[-count - 1], ordered[-count:]
        excess = top[top > threshold] - threshold
        if len(np.unique(excess)) < FEWEST:
            return None
        shape, scale = generalised_pareto(excess)
        if shape <= 0:
            shape, scale = 0.0, float(excess.mean())
        return cls(start=float(ordered[-1]), shape=shape, scale=scale + shape * float(excess[-1]))

    def survival(self, scores: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return P(S > s | S > start) of each score s, in (0, 1]: 1 up to `start`, decreasing above it, never 0.

        >>> Tail(start=1.0, shape=0.5, scale=1.0).survival(np.array([0.0, 1.0, 3.0])).tolist()
        [1.0, 1.0, 0.25]
        """
        excess = np.maximum(np.asarray(scores, np.float64) - self.start, 0.0) / self.scale
        decay = excess if self.shape == 0 else np.log1p(self.shape * excess) / self.shape
        return np.asarray(np.maximum(np.exp(-decay), _LEAST))


def generalised_pareto(excess: NDArray[np.float64]) -> tuple[float, float]:
    """Estimate shape and scale of a generalised-Pareto distribution from excesses > 0, (n,) in ascending order.

    Quasi-Bayesian estimate of Zhang & Stephens 2009: the mean of b = -shape / scale over a grid, weighted by the
    profile likelihood. It needs no optimiser and always exists, unlike the maximum-likelihood estimate.
    """
    n = len(excess)
    grid = 20 + int(np.sqrt(n))
    quartile = excess[int(n / 4 + 0.5) - 1]
    b = 1 / excess[-1] + (1 - np.sqrt(grid / (np.arange(grid) + 0.5))) / (3 * quartile)
    shapes = np.log1p(-b[:, None] * excess).mean(axis=1)
    likelihood = n * (np.log(-b / shapes) - shapes - 1)
    weights = np.exp(likelihood - likelihood.max())
    mean = float(np.sum(b * weights) / weights.sum())
    shape = float(np.log1p(-mean * excess).mean())
    return shape, -shape / mean
