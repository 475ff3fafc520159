"""Tokens of texts with the greatest losses, as outputs of a scorer."""

import torch
from torch import Tensor, nn

from aepipe.heads.model_outputs import ModelOutputs
from aepipe.layout import Layout, Port

MOST = 3
"""Tokens per row."""


class TokenLosses(nn.Module):
    """The tokens of a row that the model finds least likely: their places (B, k) int32 and losses (B, k) in nats.

    A place is an index into `Layout.categories`.
    """

    places: Tensor

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.numbers = len(layout.numbers)
        places = [at for text in layout.texts for at in range(text.first, text.first + text.length)]
        self.register_buffer("places", torch.tensor(places, dtype=torch.int64), persistent=False)

    @property
    def count(self) -> int:
        """Tokens per row."""
        return min(MOST, len(self.places))

    @property
    def ports(self) -> tuple[Port, ...]:
        """Ports of the outputs."""
        width = (self.count,)
        return Port("token", "int32", width), Port("token_z", "float32", width)

    def forward(self, outputs: ModelOutputs) -> tuple[Tensor, Tensor]:
        losses = outputs.nll.index_select(1, self.places + self.numbers)
        top = torch.topk(losses, self.count, dim=1)
        return self.places[top.indices].to(torch.int32), top.values
