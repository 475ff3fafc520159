"""Diagonal Gaussians by mean and log-variance, of any shape."""

from typing import NamedTuple

import torch
from torch import Tensor


class Gaussian(NamedTuple):
    """Independent Gaussians, (..., Z) each."""

    mean: Tensor
    log_var: Tensor

    def at(self, noise: Tensor) -> Tensor:
        """The draws that standard normal noise stands for."""
        return self.mean + noise * torch.exp(0.5 * self.log_var)


def kl_between(own: Gaussian, other: Gaussian) -> Tensor:
    """KL(own || other) of each latent, (..., Z) in nats."""
    ahead = own.log_var - other.log_var
    apart = (own.mean - other.mean).square() * torch.exp(-other.log_var)
    return 0.5 * (apart + ahead.exp() - 1 - ahead)
