"""Autoregressive distribution of binary codes: each group depends linearly on the groups before it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aepipe.layout import Port
from aepipe.models.layers.prior import Prior
from aepipe.models.layers.scan import State, unroll


class AutoregressiveBits(Prior):
    """Logistic regression of each group on the groups before it; for bits, a fully visible belief net (Frey 1998).

    Codes are (B, Z) of 0 and 1: groups of `choices` with one 1 each, or bits where choices is 1.
    """

    earlier: Tensor

    def __init__(self, groups: int, choices: int) -> None:
        super().__init__()
        self.groups, self.choices = groups, choices
        width = groups * choices
        self.weight = nn.Parameter(torch.zeros(width, width))
        self.bias = nn.Parameter(torch.zeros(width))
        group = torch.arange(width) // choices
        self.register_buffer("earlier", (group[None, :] < group[:, None]).float(), persistent=False)

    @property
    def noise(self) -> tuple[Port, ...]:
        return (Port("u", "float32", (self.groups,), "uniform"),)

    def nll(self, z: Tensor) -> Tensor:
        """Return -log p of each bit given the bits before it, (B, Z) in nats; for a group, at its 1 and else 0."""
        logits = (F.linear(z, self.weight * self.earlier) + self.bias).to(z.dtype)
        if self.choices == 1:
            return F.softplus(torch.where(z > 0, -logits, logits))
        log_p = grouped(logits, self.choices).log_softmax(2).flatten(1)
        return -log_p * z

    def forward(self, u: Tensor) -> Tensor:
        """Draw codes (B, Z) from uniform noise (B, groups), group by group."""
        width = self.groups * self.choices
        own = F.one_hot(torch.arange(self.groups, device=u.device), self.groups).to(u.dtype)
        weight = (self.weight * self.earlier).reshape(self.groups, self.choices, width)
        inputs = (u.T, weight, self.bias.reshape(self.groups, self.choices), own.repeat_interleave(self.choices, 1))
        _, (drawn,) = unroll(self._draw_one, (torch.zeros_like(u).repeat_interleave(self.choices, 1),), inputs)
        return drawn.transpose(0, 1).flatten(1).to(torch.int8)

    def _draw_one(self, state: State, inputs: tuple[Tensor, ...]) -> tuple[State, tuple[Tensor, ...]]:
        """Draw one group; return the state that includes it, and the group, (B, choices).

        Args:
            state: codes so far, (B, Z).
            inputs: u (B,), weight (choices, Z), bias (choices,), own (Z,).
        """
        (z,), (u, weight, bias, own) = state, inputs
        logits = z @ weight.T + bias
        u = u.unsqueeze(1)
        if self.choices == 1:
            drawn = (u < torch.sigmoid(logits)).to(z.dtype)
        else:
            ends = torch.softmax(logits, 1).cumsum(1)[:, :-1]
            is_past = torch.cat([torch.ones_like(u), (u >= ends).to(z.dtype)], 1)
            drawn = is_past - torch.cat([is_past[:, 1:], torch.zeros_like(u)], 1)
        return (z + drawn.repeat(1, self.groups) * own,), (drawn,)


def grouped(values: Tensor, choices: int) -> Tensor:
    """Reshape (B, groups * choices) to (B, groups, choices)."""
    return values.reshape(-1, values.shape[1] // choices, choices)
