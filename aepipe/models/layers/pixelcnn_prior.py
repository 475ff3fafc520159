"""Autoregressive prior over grids of codes: each code given the codes before it, row by row.

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

_REACH = 2  # rows and columns that the first layer covers; a reach of 3 doubled the cost
_BLOCKS = 2
_BLOCKS_OF_VECTORS = 1


class Grid(NamedTuple):
    """Height and width of a grid of codes, which are ordered row by row."""

    height: int
    width: int

    @property
    def positions(self) -> int:
        return self.height * self.width


class CausalConv(nn.Module):
    """Masked convolution over the earlier positions of a neighbourhood, and the position itself where `sees_itself`.

    In a grid of one row, the neighbourhood is every earlier position.
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
        """Number of latest positions that `at` needs."""
        return max(self.back)

    def forward(self, maps: Tensor) -> Tensor:
        """Apply the masked convolution to maps (B, inputs, H, W): (B, outputs, H, W)."""
        padded = F.pad(maps, (self.left, self.right, self.up, 0))
        return F.conv2d(padded, self.weight * self.mask, self.bias)

    def at(self, past: Tensor, now: Tensor | None, valid: Tensor) -> Tensor:
        """Compute the output (B, outputs) at one position.

        Args:
            past: Inputs of the latest positions, oldest first, (B, memory, inputs).
            now: Inputs of the position itself, (B, inputs); None where the convolution does not see it.
            valid: 1 for each neighbour inside the grid, 0 for the others, (taps,).
        """
        # Taps are indexed one by one: several at once need a constant tensor, which an exported loop body cannot hold.
        kernel = torch.cat([self.weight[:, :, y, x] for y, x in self.taps], 1)
        seen = torch.stack([past[:, self.memory - back] for back in self.back], 1) * valid.unsqueeze(1)
        output = seen.flatten(1) @ kernel.T + self.bias
        return output if now is None else output + now @ self.weight[:, :, self.up, self.left].T


class Block(nn.Module):
    """Residual block: (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, grid: Grid, channels: int) -> None:
        super().__init__()
        self.look = CausalConv(grid, channels, channels, reach=1, sees_itself=True)
        self.mix = nn.Linear(channels, channels)

    def forward(self, maps: Tensor) -> Tensor:
        looked = F.silu(self.look(F.silu(maps)))
        return maps + F.conv2d(looked, self.mix.weight[:, :, None, None], self.mix.bias)

    def at(self, past: Tensor, now: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the output (B, C) at one position, and the activations (B, C) that later positions need."""
        kept = F.silu(now)
        return now + self.mix(F.silu(self.look.at(past, kept, valid))), kept


class PixelCnnPrior(Prior):
    """Autoregressive prior, p(codes) = prod_p p(code_p | codes before it): uniform u (B, P) to codes (B, P) int32.

    Sampling is one loop over positions that keeps each layer's latest activations, and costs about as much as one
    pass over the whole grid.

    Args:
        grid: Height and width of the grid of P codes.
        size: K, the number of codes.
        channels: Width of the layers.
    """

    def __init__(self, grid: Grid, size: int, *, channels: int) -> None:
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
        """Compute the logits (B, P, K) of each position, given the codes (B, P) int64 before it."""
        vectors: Tensor = self.embed(codes)
        maps = self.first(self._maps(vectors)) + self._maps(self.place.unsqueeze(0))
        for block in self.blocks:
            maps = block(maps)
        output: Tensor = self.head(F.silu(maps).flatten(2).transpose(1, 2)) + self.usual
        return output

    def nll(self, codes: Tensor) -> Tensor:
        """Compute -log p of each code given the codes before it, (B, P), in nats."""
        return categorical_nll(F.log_softmax(self.logits(codes), 2), codes)

    def forward(self, u: Tensor) -> Tensor:
        return self.draw(u)[0].to(torch.int32)

    def draw(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Draw codes (B, P) int64 by inverse transform sampling at u (B, P), and return their logits (B, P, K) too."""
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
            now, activations = block.at(past, now, of_block)
            kept.append(activations)
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
        """Reshape vectors (B, P, C) to maps (B, C, H, W)."""
        return vectors.transpose(1, 2).reshape(vectors.shape[0], -1, *self.grid)
