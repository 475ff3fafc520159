"""Encoder of rows with texts: gated recurrent units read each text, and join the other columns in a hidden layer."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aepipe.layout import Layout, Text
from aepipe.models.layers.gru import Gru
from aepipe.models.layers.input_projection import InputProjection
from aepipe.models.layers.preprocessing import Row
from aepipe.models.layers.sequence import last_of, mean_of
from aepipe.models.layers.token_decoder import EMBEDDED, PLACED
from aepipe.models.layers.tokens import rest_codes, rest_of, tokens_of, within


class TextEncoder(nn.Module):
    """Encoder: Row -> (B, outputs)."""

    def __init__(self, layout: Layout, state: int, outputs: int) -> None:
        super().__init__()
        self.layout = layout
        hidden = 2 * state
        self.rest = InputProjection(rest_of(layout), hidden)
        self.readers = nn.ModuleList(_Reader(text, state, hidden) for text in layout.texts)
        self.head = nn.Linear(hidden, outputs)

    def forward(self, row: Row) -> Tensor:
        total = self.rest(row._replace(codes=rest_codes(self.layout, row.codes)))
        for text, reader in zip(self.layout.texts, self.readers, strict=True):
            total = total + reader(tokens_of(text, row.codes))
        output: Tensor = self.head(F.relu(total))
        return output


class TextRowDecoder(nn.Module):
    """Decoder: (B, inputs) -> (B, width), the parameters of a `TextLikelihood`."""

    def __init__(self, inputs: int, state: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(inputs, 2 * state), nn.ReLU(), nn.Linear(2 * state, width))

    def forward(self, z: Tensor) -> Tensor:
        output: Tensor = self.layers(z)
        return output


class _Reader(nn.Module):
    """Summary of the tokens (B, T) of a text, (B, width), from the last state, the mean of all states, and each place.

    The states have to carry a token over all later ones; numbers of the token reach the summary from its own place.
    """

    def __init__(self, text: Text, state: int, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(text.size, EMBEDDED) * EMBEDDED**-0.5)
        self.gru = Gru(EMBEDDED, state)
        self.head = nn.Linear(2 * state, width, bias=False)
        self.placed = nn.Linear(EMBEDDED, PLACED, bias=False)
        self.places = nn.Linear(PLACED * text.length, width, bias=False)
        self.state = state

    def forward(self, tokens: Tensor) -> Tensor:
        steps = F.embedding(tokens.T, self.table)
        valid = within(tokens).T.unsqueeze(2).to(steps.dtype)
        states = self.gru(steps, steps.new_zeros((steps.shape[1], self.state)))
        placed = (self.placed(steps) * valid).transpose(0, 1).flatten(1)
        of_states = self.head(torch.cat([last_of(states, valid), mean_of(states, valid)], 1))
        summary: Tensor = of_states + self.places(placed)
        return summary
