"""Vector quantisation with a learned codebook, independent of rows, networks and priors."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aepipe.models.layers.noise import normal_like

_LEAST_USE = 1e-6  # share of an average code's use below which a quotient of two decayed sums is rounding error
_MOVED = 0.01  # noise added to sampled vectors, in standard deviations
_STARTING_VECTORS = 20_000
_STARTING_ROUNDS = 10


class VectorQuantizer(nn.Module):
    """Codebook of K vectors of size D, updated by moving averages of the vectors assigned to them, without gradients.

    Moving averages as in van den Oord, Vinyals & Kavukcuoglu 2017, appendix A.1. Codes that fall out of use are reset
    to a vector of the batch, as in Dhariwal et al. 2020 (Jukebox), section 3.

    Args:
        size: K, the number of codes.
        width: D, the size of a vector.
        decay: Decay of the moving averages per step.
        reset_below: Share of the average use below which a code is reset.
    """

    vectors: Tensor
    """(K, D)"""
    uses: Tensor
    """(K,) moving average of the use of each code, as a multiple of the average use"""
    sums: Tensor
    """(K, D) moving average of the sum of the vectors assigned to each code, in the same unit"""

    def __init__(self, size: int, width: int, *, decay: float, reset_below: float) -> None:
        super().__init__()
        self.decay = decay
        self.reset_below = reset_below
        vectors = torch.randn(size, width)
        self.register_buffer("vectors", vectors)
        self.register_buffer("uses", torch.ones(size))
        self.register_buffer("sums", vectors.clone())

    def bound(self, x: Tensor) -> Tensor:
        """Return the vectors unchanged: a codebook takes vectors of any size."""
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Return the nearest codes (...) int64 of vectors x (..., D)."""
        # |x|^2 is the same for every code.
        distances = self.vectors.square().sum(1) - 2 * (x @ self.vectors.T)
        return distances.argmin(-1)

    def look_up(self, codes: Tensor) -> Tensor:
        """Return the vectors (..., D) of codes (...)."""
        return F.embedding(codes, self.vectors)

    @torch.no_grad()
    def follow(self, x: Tensor, codes: Tensor, generator: torch.Generator) -> None:
        """Update the averages by vectors x (..., D) assigned to codes (...), then reset codes of little use."""
        x, codes = x.detach().reshape(-1, x.shape[-1]).to(self.sums.dtype), codes.reshape(-1)
        self._average(x, codes, self.decay)
        dead = self.uses < self.reset_below
        chosen = _some(x, len(dead), generator)
        self.vectors.copy_(torch.where(dead.unsqueeze(1), chosen, self.vectors))
        self.uses.masked_fill_(dead, 1.0)
        self.sums.copy_(torch.where(dead.unsqueeze(1), chosen, self.sums))

    @torch.no_grad()
    def start(self, x: Tensor) -> None:
        """Initialise the codebook by a few rounds of k-means on vectors x (..., D)."""
        x = x.detach().reshape(-1, x.shape[-1]).to(self.sums.dtype)
        x = x[:: -(-len(x) // _STARTING_VECTORS)]
        generator = torch.Generator(x.device)
        generator.manual_seed(0)
        self.vectors.copy_(_some(x, len(self.vectors), generator))
        for _ in range(_STARTING_ROUNDS):
            self._average(x, self(x), 0.0)
        self.uses.fill_(1.0)
        self.sums.copy_(self.vectors)

    def _average(self, x: Tensor, codes: Tensor, decay: float) -> None:
        each = len(self.uses) / len(x)
        uses = torch.zeros_like(self.uses).index_add_(0, codes, torch.full_like(x[:, 0], each))
        sums = torch.zeros_like(self.sums).index_add_(0, codes, each * x)
        self.uses.lerp_(uses, 1 - decay)
        self.sums.lerp_(sums, 1 - decay)
        means = self.sums / self.uses.clamp(min=_LEAST_USE).unsqueeze(1)
        self.vectors.copy_(torch.where(self.uses.unsqueeze(1) > _LEAST_USE, means, self.vectors))


def _some(x: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Sample `count` of the vectors (N, D), with a little noise."""
    # Without noise, rounding would decide between two codes of equal vectors.
    order = torch.randperm(len(x), generator=generator, device=x.device)
    chosen = x[order[torch.arange(count, device=x.device) % len(x)]]
    return chosen + _MOVED * x.std(0, correction=0) * normal_like(chosen, generator)


def perplexity(shares: Tensor) -> Tensor:
    """Compute the exponential of the entropy of code shares (K,): K where all codes are equally frequent.

    >>> perplexity(torch.tensor([0.5, 0.5, 0.0]))
    tensor(2.)
    """
    return torch.exp(-torch.xlogy(shares, shares).sum())


def shares_of(codes: Tensor, size: int) -> Tensor:
    """Count codes (...) and return the share of each of the `size` codes, (size,)."""
    return torch.bincount(codes.reshape(-1), minlength=size) / max(1, codes.numel())
