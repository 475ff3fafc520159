"""The networks of an ensemble's members, side by side: a layer of all of them is one batched product."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from aepipe.layout import Layout
from aepipe.models.backbones.mlp import Options, steps, zero_last_layer
from aepipe.models.layers.input_projection import InputProjection
from aepipe.models.layers.pca_init import PcaInit
from aepipe.models.layers.preprocessing import Row


class MemberLinear(nn.Module):
    """(M, B, inputs) -> (M, B, outputs): a matrix and an offset for each member."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, 1, outputs).uniform_(-bound, bound))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs @ self.weight + self.bias


class MemberEncoders(nn.Module):
    """Row -> (M, B, outputs): an `MlpEncoder` for each member. What very many codes are embedded as, they share."""

    def __init__(self, layout: Layout, members: int, widths: Sequence[int], options: Options) -> None:
        """widths: of the hidden layers, then the outputs."""
        super().__init__()
        self.members = members
        self.input_projection = InputProjection(layout, members * widths[0])
        self.layers = nn.Sequential(*steps(widths, options.activation, partial(MemberLinear, members)))
        has_shortcut = options.shortcut and len(widths) > 1
        self.shortcut = InputProjection(layout, members * widths[-1], embeds=False) if has_shortcut else None
        if self.shortcut is not None:
            zero_last_layer(self.layers)

    def forward(self, row: Row) -> Tensor:
        answer: Tensor = self.layers(apart(self.input_projection(row), self.members))
        return answer if self.shortcut is None else answer + apart(self.shortcut(row), self.members)


class MemberDecoders(nn.Module):
    """(M, B, inputs) -> (M, B, outputs): an `MlpDecoder` for each member."""

    def __init__(self, inputs: int, members: int, widths: Sequence[int], options: Options) -> None:
        """widths: of the hidden layers, then the outputs."""
        super().__init__()
        self.input_projection = MemberLinear(members, inputs, widths[0])
        self.layers = nn.Sequential(*steps(widths, options.activation, partial(MemberLinear, members)))
        has_shortcut = options.shortcut and len(widths) > 1
        self.shortcut = MemberLinear(members, inputs, widths[-1]) if has_shortcut else None
        if self.shortcut is not None:
            zero_last_layer(self.layers)

    def forward(self, z: Tensor) -> Tensor:
        answer: Tensor = self.layers(self.input_projection(z))
        return answer if self.shortcut is None else answer + self.shortcut(z)


@torch.no_grad()
def begin(encoder: InputProjection, decoder: MemberLinear, starts: Sequence[PcaInit]) -> None:
    """Linear paths answer as these starts do, one a member."""
    encoder.become(*(torch.cat(part) for part in zip(*(start[:2] for start in starts), strict=True)))
    decoder.weight.copy_(torch.stack([start.slopes.T for start in starts]))
    decoder.bias.copy_(torch.stack([start.middle for start in starts]).unsqueeze(1))


def apart(joint: Tensor, members: int) -> Tensor:
    """(B, M * D), a member after another, to (M, B, D).

    >>> apart(torch.tensor([[1, 2, 3, 4]]), 2).tolist()
    [[[1, 2]], [[3, 4]]]
    """
    return joint.reshape(-1, members, joint.shape[1] // members).transpose(0, 1)


def together(each: Tensor) -> Tensor:
    """(M, B, D) to (B, M * D), a member after another."""
    return each.transpose(0, 1).flatten(1)
