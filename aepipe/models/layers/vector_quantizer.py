"""Vectors to the nearest of a book of learned ones. Nothing here knows rows, networks or priors."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aepipe.models.layers.noise import normal_like

_LEAST_USE = 1e-6  # of an average code: below it a quotient of two decayed sums is rounding
_MOVED = 0.01  # of a standard deviation
_STARTING_VECTORS = 20_000
_STARTING_ROUNDS = 10


class VectorQuantizer(nn.Module):
    """K vectors of D numbers, which follow the vectors that they stand for: no gradient reaches them.

    Moving averages as in van den Oord, Vinyals & Kavukcuoglu 2017, appendix A.1. Codes that fall out of use begin anew
    at a vector of the batch, as in Dhariwal et al. 2020 (Jukebox), section 3.
    """

    vectors: Tensor
    """(K, D)"""
    uses: Tensor
    """(K,) moving average of how often each code is taken, as a multiple of the average code's use"""
    sums: Tensor
    """(K, D) moving average of the vectors that took it, in the same unit"""

    def __init__(self, size: int, width: int, *, decay: float, reset_below: float) -> None:
        """decay: of the averages, a step. reset_below: share of the average use under which a code begins anew."""
        super().__init__()
        self.decay = decay
        self.reset_below = reset_below
        vectors = torch.randn(size, width)
        self.register_buffer("vectors", vectors)
        self.register_buffer("uses", torch.ones(size))
        self.register_buffer("sums", vectors.clone())

    def forward(self, x: Tensor) -> Tensor:
        """The nearest codes (..., ) int64 of vectors x (..., D)."""
        # |x|^2 is the same for every code.
        distances = self.vectors.square().sum(1) - 2 * (x @ self.vectors.T)
        return distances.argmin(-1)

    def look_up(self, codes: Tensor) -> Tensor:
        """The vectors (..., D) of codes (...)."""
        return F.embedding(codes, self.vectors)

    @torch.no_grad()
    def follow(self, x: Tensor, codes: Tensor, generator: torch.Generator) -> None:
        """One step of the averages for vectors x (..., D) that took these codes (...); then resets."""
        x, codes = x.detach().reshape(-1, x.shape[-1]).to(self.sums.dtype), codes.reshape(-1)
        self._average(x, codes, self.decay)
        dead = self.uses < self.reset_below
        chosen = _some(x, len(dead), generator)
        self.vectors.copy_(torch.where(dead.unsqueeze(1), chosen, self.vectors))
        self.uses.masked_fill_(dead, 1.0)
        self.sums.copy_(torch.where(dead.unsqueeze(1), chosen, self.sums))

    @torch.no_grad()
    def start(self, x: Tensor) -> None:
        """Begin at clusters of vectors x (..., D): some of them, and a few rounds of k-means."""
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
    """So many of vectors (N, D), each a little moved: of two codes in one place, rounding would choose."""
    order = torch.randperm(len(x), generator=generator, device=x.device)
    chosen = x[order[torch.arange(count, device=x.device) % len(x)]]
    return chosen + _MOVED * x.std(0, correction=0) * normal_like(chosen, generator)


def perplexity(shares: Tensor) -> Tensor:
    """exp of the entropy of how often each code is taken, shares (K,): K where all are taken alike.

    >>> perplexity(torch.tensor([0.5, 0.5, 0.0]))
    tensor(2.)
    """
    return torch.exp(-torch.xlogy(shares, shares).sum())


def shares_of(codes: Tensor, size: int) -> Tensor:
    """How often each of `size` codes is taken, (size,), of codes (...)."""
    return torch.bincount(codes.reshape(-1), minlength=size) / max(1, codes.numel())
