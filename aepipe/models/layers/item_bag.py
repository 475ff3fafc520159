"""First linear layer of items: the rows of a table that a set selects, divided by the root of their number."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aepipe.layout import END
from aepipe.models.layers.scan import State, unroll


class ItemBag(nn.Module):
    """Map codes (B, T) of a set to (B, width), linear in the set's indicator vector of unit length.

    The indicators, as wide as the catalogue, are never materialised. Liang et al. 2018.
    """

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(size, width) * 0.1)

    def forward(self, codes: Tensor) -> Tensor:
        is_item = codes > END
        weight = (is_item.sum(1, keepdim=True).clamp(min=1).to(self.table.dtype)) ** -0.5
        selected = torch.where(is_item, codes, torch.full_like(codes, END))
        if not torch.compiler.is_exporting():
            return weight * F.embedding_bag(selected, self.table, mode="sum", padding_idx=END)
        table = self.table

        def step(total: State, inputs: tuple[Tensor, ...]) -> tuple[State, tuple[Tensor, ...]]:
            chosen = F.embedding(inputs[0], table) * inputs[1].unsqueeze(1)
            return (total[0] + chosen,), (inputs[1].clone(),)

        steps = (selected.T.contiguous(), is_item.T.to(table.dtype).contiguous())
        (total,), _ = unroll(step, (table.new_zeros((codes.shape[0], table.shape[1])),), steps)
        return weight * total
