"""Categorical distributions of many columns over one flat vector of logits.

Columns of similar size share one padded block (B, columns, codes), so that a table of fifty categories takes a few
operations rather than fifty; very large columns have two levels. Nothing here knows numbers or images.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aepipe.layout import FIRST_VALUE, MANY_CODES, RARE, UNSEEN
from aepipe.models.layers.two_level_softmax import IMPOSSIBLE, ClassFactoredSoftmax, inverse_cdf, log_of_shares
from aepipe.models.losses import categorical_nll


class _Block(NamedTuple):
    """Columns of the same padded size; `begin` is the index of their first logit."""

    begin: int
    codes: int
    columns: tuple[int, ...]


class Categoricals(nn.Module):
    """One categorical distribution per column; `width` counts all logits, padding included.

    Args:
        sizes: number of codes of each column.
        absent: reserved codes of each column that no training row has and that are never drawn.
    """

    possible: Tensor
    drawable: Tensor
    guessable: Tensor
    order: Tensor

    def __init__(self, sizes: Sequence[int], absent: Sequence[Collection[int]] | None = None) -> None:
        super().__init__()
        self.sizes = tuple(sizes)
        never = [()] * len(self.sizes) if absent is None else [tuple(codes) for codes in absent]
        self.blocks = tuple(_blocks(self.sizes))
        self.flat_width = sum(block.codes * len(block.columns) for block in self.blocks)
        self.wide_columns = tuple(column for column, size in enumerate(self.sizes) if size > MANY_CODES)
        self.wide = nn.ModuleList(
            ClassFactoredSoftmax(self.sizes[column], never[column]) for column in self.wide_columns
        )
        self.begins = tuple(accumulate((level.width for level in self._levels()), initial=self.flat_width))
        self.width = self.begins[-1]
        self.uniforms = len(self.sizes) + len(self.wide_columns)
        columns = [column for block in self.blocks for column in block.columns] + list(self.wide_columns)
        self.in_order = columns == sorted(columns)
        self.register_buffer("order", torch.tensor(columns, dtype=torch.int64).argsort(), persistent=False)
        for name, mask in zip(
            ("possible", "drawable", "guessable"), _masks(self.sizes, self.blocks, never), strict=True
        ):
            self.register_buffer(name, mask, persistent=False)

    @property
    def wide_widths(self) -> tuple[int, ...]:
        """Number of logits of each column with two levels."""
        return tuple(level.width for level in self._levels())

    def log_probabilities(self, logits: Tensor, *, mask: Tensor | None = None) -> list[Tensor]:
        """Return log p of each block, (B, columns, codes); padding has probability 0."""
        masked = logits[:, : self.flat_width] + (self.possible if mask is None else mask)
        return [self._view(masked, block).log_softmax(-1) for block in self.blocks]

    def nll(self, logits: Tensor, codes: Tensor) -> Tensor:
        """Return -log p of the code of each column, (B, K) in nats; logits (B, width), codes (B, K)."""
        log_p = self.log_probabilities(logits)
        of_blocks = [categorical_nll(p, _of(codes, block)) for p, block in zip(log_p, self.blocks, strict=True)]
        return self._join(of_blocks + self._wide(lambda level, part, at: level.nll(part, codes[:, at]), logits))

    def guess(self, logits: Tensor) -> Tensor:
        """Return the likeliest value of each column, (B, K) int32: never missing or unseen, rare only if alone."""
        masked = logits[:, : self.flat_width] + self.guessable
        of_blocks = [self._view(masked, block).argmax(-1) for block in self.blocks]
        return self._join(of_blocks + self._wide(lambda level, part, at: level.guess(part), logits)).int()

    def draw(self, logits: Tensor, uniform: Tensor) -> Tensor:
        """Draw codes (B, K) int32 by inverse distribution functions of uniform (B, uniforms); never unseen."""
        log_p = self.log_probabilities(logits, mask=self.drawable)
        of_blocks = [inverse_cdf(p.exp(), _of(uniform, block)) for p, block in zip(log_p, self.blocks, strict=True)]
        second = {column: len(self.sizes) + at for at, column in enumerate(self.wide_columns)}
        of_wide = self._wide(lambda level, part, at: level.draw(part, uniform[:, (at, second[at])]), logits)
        return self._join(of_blocks + of_wide).int()

    def one_hot(self, codes: Tensor) -> Tensor:
        """Convert codes (B, K) to indicators (B, width) in the order of the logits."""
        ranges = [torch.arange(block.codes, device=codes.device) for block in self.blocks]
        hot = [_of(codes, block).unsqueeze(2) == steps for block, steps in zip(self.blocks, ranges, strict=True)]
        flat = [each.flatten(1).to(self.possible.dtype) for each in hot]
        return torch.cat([*flat, *(level.one_hot(codes[:, at]) for level, at in self._wide_at())], 1)

    def logits_of(self, shares: Tensor) -> Tensor:
        """Convert predicted shares (B, width) to logits; shares below a hundredth count as a hundredth."""
        flat = log_of_shares(shares[:, : self.flat_width])
        of_wide = (
            level.logits_of(shares[:, begin:end])
            for level, (begin, end) in zip(self._levels(), pairwise(self.begins), strict=True)
        )
        return torch.cat([flat, *of_wide], 1)

    def _wide(self, function: Callable[[ClassFactoredSoftmax, Tensor, int], Tensor], logits: Tensor) -> list[Tensor]:
        """Apply a function to the logits of each column with two levels, (B, 1) each."""
        parts = pairwise(self.begins)
        return [
            function(level, logits[:, begin:end], at).unsqueeze(1)
            for (level, at), (begin, end) in zip(self._wide_at(), parts, strict=True)
        ]

    def _wide_at(self) -> Iterator[tuple[ClassFactoredSoftmax, int]]:
        return zip(self._levels(), self.wide_columns, strict=True)

    def _levels(self) -> Iterator[ClassFactoredSoftmax]:
        for level in self.wide:
            assert isinstance(level, ClassFactoredSoftmax)
            yield level

    def laid_out(self, logits: Sequence[Tensor]) -> Tensor:
        """Pad and join the logits of each column, (B, its size) each, to (B, width); padding is impossible."""
        parts = [
            F.pad(logits[column], (0, block.codes - self.sizes[column]), value=IMPOSSIBLE)
            for block in self.blocks
            for column in block.columns
        ]
        return torch.cat(parts, 1)

    def _view(self, logits: Tensor, block: _Block) -> Tensor:
        columns = len(block.columns)
        part = logits[:, block.begin : block.begin + columns * block.codes]
        return part.reshape(-1, columns, block.codes)

    def _join(self, of_blocks: list[Tensor]) -> Tensor:
        joined = of_blocks[0] if len(of_blocks) == 1 else torch.cat(of_blocks, 1)
        return joined if self.in_order else joined[:, self.order]


def _blocks(sizes: Sequence[int]) -> Iterator[_Block]:
    begin = 0
    for codes in sorted({_padded(size) for size in sizes if size <= MANY_CODES}):
        columns = tuple(column for column, size in enumerate(sizes) if _padded(size) == codes)
        yield _Block(begin, codes, columns)
        begin += codes * len(columns)


def _of(values: Tensor, block: _Block) -> Tensor:
    """Select the columns of a block from values (B, K)."""
    first, last = block.columns[0], block.columns[-1]
    if block.columns == tuple(range(first, last + 1)):  # ONNX slices contiguous columns at once, others one by one
        return values[:, first : last + 1]
    return values.index_select(1, torch.tensor(block.columns, device=values.device))


def _padded(size: int) -> int:
    return -(-size // 4) * 4 if size <= 32 else size


def _masks(
    sizes: Sequence[int], blocks: Sequence[_Block], absent: Sequence[Collection[int]]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return masks of possible, drawable and guessable codes to add to logits: 0, and very negative for the others."""
    masks: list[list[float]] = [[], [], []]
    for block in blocks:
        for column in block.columns:
            size = sizes[column]
            least = FIRST_VALUE if size > FIRST_VALUE else RARE
            allowed = (range(size), set(range(size)) - {UNSEEN, *absent[column]}, range(least, size))
            for mask, codes in zip(masks, allowed, strict=True):
                mask += [0.0 if code in codes else IMPOSSIBLE for code in range(block.codes)]
    possible, drawable, guessable = (torch.tensor(mask) for mask in masks)
    return possible, drawable, guessable
