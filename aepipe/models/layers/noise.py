"""Standard normal noise from an explicit generator."""

import torch
from torch import Tensor


def normal_like(like: Tensor, generator: torch.Generator) -> Tensor:
    """Draw standard normal noise with the shape, dtype and device of `like`.

    >>> normal_like(torch.zeros(2, 3), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 3])
    """
    return torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)
