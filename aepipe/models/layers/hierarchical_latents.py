"""Levels of Gaussian latents, each drawn given the levels above it: priors and posteriors.

Inference is bidirectional: the encoder sends a message about every level upwards, priors go down from level to level,
and precisions weight the two. Sonderby et al. 2016 (ladder VAE), equations 13 to 18.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aepipe.layout import Port
from aepipe.models.layers.gaussian import Gaussian, kl_between
from aepipe.models.layers.prior import Prior
from aepipe.models.losses import gaussian_nll

_HIDDEN = 128
_LEAST_LOG_VAR, _GREATEST_LOG_VAR = -8.0, 4.0  # of a prior: latents of other levels are of the order of one


class Descent(NamedTuple):
    """All levels concatenated, top level first: (B, Z) each."""

    z: Tensor
    """latents that the levels below are conditioned on"""
    posterior: Gaussian
    prior: Gaussian
    kl: Tensor
    """exact KL of the posterior of each latent to its prior, both given the levels above, in nats"""


class HierarchicalLatents(nn.Module):
    """Levels of these widths, top level first. The prior of the top is N(0, I); the others are learned.

    The learned priors start at N(0, I), so that the model starts as an ordinary VAE, its special case.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.widths = tuple(widths)
        above = [sum(widths[:level]) for level in range(1, len(widths))]
        self.steps = nn.ModuleList()
        for inputs, width in zip(above, widths[1:], strict=True):
            last = nn.Linear(_HIDDEN, 2 * width)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
            first, second = nn.Linear(inputs, _HIDDEN), nn.Linear(_HIDDEN, _HIDDEN)
            self.steps.append(nn.Sequential(first, nn.SiLU(), second, nn.SiLU(), last))

    def prior(self, level: int, above: Tensor) -> Gaussian:
        """Return the prior of a level, (B, its width), given all latents above it."""
        if level == 0:
            nothing = above.new_zeros((above.shape[0], self.widths[0]))
            return Gaussian(nothing, nothing)
        mean, log_var = self.steps[level - 1](above).to(above.dtype).chunk(2, dim=1)
        return Gaussian(mean, log_var.clamp(_LEAST_LOG_VAR, _GREATEST_LOG_VAR))

    def descend(self, messages: Gaussian, noise: Tensor | None = None) -> Descent:
        """Draw each posterior from the top down with `noise` (B, Z); None takes the posterior means."""
        z, posteriors, priors = messages.mean[:, :0], [], []
        of_levels = zip(*(part.split_with_sizes(self.widths, 1) for part in messages), strict=True)
        noises = (None,) * len(self.widths) if noise is None else noise.split_with_sizes(self.widths, 1)
        for level, (message, eps) in enumerate(zip(of_levels, noises, strict=True)):
            prior = self.prior(level, z)
            posterior = merged(Gaussian(*message), prior)
            z = torch.cat([z, posterior.mean if eps is None else posterior.at(eps)], 1)
            posteriors.append(posterior)
            priors.append(prior)
        posterior, prior = _concatenated(posteriors), _concatenated(priors)
        return Descent(z, posterior, prior, kl_between(posterior, prior))

    def draw(self, noise: Tensor) -> Tensor:
        """Draw latents (B, Z) from the priors by noise (B, Z), each level given the levels above it."""
        z = noise[:, :0]
        for level, eps in enumerate(noise.split_with_sizes(self.widths, 1)):
            z = torch.cat([z, self.prior(level, z).at(eps)], 1)
        return z


def log_ratio(found: Descent) -> Tensor:
    """Return log p(z) - log q(z | row) of the drawn latents, (B,) in nats."""
    return (_nll(found.z, found.posterior) - _nll(found.z, found.prior)).sum(1)


class HierarchicalPrior(Prior):
    """Ancestral sampling: standard normal eps (B, Z) to z (B, Z)."""

    def __init__(self, ladder: HierarchicalLatents) -> None:
        super().__init__()
        self.ladder = ladder

    @property
    def noise(self) -> tuple[Port, ...]:
        return (Port("eps", "float32", (sum(self.ladder.widths),), "normal"),)

    def forward(self, eps: Tensor) -> Tensor:
        return self.ladder.draw(eps)


def merged(message: Gaussian, prior: Gaussian) -> Gaussian:
    """Return the normalised product of two Gaussians: precisions add up and weight the means.

    >>> one = Gaussian(torch.ones(1), torch.zeros(1))
    >>> merged(one, Gaussian(torch.zeros(1), torch.zeros(1))).mean
    tensor([0.5000])
    """
    # For variances v of the message and p of the prior, its weight is (1/v) / (1/v + 1/p) = sigmoid(log p - log v).
    ahead = prior.log_var - message.log_var
    mean = prior.mean + torch.sigmoid(ahead) * (message.mean - prior.mean)
    return Gaussian(mean, message.log_var - F.softplus(-ahead))


def _nll(z: Tensor, gaussian: Gaussian) -> Tensor:
    return gaussian_nll(z - gaussian.mean, 0.5 * gaussian.log_var)


def _concatenated(levels: Sequence[Gaussian]) -> Gaussian:
    means, log_vars = zip(*levels, strict=True)
    return Gaussian(torch.cat(means, 1), torch.cat(log_vars, 1))
