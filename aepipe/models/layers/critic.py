"""Critic: a network that distinguishes latents of two distributions."""

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

_LEAK = 0.2


class Critic(nn.Module):
    """Map latents (B, Z) to logits (B,), the estimated log odds that they come from the first distribution."""

    def __init__(self, latents: int, hidden: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise((latents, *hidden)):
            layers += [nn.Linear(before, after), nn.LeakyReLU(_LEAK)]
        self.layers = nn.Sequential(*layers, nn.Linear(hidden[-1] if hidden else latents, 1))

    def forward(self, z: Tensor) -> Tensor:
        logits: Tensor = self.layers(z).squeeze(1)
        return logits.to(z.dtype)  # autocast ends here


def critic_nll(of_first: Tensor, of_second: Tensor) -> Tensor:
    """Return the cross entropy of logits (B,) of the first distribution and (B',) of the second, a mean over all rows.

    At its minimum, and with B = B', the logit is the log ratio of the two densities.
    """
    return (F.softplus(-of_first).sum() + F.softplus(of_second).sum()) / (len(of_first) + len(of_second))
