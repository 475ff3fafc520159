"""Diagonal Gaussians of any shape, by mean and log variance."""

from typing import NamedTuple

import torch
from torch import Tensor


class Gaussian(NamedTuple):
    """Independent Gaussians; mean and log variance are (..., Z)."""

    mean: Tensor
    log_var: Tensor

    def at(self, noise: Tensor) -> Tensor:
        """Transform standard normal noise (..., Z) to draws."""
        return self.mean + noise * torch.exp(0.5 * self.log_var)


def kl_between(own: Gaussian, other: Gaussian) -> Tensor:
    """Return KL(own || other) of each latent, (..., Z) in nats."""
    ahead = own.log_var - other.log_var
    apart = (own.mean - other.mean).square() * torch.exp(-other.log_var)
    return 0.5 * (apart + ahead.exp() - 1 - ahead)
