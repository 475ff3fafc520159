"""Columns of a table as tokens: cells to vectors, and vectors to the parameters of a `TableLikelihood`.

Gorishniy, Rubachev, Khrulkov & Babenko 2021 (FT-Transformer).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aepipe.layout import MANY_CODES, Layout
from aepipe.models.layers.categorical import Categoricals
from aepipe.models.layers.input_projection import CodeEmbedding
from aepipe.models.layers.preprocessing import Row


class ColumnTokens(nn.Module):
    """One token per number, category and set of conditions of a row, (B, columns, W)."""

    flagged: Tensor
    offsets: Tensor

    def __init__(self, layout: Layout, width: int) -> None:
        super().__init__()
        numbers = len(layout.numbers)
        narrow = [at for at, category in enumerate(layout.categories) if category.size <= MANY_CODES]
        wide = [at for at, category in enumerate(layout.categories) if category.size > MANY_CODES]
        sizes = [layout.categories[at].size for at in narrow]
        self.count = numbers + len(layout.categories) + bool(layout.given)
        self.bias = nn.Parameter(torch.randn(numbers + len(layout.categories), width) * width**-0.5)
        self.weight = nn.Parameter(torch.randn(numbers, width) * width**-0.5) if numbers else None
        flags = [float(number.may_be_missing) for number in layout.numbers]
        self.missing = nn.Parameter(torch.randn(numbers, width) * width**-0.5) if any(flags) else None
        self.register_buffer("flagged", torch.tensor(flags).unsqueeze(1), persistent=False)
        self.table = nn.Parameter(torch.randn(sum(sizes), width) * width**-0.5) if sizes else None
        self.register_buffer("offsets", torch.tensor([0, *sizes]).cumsum(0)[:-1], persistent=False)
        self.narrow, self.wide = tuple(narrow), tuple(wide)
        self.embedded = nn.ModuleList(CodeEmbedding(layout.categories[at].size, width) for at in wide)
        self.given = nn.Linear(layout.given, width) if layout.given else None

    def forward(self, row: Row) -> Tensor:
        parts = []
        if self.weight is not None:
            cells = row.dense.unsqueeze(2) * self.weight
            if self.missing is not None:
                cells = cells + (1 - row.observed).unsqueeze(2) * (self.flagged * self.missing)
            parts.append(cells)
        if self.table is not None:
            codes = row.codes if not self.wide else row.codes[:, list(self.narrow)]
            parts.append(F.embedding(codes + self.offsets, self.table))
        parts += [
            embedded(row.codes[:, at]).unsqueeze(1) for at, embedded in zip(self.wide, self.embedded, strict=True)
        ]
        cells = torch.cat(parts, 1) + self.bias
        return cells if self.given is None else torch.cat([cells, self.given(row.given).unsqueeze(1)], 1)


class ColumnHeads(nn.Module):
    """Tokens of numbers and categories (B, N + K, W) to the parameters of their distributions, (B, width)."""

    def __init__(self, width: int, *, numbers: int, flags: int, categories: Categoricals) -> None:
        super().__init__()
        self.numbers, self.flags = numbers, flags
        self.means = _PerColumn(numbers, width, 1) if numbers else None
        self.missing = _PerColumn(flags, width, 1) if flags else None
        self.blocks = tuple(block.columns for block in categories.blocks)
        self.codes = nn.ModuleList(_PerColumn(len(block.columns), width, block.codes) for block in categories.blocks)
        self.wide_columns = categories.wide_columns
        self.wide = nn.ModuleList(nn.Linear(width, level_width) for level_width in categories.wide_widths)

    def forward(self, tokens: Tensor) -> Tensor:
        of_numbers, of_categories = tokens[:, : self.numbers], tokens[:, self.numbers :]
        parts = [head(of_numbers) for head in (self.means, self.missing) if head is not None]
        parts += [head(of_categories[:, list(at)]) for at, head in zip(self.blocks, self.codes, strict=True)]
        parts += [head(of_categories[:, at]) for at, head in zip(self.wide_columns, self.wide, strict=True)]
        return torch.cat(parts, 1)


class _PerColumn(nn.Module):
    """Linear layer of its own per token: (B, C, W) to (B, C * outputs)."""

    def __init__(self, columns: int, width: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(columns, width, outputs) * width**-0.5)
        self.bias = nn.Parameter(torch.zeros(columns, 1, outputs))

    def forward(self, tokens: Tensor) -> Tensor:
        answers = tokens.transpose(0, 1) @ self.weight + self.bias
        return answers.transpose(0, 1).flatten(1)
