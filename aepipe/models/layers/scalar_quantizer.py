"""Finite scalar quantisation: each number of a vector is rounded to a few levels, and a code is the combination.

Mentzer, Minnen, Agustsson & Tschannen 2023. There is no codebook to learn, so that no code falls out of use.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

_MARGIN = 1e-3  # the outermost levels are reached before tanh saturates


class ScalarQuantizer(nn.Module):
    """Grid of levels per number of a vector of size D; K is the product of the levels.

    Args:
        levels: Number of levels of each of the D numbers, at least 2 each.
        decay: Decay per step of the moving average of the use of each code.
    """

    reach: Tensor
    offset: Tensor
    middle: Tensor
    bases: Tensor
    sizes: Tensor
    uses: Tensor
    """(K,) moving average of the use of each code, as a multiple of the average use"""

    def __init__(self, levels: Sequence[int], *, decay: float) -> None:
        super().__init__()
        self.decay = decay
        sizes = torch.tensor(levels)
        bases = torch.tensor([math.prod(levels[:at]) for at in range(len(levels))])
        self.register_buffer("reach", (sizes - 1) * (1 + _MARGIN) / 2, persistent=False)
        self.register_buffer("offset", 0.5 * (sizes % 2 == 0).float(), persistent=False)
        self.register_buffer("middle", (sizes // 2).float(), persistent=False)
        self.register_buffer("bases", bases, persistent=False)
        self.register_buffer("sizes", sizes, persistent=False)
        self.register_buffer("uses", torch.ones(math.prod(levels)))

    def bound(self, x: Tensor) -> Tensor:
        """Squash vectors x (..., D) into the range of the levels, within [-1, 1]."""
        shift = torch.atanh(self.offset / self.reach)
        return (torch.tanh(x + shift) * self.reach - self.offset) / self.middle

    def forward(self, x: Tensor) -> Tensor:
        """Return the codes (...) int64 of squashed vectors x (..., D)."""
        places = (torch.round(x * self.middle) + self.middle).long()
        return (places * self.bases).sum(-1)

    def look_up(self, codes: Tensor) -> Tensor:
        """Return the vectors (..., D) of codes (...)."""
        places = torch.div(codes.unsqueeze(-1), self.bases, rounding_mode="floor") % self.sizes
        return (places - self.middle) / self.middle

    @torch.no_grad()
    def follow(self, x: Tensor, codes: Tensor, generator: torch.Generator) -> None:
        """Update the average use of the codes; vectors and noise are not needed."""
        uses = torch.bincount(codes.reshape(-1), minlength=len(self.uses)).to(self.uses.dtype)
        self.uses.lerp_(uses * len(uses) / codes.numel(), 1 - self.decay)

    def start(self, x: Tensor) -> None:
        """Keep the levels, which do not depend on rows."""
