"""Maximum mean discrepancy between latents and a distribution that can be drawn from."""

import torch
from torch import Tensor

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Factors of the kernel's bandwidth, as in the code of Tolstikhin et al. 2018."""


def imq_kernel(x: Tensor, y: Tensor) -> Tensor:
    """Compute the inverse multiquadratic kernel of each pair, (B, C), of latents x (B, Z) and y (C, Z).

    The sum over `SCALES` of s / (s + |x - y|^2), with s = scale * 2 Z: 2 Z is the expected squared distance of two
    draws of N(0, I). Tolstikhin et al. 2018, section 4.
    """
    squares = torch.cdist(x, y).square()
    widths = [2.0 * x.shape[1] * scale for scale in SCALES]
    return torch.stack([width / (width + squares) for width in widths]).sum(0)


def squared_mmd(x: Tensor, y: Tensor) -> Tensor:
    """Estimate the squared MMD of the distributions of x (B, Z) and y (C, Z), without bias: a scalar, possibly below 0.

    Gretton et al. 2012, equation 3. A batch of one row has no pairs: its estimate is 0.
    """
    rows, others = len(x), len(y)
    if rows < 2 or others < 2:
        return (x.sum() + y.sum()) * 0.0
    own = imq_kernel(x, x).sum() - rows * len(SCALES)  # k(x, x) is 1 per scale
    other = imq_kernel(y, y).sum() - others * len(SCALES)
    return own / (rows * (rows - 1)) + other / (others * (others - 1)) - 2 * imq_kernel(x, y).mean()
