"""Closed forms, each a negative log-likelihood or a divergence in nats. Nothing here knows layouts or networks."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)


def gaussian_nll(residual: Tensor, log_sigma: Tensor) -> Tensor:
    """-log N(residual; 0, sigma^2), elementwise; log_sigma broadcasts.

    One multiplication and one fused addition: in training these lines cost as much as the small layers of a table.

    >>> gaussian_nll(torch.zeros(1), torch.zeros(1))
    tensor([0.9189])
    """
    precise = residual * (0.5 * torch.exp(-2 * log_sigma))
    return torch.addcmul(log_sigma + _HALF_LOG_TAU, residual, precise)


def bernoulli_nll(logits: Tensor, target: Tensor) -> Tensor:
    """Cross entropy of targets in [0, 1] under Bernoulli logits, elementwise."""
    return F.softplus(logits) - target * logits


def categorical_nll(log_probabilities: Tensor, codes: Tensor) -> Tensor:
    """-log p(code): log_probabilities (..., K), codes (...) int64, answer (...)."""
    return -log_probabilities.gather(-1, codes.unsqueeze(-1)).squeeze(-1)


def kl_to_standard_normal(mean: Tensor, log_var: Tensor) -> Tensor:
    """KL(N(mean, exp(log_var)) || N(0, I)) of each row, (B,), in nats.

    mean, log_var: (B, Z). Kingma & Welling 2013, appendix B.
    """
    return kl_by_dimension(mean, log_var).sum(-1)


def kl_by_dimension(mean: Tensor, log_var: Tensor) -> Tensor:
    """The share of each latent dimension in `kl_to_standard_normal`, (B, Z)."""
    return 0.5 * (mean.square() + log_var.exp() - 1 - log_var)


def free_bits(kl: Tensor, nats: float) -> Tensor:
    """What each latent dimension pays for its KL, a mean over the batch (Z,): no less than `nats`.

    Kingma et al. 2016 (IAF), appendix C.8: a dimension is not pushed below `nats`, so that it stays in use.
    """
    return kl.clamp(min=nats)


def optimal_log_sigma(squares: Tensor, counts: Tensor) -> Tensor:
    """log sigma that minimises the Gaussian nll of residuals with these summed squares, elementwise.

    Rybkin, Daniilidis & Levine 2021 (sigma-VAE): sigma^2 is the mean squared residual. Never below `MIN_LOG_SIGMA`.
    """
    return (0.5 * torch.log(squares / counts.clamp(min=1))).clamp(min=MIN_LOG_SIGMA)


MIN_LOG_SIGMA = math.log(1e-2)
"""Of standardised numbers and of pixels in [0, 1]: below a hundredth, a residual is rounding."""


def linear_ramp(progress: float, share: float) -> float:
    """What rises evenly from 0 to 1 over this share of training, of which `progress` is done.

    >>> linear_ramp(0.25, 0.5), linear_ramp(0.75, 0.5), linear_ramp(0.0, 0.0)
    (0.5, 1.0, 1.0)
    """
    return min(1.0, progress / share) if share else 1.0
