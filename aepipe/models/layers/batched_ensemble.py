"""Networks of all ensemble members together: each layer is one batched product."""

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
    """Map (M, B, inputs) to (M, B, outputs) with one weight matrix and bias per member."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, 1, outputs).uniform_(-bound, bound))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs @ self.weight + self.bias


class MemberEncoders(nn.Module):
    """Map a row to (M, B, outputs) with one `MlpEncoder` per member. They share the embeddings of large columns."""

    def __init__(self, layout: Layout, members: int, widths: Sequence[int], options: Options) -> None:
        """Build the layers; `widths` lists the hidden layers, then the outputs."""
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
    """Map (M, B, inputs) to (M, B, outputs) with one `MlpDecoder` per member."""

    def __init__(self, inputs: int, members: int, widths: Sequence[int], options: Options) -> None:
        """Build the layers; `widths` lists the hidden layers, then the outputs."""
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
def init_from_pca(encoder: InputProjection, decoder: MemberLinear, starts: Sequence[PcaInit]) -> None:
    """Initialise the linear paths of each member from one of `starts`."""
    encoder.become(*(torch.cat(part) for part in zip(*(start[:2] for start in starts), strict=True)))
    decoder.weight.copy_(torch.stack([start.slopes.T for start in starts]))
    decoder.bias.copy_(torch.stack([start.middle for start in starts]).unsqueeze(1))


def apart(joint: Tensor, members: int) -> Tensor:
    """Split (B, M * D), members in sequence, into (M, B, D).

    >>> apart(torch.tensor([[1, 2, 3, 4]]), 2).tolist()
    [[[1, 2]], [[3, 4]]]
    """
    return joint.reshape(-1, members, joint.shape[1] // members).transpose(0, 1)


def together(each: Tensor) -> Tensor:
    """Join (M, B, D) to (B, M * D), members in sequence."""
    return each.transpose(0, 1).flatten(1)
