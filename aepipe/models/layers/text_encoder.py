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
    """Encoder: Row -> (B, outputs), from a hidden layer and from a linear shortcut of the tokens at their places.

    The hidden layer alone memorises training texts: without the shortcut, fewer tokens of new ones are right.
    """

    def __init__(self, layout: Layout, state: int, outputs: int) -> None:
        super().__init__()
        self.layout = layout
        hidden = 2 * state
        self.rest = InputProjection(rest_of(layout), hidden)
        self.readers = nn.ModuleList(_Reader(text, state, hidden, outputs) for text in layout.texts)
        self.head = nn.Linear(hidden, outputs)

    def forward(self, row: Row) -> Tensor:
        total = self.rest(row._replace(codes=rest_codes(self.layout, row.codes)))
        direct = []
        for text, reader in zip(self.layout.texts, self.readers, strict=True):
            summary, of_text = reader(tokens_of(text, row.codes))
            total = total + summary
            direct.append(of_text)
        output: Tensor = self.head(F.relu(total)) + torch.stack(direct).sum(0)
        return output


class TextRowDecoder(nn.Module):
    """Decoder: (B, inputs) -> (B, width), the parameters of a `TextLikelihood`; a shortcut skips the hidden layer."""

    def __init__(self, inputs: int, state: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(inputs, 2 * state), nn.ReLU(), nn.Linear(2 * state, width))
        self.shortcut = nn.Linear(inputs, width, bias=False)

    def forward(self, z: Tensor) -> Tensor:
        output: Tensor = self.layers(z) + self.shortcut(z)
        return output


class _Reader(nn.Module):
    """Summary of the tokens (B, T) of a text for the hidden layer, (B, width), and for the output, (B, outputs).

    The summary comes from the last state, the mean of all states, and each place: the states have to carry a token over
    all later ones; numbers of the token reach the summary from its own place.
    """

    def __init__(self, text: Text, state: int, width: int, outputs: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(text.size, EMBEDDED) * EMBEDDED**-0.5)
        self.gru = Gru(EMBEDDED, state)
        self.head = nn.Linear(2 * state, width, bias=False)
        self.placed = nn.Linear(EMBEDDED, PLACED, bias=False)
        self.places = nn.Linear(PLACED * text.length, width, bias=False)
        self.shortcut = nn.Linear(PLACED * text.length, outputs, bias=False)
        self.state = state

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        steps = F.embedding(tokens.T, self.table)
        valid = within(tokens).T.unsqueeze(2).to(steps.dtype)
        states = self.gru(steps, steps.new_zeros((steps.shape[1], self.state)))
        placed = (self.placed(steps) * valid).transpose(0, 1).flatten(1)
        of_states = self.head(torch.cat([last_of(states, valid), mean_of(states, valid)], 1))
        return of_states + self.places(placed), self.shortcut(placed)
