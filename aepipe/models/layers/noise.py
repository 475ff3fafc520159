"""Standard normal noise, from a generator alone."""

import torch
from torch import Tensor


def normal_like(like: Tensor, generator: torch.Generator) -> Tensor:
    """Draws of N(0, 1) with the shape, the type and the device of this tensor.

    >>> normal_like(torch.zeros(2, 3), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 3])
    """
    return torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)
