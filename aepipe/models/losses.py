"""Closed forms, each a negative log-likelihood or a divergence in nats. Nothing here knows layouts or networks."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)


def gaussian_nll(residual: Tensor, log_sigma: Tensor) -> Tensor:
    """Compute -log N(residual; 0, sigma^2) elementwise; log_sigma broadcasts.

    One multiplication and one fused addition: in training these lines cost as much as the small layers of a table.

    >>> gaussian_nll(torch.zeros(1), torch.zeros(1))
    tensor([0.9189])
    """
    precise = residual * (0.5 * torch.exp(-2 * log_sigma))
    return torch.addcmul(log_sigma + _HALF_LOG_TAU, residual, precise)


def bernoulli_nll(logits: Tensor, target: Tensor) -> Tensor:
    """Compute the cross entropy of targets in [0, 1] under Bernoulli logits, elementwise."""
    return F.softplus(logits) - target * logits


def categorical_nll(log_probabilities: Tensor, codes: Tensor) -> Tensor:
    """Compute -log p(code), (...), from log_probabilities (..., K) and codes (...) int64."""
    return -log_probabilities.gather(-1, codes.unsqueeze(-1)).squeeze(-1)


def kl_to_standard_normal(mean: Tensor, log_var: Tensor) -> Tensor:
    """Compute KL(N(mean, exp(log_var)) || N(0, I)) per row, (B,), in nats.

    mean, log_var: (B, Z). Kingma & Welling 2013, appendix B.
    """
    return kl_by_dimension(mean, log_var).sum(-1)


def kl_by_dimension(mean: Tensor, log_var: Tensor) -> Tensor:
    """Compute the KL of `kl_to_standard_normal` per latent dimension, (B, Z)."""
    return 0.5 * (mean.square() + log_var.exp() - 1 - log_var)


def free_bits(kl: Tensor, nats: float) -> Tensor:
    """Clamp the batch mean of the KL per latent dimension, (Z,), from below at `nats`.

    A dimension has no incentive to fall below `nats`, so that it stays in use: Kingma et al. 2016 (IAF), appendix C.8.
    """
    return kl.clamp(min=nats)


def optimal_log_sigma(squares: Tensor, counts: Tensor) -> Tensor:
    """Return the log sigma that minimises the Gaussian NLL of residuals with these summed squares, elementwise.

    Rybkin, Daniilidis & Levine 2021 (sigma-VAE): sigma^2 is the mean squared residual. Never below `MIN_LOG_SIGMA`.
    """
    return (0.5 * torch.log(squares / counts.clamp(min=1))).clamp(min=MIN_LOG_SIGMA)


MIN_LOG_SIGMA = math.log(1e-2)
"""Of standardised numbers and of pixels in [0, 1]: below a hundredth, a residual is rounding."""


def linear_ramp(progress: float, share: float) -> float:
    """Ramp linearly from 0 to 1 over the first `share` of training.

    >>> linear_ramp(0.25, 0.5), linear_ramp(0.75, 0.5), linear_ramp(0.0, 0.0)
    (0.5, 1.0, 1.0)
    """
    return min(1.0, progress / share) if share else 1.0
