"""Levels of Gaussian latents, each drawn given those above it: their priors, and what rows say of them.

Inference goes both ways: a row's own message about every level comes up, priors come down from level to level, and
the two are merged by their precisions. Sonderby et al. 2016 (ladder VAE), equations 13 to 18.
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
    """All levels side by side, the top one first: (B, Z) each."""

    z: Tensor
    """What the levels below were told."""
    posterior: Gaussian
    prior: Gaussian
    kl: Tensor
    """exact, of each latent's posterior to its prior, both given the levels above"""


class HierarchicalLatents(nn.Module):
    """Levels of these widths, the top one first. The top's prior is N(0, I); the others' are learned, and begin there.

    So a ladder begins as a flat Gaussian code, of which it is a generalisation.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.widths = tuple(widths)
        above = [sum(widths[:level]) for level in range(1, len(widths))]
        self.steps = nn.ModuleList(map(_conditional, above, widths[1:]))

    def prior(self, level: int, above: Tensor) -> Gaussian:
        """The prior of a level, (B, its width), given all latents above it."""
        if level == 0:
            nothing = above.new_zeros((above.shape[0], self.widths[0]))
            return Gaussian(nothing, nothing)
        mean, log_var = self.steps[level - 1](above).to(above.dtype).chunk(2, dim=1)
        return Gaussian(mean, log_var.clamp(_LEAST_LOG_VAR, _GREATEST_LOG_VAR))

    def descend(self, messages: Gaussian, noise: Tensor | None = None) -> Descent:
        """From the top down, drawing each level with `noise` (B, Z), or at the posterior's means without."""
        z, posteriors, priors = messages.mean[:, :0], [], []
        told = zip(*(part.split_with_sizes(self.widths, 1) for part in messages), strict=True)
        noises = (None,) * len(self.widths) if noise is None else noise.split_with_sizes(self.widths, 1)
        for level, (message, eps) in enumerate(zip(told, noises, strict=True)):
            prior = self.prior(level, z)
            posterior = merged(Gaussian(*message), prior)
            z = torch.cat([z, _draw(posterior, eps)], 1)
            posteriors.append(posterior)
            priors.append(prior)
        posterior, prior = _beside(posteriors), _beside(priors)
        return Descent(z, posterior, prior, kl_between(posterior, prior))

    def draw(self, noise: Tensor) -> Tensor:
        """Latents of no row, (B, Z), from noise (B, Z): each level from its prior given those drawn above it."""
        z = noise[:, :0]
        for level, eps in enumerate(noise.split_with_sizes(self.widths, 1)):
            z = torch.cat([z, _draw(self.prior(level, z), eps)], 1)
        return z


def log_ratio(found: Descent) -> Tensor:
    """Return log p(z) - log q(z | row) of the drawn latents, (B,) in nats."""
    return (_nll(found.z, found.posterior) - _nll(found.z, found.prior)).sum(1)


class HierarchicalPrior(Prior):
    """Ancestral draws: eps (B, Z) standard normal to z (B, Z)."""

    def __init__(self, ladder: HierarchicalLatents) -> None:
        super().__init__()
        self.ladder = ladder

    @property
    def noise(self) -> tuple[Port, ...]:
        return (Port("eps", "float32", (sum(self.ladder.widths),), "normal"),)

    def forward(self, eps: Tensor) -> Tensor:
        return self.ladder.draw(eps)


def merged(message: Gaussian, prior: Gaussian) -> Gaussian:
    """The product of two Gaussians, normalised: precisions add up, and weigh the means.

    >>> one = Gaussian(torch.ones(1), torch.zeros(1))
    >>> merged(one, Gaussian(torch.zeros(1), torch.zeros(1))).mean
    tensor([0.5000])
    """
    # With v the message's variance and p the prior's, the message weighs (1/v) / (1/v + 1/p) = sigmoid(log p - log v).
    ahead = prior.log_var - message.log_var
    mean = prior.mean + torch.sigmoid(ahead) * (message.mean - prior.mean)
    return Gaussian(mean, message.log_var - F.softplus(-ahead))


def _nll(z: Tensor, gaussian: Gaussian) -> Tensor:
    return gaussian_nll(z - gaussian.mean, 0.5 * gaussian.log_var)


def _beside(levels: Sequence[Gaussian]) -> Gaussian:
    means, log_vars = zip(*levels, strict=True)
    return Gaussian(torch.cat(means, 1), torch.cat(log_vars, 1))


def _draw(gaussian: Gaussian, noise: Tensor | None) -> Tensor:
    """A draw with this noise, the mean without."""
    return gaussian.mean if noise is None else gaussian.at(noise)


def _conditional(above: int, width: int) -> nn.Sequential:
    last = nn.Linear(_HIDDEN, 2 * width)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(above, _HIDDEN), nn.SiLU(), nn.Linear(_HIDDEN, _HIDDEN), nn.SiLU(), last)
