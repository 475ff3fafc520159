"""Gated recurrent units, for tables with texts, for windows of a time series and for images read row by row.

The encoder summarises a window by its last state and the mean of its states, without the steps beyond the end of the
window. The decoder runs its own recurrence from the latents and does not take its outputs as inputs.
"""

import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn

from aepipe.frozen import FrozenModel
from aepipe.layout import Layout
from aepipe.models.backbone import Backbone
from aepipe.models.layers.gru import Gru
from aepipe.models.layers.likelihood import Likelihood
from aepipe.models.layers.preprocessing import Row
from aepipe.models.layers.sequence import Reading, laid_out, last_of, mean_of, step_width, steps_of
from aepipe.models.layers.text_encoder import TextEncoder, TextRowDecoder
from aepipe.models.layers.token_decoder import STATE


class Options(FrozenModel):
    """Options of this backbone in [model]."""

    state: int | None = Field(
        None,
        ge=1,
        le=4_096,
        description="width of the recurrent state; default: by the width of a step, 64 to 256; 128 for texts",
    )


def state_width(layout: Layout, options: BaseModel) -> int:
    """Return the width of the state: the configured one, or one chosen by the width of a step."""
    known = Options.model_validate(options)
    if layout.texts:
        return known.state or STATE
    return known.state or min(256, max(64, 8 * step_width(layout)))


class RecurrentEncoder(nn.Module):
    """Recurrent encoder: Row -> (B, outputs)."""

    def __init__(self, layout: Layout, state: int, outputs: int) -> None:
        super().__init__()
        self.reading = Reading(layout)
        self.gru = Gru(self.reading.width, state)
        self.start = nn.Linear(layout.given, state, bias=False) if layout.given else None
        self.head = nn.Linear(2 * state, outputs)
        self.state = state

    def forward(self, row: Row) -> Tensor:
        steps, valid = self.reading(row)
        begin = steps.new_zeros((steps.shape[1], self.state)) if self.start is None else self.start(row.given).tanh()
        states = self.gru(steps, begin)
        output: Tensor = self.head(torch.cat([last_of(states, valid), mean_of(states, valid)], 1))
        return output


class RecurrentDecoder(nn.Module):
    """Recurrent decoder: (B, inputs) -> (B, likelihood.width)."""

    def __init__(self, layout: Layout, state: int, inputs: int, likelihood: Likelihood) -> None:
        super().__init__()
        self.layout = layout
        self.steps = steps_of(layout)
        values = self.steps * step_width(layout)
        self.start = nn.Linear(inputs, state)
        self.each = nn.Linear(inputs, state)
        # Position embedding: without it every step has the same input, and the state alone has to count the steps.
        self.place = nn.Parameter(0.1 * torch.randn(self.steps, 1, state))
        self.gru = Gru(state, state)
        self.head = nn.Linear(state, step_width(layout) * (likelihood.width // values))
        self.length = nn.Linear(inputs, likelihood.width % values) if likelihood.width % values else None

    def forward(self, z: Tensor) -> Tensor:
        states = self.gru(torch.tanh(self.each(z) + self.place), torch.tanh(self.start(z)))
        output = laid_out(self.layout, self.head(states))
        return output if self.length is None else torch.cat([output, self.length(z)], 1)


def _encoder(layout: Layout, options: BaseModel, outputs: int) -> nn.Module:
    state = state_width(layout, options)
    return TextEncoder(layout, state, outputs) if layout.texts else RecurrentEncoder(layout, state, outputs)


def _decoder(layout: Layout, options: BaseModel, inputs: int, likelihood: Likelihood) -> nn.Module:
    state = state_width(layout, options)
    if layout.texts:
        return TextRowDecoder(inputs, state, likelihood.width)
    return RecurrentDecoder(layout, state, inputs, likelihood)


BACKBONE = Backbone(
    "recurrent",
    "gated recurrent units, step by step",
    Options,
    ("series", "image", "text"),
    _encoder,
    _decoder,
    lambda _: 2e-3,
    advice="Prefer it for windows and texts whose order counts, of any length in training. Steps are computed one "
    "after another, so that long windows take long.",
)
