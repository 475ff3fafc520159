"""Residual quantisation: each further codebook quantises what the ones before it left over.

Zeghidour et al. 2021 (SoundStream), section III-C; Lee et al. 2022 for images.
"""

import torch
from torch import Tensor, nn

from aepipe.models.layers.vector_quantizer import VectorQuantizer


class ResidualQuantizer(nn.Module):
    """R codebooks of K vectors each: vectors (B, P, D) to codes (B, P * R), the R codes of a position side by side."""

    def __init__(self, depth: int, size: int, width: int, *, decay: float, reset_below: float) -> None:
        super().__init__()
        self.books = [VectorQuantizer(size, width, decay=decay, reset_below=reset_below) for _ in range(depth)]
        self.levels = nn.ModuleList(self.books)

    @property
    def uses(self) -> Tensor:
        """Return the mean use of each code over the codebooks, (K,)."""
        return torch.stack([book.uses for book in self.books]).mean(0)

    def bound(self, x: Tensor) -> Tensor:
        """Return the vectors unchanged."""
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Return the codes (B, P * R) int64 of vectors x (B, P, D)."""
        rest, codes = x, []
        for book in self.books:
            codes.append(book(rest))
            rest = rest - book.look_up(codes[-1])
        return torch.stack(codes, -1).flatten(-2)

    def look_up(self, codes: Tensor) -> Tensor:
        """Return the vectors (B, P, D) of codes (B, P * R): the sum over the codebooks."""
        by_level = codes.reshape(*codes.shape[:-1], -1, len(self.books)).unbind(-1)
        return torch.stack([book.look_up(each) for book, each in zip(self.books, by_level, strict=True)]).sum(0)

    @torch.no_grad()
    def follow(self, x: Tensor, codes: Tensor, generator: torch.Generator) -> None:
        """Update each codebook by the vectors that reach it."""
        rest = x.detach()
        by_level = codes.reshape(*codes.shape[:-1], -1, len(self.books)).unbind(-1)
        nearest = [book.look_up(each) for book, each in zip(self.books, by_level, strict=True)]
        for book, each, vectors in zip(self.books, by_level, nearest, strict=True):
            book.follow(rest, each, generator)
            rest = rest - vectors

    @torch.no_grad()
    def start(self, x: Tensor) -> None:
        """Initialise each codebook by k-means on what the ones before it left over."""
        rest = x.detach()
        for book in self.books:
            book.start(rest)
            rest = rest - book.look_up(book(rest))
