"""Priors of latents, from which new rows are sampled: a Gaussian or a Gaussian mixture, fitted on training latents.

Noise is an input, so that the graph can be checked and a draw repeated.
"""

import warnings
from abc import ABC, abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from aepipe.latent_math import Mixture
from aepipe.layout import Port

ROWS_PER_PARAMETER = 3
"""Minimum number of distinct rows per component and coordinate of its mean; fewer rows give fewer components."""

_FITTED_ROWS = 50_000
_RIDGE = 1e-3  # share of the mean latent variance added to each covariance: components of few rows stay regular

Latents = NDArray[np.floating]


class Prior(nn.Module, ABC):
    """Map from noise to latents (B, Z); subclasses are final."""

    @property
    @abstractmethod
    def noise(self) -> tuple[Port, ...]:
        """Noise inputs of `forward`, in order."""


class NormalPrior(Prior):
    """Independent Gaussians: standard normal eps (B, Z) to z (B, Z)."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Latents, std: Latents) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))

    @property
    def noise(self) -> tuple[Port, ...]:
        return (Port("eps", "float32", (len(self.mean),), "normal"),)

    def forward(self, eps: Tensor) -> Tensor:
        return self.mean + eps * self.std


class MixturePrior(Prior):
    """Gaussian mixture: standard normal eps (B, Z) and uniform u (B, 1) to z (B, Z).

    Args:
        weights: Weights of the components, (K,).
        means: Means of the components, (K, Z).
        factors: Lower Cholesky factors of the covariances, (K, Z, Z).
    """

    starts: Tensor
    ends: Tensor
    means: Tensor
    factors: Tensor

    def __init__(self, weights: Latents, means: Latents, factors: Latents) -> None:
        super().__init__()
        self.mixture = Mixture(*(np.asarray(each, np.float64) for each in (weights, means, factors)))
        bounds = np.concatenate([[-np.inf], np.cumsum(weights)[:-1], [np.inf]])
        components, width = means.shape
        self.register_buffer("starts", torch.tensor(bounds[:-1], dtype=torch.float32))
        self.register_buffer("ends", torch.tensor(bounds[1:], dtype=torch.float32))
        self.register_buffer("means", torch.tensor(means, dtype=torch.float32))
        # (Z, K * Z): one product transforms the noise for all components; forward keeps one of them.
        joined = np.transpose(factors, (2, 0, 1)).reshape(width, components * width)
        self.register_buffer("factors", torch.tensor(joined, dtype=torch.float32))

    @property
    def noise(self) -> tuple[Port, ...]:
        return Port("eps", "float32", (self.means.shape[1],), "normal"), Port("u", "float32", (1,), "uniform")

    def forward(self, eps: Tensor, u: Tensor) -> Tensor:
        of_components = (eps @ self.factors).reshape(-1, *self.means.shape) + self.means
        is_drawn = (u >= self.starts) & (u < self.ends)
        z: Tensor = (of_components * is_drawn.unsqueeze(2)).sum(1)
        return z


def standard_prior(width: int) -> NormalPrior:
    """Return N(0, I), the prior of a family whose training pulls the latents towards it."""
    return NormalPrior(np.zeros(width), np.ones(width))


def fit_normal(latents: Latents) -> NormalPrior:
    """Fit independent Gaussians to latents (B, Z) by their means and standard deviations."""
    return NormalPrior(latents.mean(axis=0), latents.std(axis=0))


def fit_mixture(latents: Latents, *, components: int, seed: int) -> MixturePrior:
    """Fit a mixture of at most `components` full Gaussians to latents (B, Z) by expectation maximisation.

    Few rows get fewer components, at least one; of more than 50,000 rows, a seeded subsample is fitted.
    """
    chosen = np.random.default_rng(seed).permutation(len(latents))[:_FITTED_ROWS]
    rows = np.asarray(latents, dtype=np.float64)[np.sort(chosen)]
    ridge = _RIDGE * float(rows.var(axis=0).mean()) or 1e-6
    if (affordable := affordable_components(rows, components)) == 1:
        covariance = np.atleast_2d(np.cov(rows, rowvar=False, bias=True)) + ridge * np.eye(rows.shape[1])
        return MixturePrior(np.ones(1), rows.mean(axis=0, keepdims=True), np.linalg.cholesky(covariance)[None])
    return _maximise(rows, affordable, ridge=ridge, seed=seed)


def affordable_components(rows: Latents, components: int) -> int:
    """Choose the number of components that rows (B, Z) can support.

    >>> affordable_components(np.random.default_rng(0).random((100, 4)), 10)
    6
    """
    distinct = len(np.unique(rows, axis=0))
    return int(np.clip(distinct // (ROWS_PER_PARAMETER * (rows.shape[1] + 1)), 1, components))


def _maximise(rows: NDArray[np.float64], components: int, *, ridge: float, seed: int) -> MixturePrior:
    from sklearn.exceptions import ConvergenceWarning  # takes a second to import, and scoring does not need it
    from sklearn.mixture import GaussianMixture
    from threadpoolctl import threadpool_limits

    mixture = GaussianMixture(components, covariance_type="full", reg_covar=ridge, random_state=seed)
    # One thread: matrix products this small took 20 times longer on two busy cores than on one.
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)  # an unconverged mixture is still a density of these rows
        mixture.fit(rows)
    return MixturePrior(mixture.weights_, mixture.means_, np.linalg.cholesky(mixture.covariances_))
