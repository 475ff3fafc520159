"""A prior over grids of codes, one after another: what a code is likely to be, given those before it.

PixelCNN, van den Oord, Kalchbrenner & Kavukcuoglu 2016; a vector of codes is a grid of one row.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aepipe.layout import Port
from aepipe.models.layers.prior import Prior
from aepipe.models.layers.scan import State, unroll
from aepipe.models.losses import categorical_nll

_REACH = 2  # rows and columns that the first layer looks back; 3 cost as much again
_BLOCKS = 2
_BLOCKS_OF_VECTORS = 1


class Grid(NamedTuple):
    """Where codes lie; they are told row by row."""

    height: int
    width: int

    @property
    def positions(self) -> int:
        return self.height * self.width


class CausalConv(nn.Module):
    """A masked convolution: a position sees those before it in its neighbourhood, and itself only where `sees_itself`.

    In a grid of one row it sees every position before it.
    """

    mask: Tensor
    valid: Tensor

    def __init__(self, grid: Grid, inputs: int, outputs: int, *, reach: int, sees_itself: bool) -> None:
        super().__init__()
        self.sees_itself = sees_itself
        is_row = grid.height == 1
        self.up = 0 if is_row else min(reach, grid.height - 1)
        self.left = max(1, grid.width - 1) if is_row else min(reach, grid.width - 1)
        self.right = 0 if is_row else self.left
        before = [
            (dy, dx) for dy in range(-self.up, 1) for dx in range(-self.left, self.right + 1) if (dy, dx) < (0, 0)
        ]
        self.taps = [((dy + self.up), (dx + self.left)) for dy, dx in before]
        self.back = [-(dy * grid.width + dx) for dy, dx in before]
        mask, valid = torch.zeros(self.up + 1, self.left + self.right + 1), torch.zeros(grid.positions, len(before))
        for y, x in self.taps:
            mask[y, x] = 1
        mask[self.up, self.left] = float(sees_itself)
        for at in range(grid.positions):
            y, x = divmod(at, grid.width)
            valid[at] = torch.tensor([float(y + dy >= 0 and 0 <= x + dx < grid.width) for dy, dx in before])
        self.register_buffer("mask", mask, persistent=False)
        self.register_buffer("valid", valid, persistent=False)
        bound = (inputs * (len(before) + sees_itself)) ** -0.5
        self.weight = nn.Parameter(torch.empty(outputs, inputs, *mask.shape).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound))

    @property
    def memory(self) -> int:
        """How many of the latest positions it looks back on."""
        return max(self.back)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H, W)."""
        padded = F.pad(maps, (self.left, self.right, self.up, 0))
        return F.conv2d(padded, self.weight * self.mask, self.bias)

    def at(self, past: Tensor, now: Tensor | None, valid: Tensor) -> Tensor:
        """The answer (B, outputs) at one position.

        past: (B, memory, inputs) of the latest positions, the last one last. now: (B, inputs) of the position itself.
        valid: (taps,) 1 for neighbours that lie in the grid.
        """
        # One place at a time: an index of several is a constant tensor, which the body of an exported loop cannot hold.
        kernel = torch.cat([self.weight[:, :, y, x] for y, x in self.taps], 1)
        seen = torch.stack([past[:, self.memory - back] for back in self.back], 1) * valid.unsqueeze(1)
        answer = seen.flatten(1) @ kernel.T + self.bias
        return answer if now is None else answer + now @ self.weight[:, :, self.up, self.left].T


class Block(nn.Module):
    """A residual step: (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, grid: Grid, channels: int) -> None:
        super().__init__()
        self.look = CausalConv(grid, channels, channels, reach=1, sees_itself=True)
        self.mix = nn.Linear(channels, channels)

    def forward(self, maps: Tensor) -> Tensor:
        looked = F.silu(self.look(F.silu(maps)))
        return maps + F.conv2d(looked, self.mix.weight[:, :, None, None], self.mix.bias)

    def at(self, past: Tensor, now: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """The answer (B, C) at one position, and what it looks back on (B, C) from later ones."""
        kept = F.silu(now)
        return now + self.mix(F.silu(self.look.at(past, kept, valid))), kept


class PixelCnnPrior(Prior):
    """p(codes) = prod_p p(code_p | codes before it): u (B, P) uniform to codes (B, P) int32.

    A draw is one loop over positions that keeps each layer's latest activations, so that it costs about what one pass
    over the whole grid does.
    """

    def __init__(self, grid: Grid, size: int, *, channels: int) -> None:
        """size: K, how many codes there are. channels: width of its layers."""
        super().__init__()
        self.grid = grid
        self.size = size
        self.embed = nn.Embedding(size, channels)
        self.first = CausalConv(grid, channels, channels, reach=_REACH, sees_itself=False)
        blocks = _BLOCKS_OF_VECTORS if grid.height == 1 else _BLOCKS
        self.blocks = nn.ModuleList(Block(grid, channels) for _ in range(blocks))
        self.place = nn.Parameter(0.1 * torch.randn(grid.positions, channels))
        self.head = nn.Linear(channels, size)
        self.usual = nn.Parameter(torch.zeros(grid.positions, size))

    @property
    def noise(self) -> tuple[Port, ...]:
        return (Port("u", "float32", (self.grid.positions,), "uniform"),)

    def logits(self, codes: Tensor) -> Tensor:
        """Of every position given the codes before it: (B, P) int64 -> (B, P, K)."""
        vectors: Tensor = self.embed(codes)
        maps = self.first(self._maps(vectors)) + self._maps(self.place.unsqueeze(0))
        for block in self.blocks:
            maps = block(maps)
        answer: Tensor = self.head(F.silu(maps).flatten(2).transpose(1, 2)) + self.usual
        return answer

    def nll(self, codes: Tensor) -> Tensor:
        """-log p of each code given those before it, (B, P) in nats."""
        return categorical_nll(F.log_softmax(self.logits(codes), 2), codes)

    def forward(self, u: Tensor) -> Tensor:
        return self.draw(u)[0].to(torch.int32)

    def draw(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Codes (B, P) int64 by the inverse of their distributions at u (B, P), and the logits (B, P, K) on the way."""
        layers = [self.first, *(block.look for block in self._blocks)]
        channels = self.embed.embedding_dim
        empty = tuple(self.place.new_zeros((u.shape[0], layer.memory, channels)) for layer in layers)
        inputs = (u.T, self.place, self.usual, *(layer.valid for layer in layers))
        _, (codes, logits) = unroll(self._step, empty, inputs)
        return codes.T, logits.transpose(0, 1)

    def _step(self, state: State, inputs: tuple[Tensor, ...]) -> tuple[State, tuple[Tensor, ...]]:
        u, place, usual, valid, *valids = inputs
        now = self.first.at(state[0], None, valid) + place
        kept = []
        for block, past, of_block in zip(self._blocks, state[1:], valids, strict=True):
            now, looked_at = block.at(past, now, of_block)
            kept.append(looked_at)
        logits: Tensor = self.head(F.silu(now)) + usual
        below = torch.softmax(logits, 1).cumsum(1)[:, :-1]
        code = (u.unsqueeze(1) >= below).sum(1)
        kept.insert(0, self.embed(code))
        latest = tuple(torch.cat([past[:, 1:], new.unsqueeze(1)], 1) for past, new in zip(state, kept, strict=True))
        return latest, (code, logits)

    @property
    def _blocks(self) -> list[Block]:
        return [block for block in self.blocks if isinstance(block, Block)]

    def _maps(self, vectors: Tensor) -> Tensor:
        """(B, P, C) -> (B, C, H, W)."""
        return vectors.transpose(1, 2).reshape(vectors.shape[0], -1, *self.grid)
