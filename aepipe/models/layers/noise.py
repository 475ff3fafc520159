"""Noise from an explicit generator."""

import torch
from torch import Tensor


def normal_like(like: Tensor, generator: torch.Generator) -> Tensor:
    """Draw standard normal noise with the shape, dtype and device of `like`.

    >>> normal_like(torch.zeros(2, 3), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 3])
    """
    return torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)


def random_signs(like: Tensor, generator: torch.Generator) -> Tensor:
    """Draw -1 or 1 with equal probability, with the shape, dtype and device of `like`.

    >>> set(random_signs(torch.zeros(99), torch.Generator().manual_seed(0)).tolist()) == {-1.0, 1.0}
    True
    """
    bits = torch.randint(0, 2, like.shape, generator=generator, device=like.device)
    return bits.to(like.dtype) * 2 - 1
