"""Convolutions of stride two, for images of any size; the decoder answers exactly the height and width of the input.

Weights lie in channels-last order: in training a step takes 1.5 times less on a CPU.
"""

from itertools import pairwise
from typing import NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import Tensor, nn

from aepipe.layout import Image, Layout
from aepipe.nets.activation import Activation, make_activation
from aepipe.nets.frontend import Row
from aepipe.nets.likelihood import Likelihood
from aepipe.nets.trunk import Trunk

_SMALL_SIDE = 4  # pixels; at least two stages, and no more once a side is that small


class Options(BaseModel):
    """Keys of [model] that this trunk takes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: tuple[PositiveInt, ...] | None = Field(
        None,
        min_length=1,
        description="of the encoder's stages, each of half the size, mirrored in the decoder; none: by the image",
    )
    activation: Activation = Field("silu", description="between layers; smooth ones made better pictures than relu")


class Stage(NamedTuple):
    """The shape of one stage's feature map."""

    channels: int
    height: int
    width: int


def _stages(image: Image, options: Options) -> list[Stage]:
    """The input and every stage after it; sides are halved and rounded up, as a padded stride of two does."""
    channels = options.channels or _channels(image)
    stages = [Stage(image.channels, image.height, image.width)]
    for count in channels:
        before = stages[-1]
        stages.append(Stage(count, -(-before.height // 2), -(-before.width // 2)))
    return stages


def _channels(image: Image) -> tuple[int, ...]:
    side, count = min(image.height, image.width), 0
    while count < 2 or (side > _SMALL_SIDE and count < 6):
        side, count = -(-side // 2), count + 1
    first = 32 if count == 2 else 16
    return tuple(min(128, first * 2**stage) for stage in range(count))


class ConvEncoder(nn.Module):
    """Row -> (B, outputs)."""

    def __init__(self, stages: list[Stage], activation: Activation, outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise(stages):
            layers += [nn.Conv2d(before.channels, after.channels, 3, 2, 1), make_activation(activation)]
        self.stages = nn.Sequential(*layers, nn.Flatten())
        last = stages[-1]
        self.head = nn.Linear(last.channels * last.height * last.width, outputs)

    def forward(self, row: Row) -> Tensor:
        answer: Tensor = self.head(self.stages(2 * row.dense - 1))
        return answer


class ConvDecoder(nn.Module):
    """(B, inputs) -> (B, answers * H * W)."""

    def __init__(self, stages: list[Stage], activation: Activation, inputs: int, answers: int) -> None:
        super().__init__()
        self.start = stages[-1]
        self.head = nn.Linear(inputs, self.start.channels * self.start.height * self.start.width)
        self.first = make_activation(activation)
        last = stages[0]._replace(channels=max(8, stages[1].channels // 2))
        layers: list[nn.Module] = []
        for smaller, larger in pairwise((*reversed(stages[1:]), last)):
            layers += [Doubling(smaller.channels, larger), make_activation(activation)]
        self.stages = nn.Sequential(*layers, nn.Conv2d(last.channels, answers, 3, 1, 1))

    def forward(self, z: Tensor) -> Tensor:
        start = self.first(self.head(z)).reshape(-1, *self.start)
        answer: Tensor = self.stages(start).flatten(1)
        return answer


class Doubling(nn.Module):
    """A feature map twice as large, cut to the size of its mirror image in the encoder.

    The kernel of four is a multiple of the stride: every pixel is written equally often, which leaves no checkerboard.
    """

    def __init__(self, channels: int, mirror: Stage) -> None:
        super().__init__()
        self.mirror = mirror
        self.grow = nn.ConvTranspose2d(channels, mirror.channels, 4, 2, 1)

    def forward(self, maps: Tensor) -> Tensor:
        grown: Tensor = self.grow(maps)
        return grown[:, :, : self.mirror.height, : self.mirror.width]


def _rate(layout: Layout) -> float:
    return 3e-3


def _encoder(layout: Layout, options: BaseModel, outputs: int) -> nn.Module:
    known = Options.model_validate(options)
    return _channels_last(ConvEncoder(_stages(_image(layout), known), known.activation, outputs))


def _decoder(layout: Layout, options: BaseModel, inputs: int, likelihood: Likelihood) -> nn.Module:
    known, image = Options.model_validate(options), _image(layout)
    answers = likelihood.width // (image.height * image.width)
    return _channels_last(ConvDecoder(_stages(image, known), known.activation, inputs, answers))


def _channels_last(network: nn.Module) -> nn.Module:
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network


def _image(layout: Layout) -> Image:
    assert layout.image is not None, "plan() gives this trunk to images only"
    return layout.image


TRUNK = Trunk("conv", "convolutions of stride two", Options, ("image",), _encoder, _decoder, _rate)
