"""Convolutions of stride two, for images of any size; the decoder outputs exactly the height and width of the input.

Weights are stored in channels-last order, which makes a training step 1.5 times faster on a CPU.
"""

from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from pydantic import BaseModel, Field, PositiveInt
from torch import Tensor, nn

from aepipe.frozen import FrozenModel
from aepipe.layout import Image, Layout
from aepipe.models.backbone import AveragedTraining, Backbone, GridNets
from aepipe.models.layers.activation import Activation, make_activation
from aepipe.models.layers.likelihood import Likelihood
from aepipe.models.layers.preprocessing import Row

_RESIDUALS = 2  # blocks in each of the encoder and decoder of a grid
_MOST_PLACES = 64  # largest number of positions of a grid
_CPU_BATCH_ROWS = 64  # a row of 28 x 28 pixels takes as long as in a larger batch: more steps in the same time
_PATIENCE_SHARE = 0.4  # an average of weights ends its plateaus in fewer epochs than the weights themselves
_FEWEST_STAGES = 2
_SMALL_SIDE = 4  # pixels; after two stages, none is added once the shorter side is this small


class Options(FrozenModel):
    """Options of this backbone in [model]."""

    channels: tuple[PositiveInt, ...] | None = Field(
        None,
        min_length=1,
        description="channels of the encoder stages, each of half the size; mirrored in the decoder; default: by "
        "image size",
    )
    activation: Activation = Field(
        "silu", description="activation between layers; smooth functions reconstruct images better than relu"
    )
    upsampling: Literal["transposed", "subpixel"] = Field(
        "transposed",
        description="last doubling of the decoder: a transposed convolution and a convolution of full size, or one "
        "convolution of half the size whose channels become pixels, which scores images in three fifths of the time",
    )


class Stage(NamedTuple):
    """Shape of the feature map of one stage."""

    channels: int
    height: int
    width: int


def _stages(image: Image, options: Options) -> list[Stage]:
    """Return the shapes of the input and of all stages; each stage halves the sides, rounded up."""
    channels = options.channels or _channels(image)
    stages = [Stage(image.channels, image.height, image.width)]
    for count in channels:
        before = stages[-1]
        stages.append(Stage(count, -(-before.height // 2), -(-before.width // 2)))
    return stages


def _channels(image: Image) -> tuple[int, ...]:
    side, count = min(image.height, image.width), 0
    while count < _FEWEST_STAGES or (side > _SMALL_SIDE and count < 6):
        side, count = -(-side // 2), count + 1
    first = 32 if count == _FEWEST_STAGES else 16
    return tuple(min(128, first * 2**stage) for stage in range(count))


class ConvEncoder(nn.Module):
    """Convolutional encoder: Row -> (B, outputs)."""

    def __init__(self, stages: list[Stage], activation: Activation, outputs: int, *, given: int) -> None:
        super().__init__()
        first, *others = _halvings(stages, activation)
        self.first = first
        self.given = nn.Linear(given, stages[1].channels, bias=False) if given else None
        self.stages = nn.Sequential(*others, nn.Flatten())
        last = stages[-1]
        self.head = nn.Linear(last.channels * last.height * last.width, outputs)

    def forward(self, row: Row) -> Tensor:
        maps = self.first(_centred(row, self))
        if self.given is not None:
            maps = maps + self.given(row.given)[:, :, None, None]
        output: Tensor = self.head(self.stages(maps))
        return output


class ConvDecoder(nn.Module):
    """Convolutional decoder: (B, inputs) -> (B, outputs * H * W)."""

    def __init__(self, stages: list[Stage], options: Options, inputs: int, outputs: int) -> None:
        super().__init__()
        self.start = stages[-1]
        self.head = nn.Linear(inputs, self.start.channels * self.start.height * self.start.width)
        self.first = make_activation(options.activation)
        self.stages = nn.Sequential(*_doublings(stages, options, outputs))

    def forward(self, z: Tensor) -> Tensor:
        start = self.first(self.head(z)).reshape(-1, *self.start)
        output: Tensor = self.stages(start).flatten(1)
        return output


class Doubling(nn.Module):
    """Transposed convolution that doubles a feature map and crops it to the size of its mirror stage in the encoder.

    The kernel size, 4, is a multiple of the stride, so that every pixel is written equally often: no checkerboard.
    """

    def __init__(self, channels: int, mirror: Stage) -> None:
        super().__init__()
        self.mirror = mirror
        self.grow = nn.ConvTranspose2d(channels, mirror.channels, 4, 2, 1)

    def forward(self, maps: Tensor) -> Tensor:
        return _cropped(self.grow(maps), self.mirror)


class SubPixel(nn.Module):
    """Convolution whose channels become the pixels of a feature map of twice the size. Shi et al. 2016."""

    def __init__(self, channels: int, outputs: int, mirror: Stage) -> None:
        super().__init__()
        self.mirror = mirror
        self.layers = nn.Sequential(nn.Conv2d(channels, 4 * outputs, 3, 1, 1), nn.PixelShuffle(2))

    def forward(self, maps: Tensor) -> Tensor:
        return _cropped(self.layers(maps), self.mirror)


def _cropped(maps: Tensor, mirror: Stage) -> Tensor:
    """Return the feature map of the height and width of a stage, as it is if it has them."""
    # the gradients of slices are copies, a tenth of a step on 8 x 8 pixels
    if tuple(maps.shape[2:]) == (mirror.height, mirror.width):
        return maps
    return maps[:, :, : mirror.height, : mirror.width]


class Residual(nn.Module):
    """Residual block: a feature map plus the output of a small network, (B, C, H, W)."""

    def __init__(self, channels: int, activation: Activation) -> None:
        super().__init__()
        half = max(1, channels // 2)
        self.layers = nn.Sequential(
            make_activation(activation),
            nn.Conv2d(channels, half, 3, 1, 1),
            make_activation(activation),
            nn.Conv2d(half, channels, 1),
        )

    def forward(self, maps: Tensor) -> Tensor:
        output: Tensor = maps + self.layers(maps)
        return output


class GridEncoder(nn.Module):
    """Convolutional encoder to a grid of vectors: Row -> (B, H * W, vector) of the last stage."""

    def __init__(self, stages: list[Stage], activation: Activation, vector: int) -> None:
        super().__init__()
        layers = _halvings(stages, activation)
        last = stages[-1].channels
        layers += [Residual(last, activation) for _ in range(_RESIDUALS)]
        self.layers = nn.Sequential(*layers, make_activation(activation), nn.Conv2d(last, vector, 1))

    def forward(self, row: Row) -> Tensor:
        output: Tensor = self.layers(_centred(row, self)).flatten(2).transpose(1, 2)
        return output


class GridDecoder(nn.Module):
    """Convolutional decoder of a grid of vectors: (B, H * W, vector) -> (B, outputs * H * W)."""

    def __init__(self, stages: list[Stage], options: Options, vector: int, outputs: int) -> None:
        super().__init__()
        self.start = stages[-1]
        activation = options.activation
        layers: list[nn.Module] = [nn.Conv2d(vector, self.start.channels, 3, 1, 1)]
        layers += [Residual(self.start.channels, activation) for _ in range(_RESIDUALS)]
        self.layers = nn.Sequential(*layers, make_activation(activation), *_doublings(stages, options, outputs))

    def forward(self, vectors: Tensor) -> Tensor:
        maps = vectors.transpose(1, 2).reshape(vectors.shape[0], -1, self.start.height, self.start.width)
        output: Tensor = self.layers(maps).flatten(1)
        return output


def _centred(row: Row, network: nn.Module) -> Tensor:
    """Return pixels in [-1, 1], (B, C, H, W), in training in channels-last order."""
    pixels = 2 * row.dense - 1
    # one channel counts as either order: without a copy, all layers convert what they pass on, a tenth of a step
    return pixels.clone(memory_format=torch.channels_last) if network.training else pixels


def _halvings(stages: list[Stage], activation: Activation) -> list[nn.Module]:
    """Build the layers from the input to the last stage: per stage, a convolution of stride two and an activation."""
    layers: list[nn.Module] = []
    for before, after in pairwise(stages):
        layers += [nn.Conv2d(before.channels, after.channels, 3, 2, 1), make_activation(activation)]
    return layers


def _doublings(stages: list[Stage], options: Options, outputs: int) -> list[nn.Module]:
    """Build the layers from the last stage back to the input size, with `outputs` channels."""
    image, first, *_ = stages
    layers: list[nn.Module] = []
    for smaller, larger in pairwise(reversed(stages[1:])):
        layers += [Doubling(smaller.channels, larger), make_activation(options.activation)]
    if options.upsampling == "subpixel":
        return [*layers, SubPixel(first.channels, outputs, image)]
    last = image._replace(channels=max(8, first.channels // 2))
    layers += [Doubling(first.channels, last), make_activation(options.activation)]
    return [*layers, nn.Conv2d(last.channels, outputs, 3, 1, 1)]


def _encoder(layout: Layout, options: BaseModel, outputs: int) -> nn.Module:
    known = Options.model_validate(options)
    stages = _stages(_image(layout), known)
    return _channels_last(ConvEncoder(stages, known.activation, outputs, given=layout.given))


def _decoder(layout: Layout, options: BaseModel, inputs: int, likelihood: Likelihood) -> nn.Module:
    known, image = Options.model_validate(options), layout.rebuilt or _image(layout)
    outputs = likelihood.width // (image.height * image.width)
    return _channels_last(ConvDecoder(_stages(image, known), known, inputs, outputs))


def _grid(layout: Layout, options: BaseModel, vector: int, likelihood: Likelihood) -> GridNets:
    known, image = Options.model_validate(options), _image(layout)
    known = known.model_copy(update={"channels": known.channels or _grid_channels(image)})
    rebuilt = layout.rebuilt or image
    stages, mirrored = _stages(image, known), _stages(rebuilt, known)
    outputs = likelihood.width // (rebuilt.height * rebuilt.width)
    encoder = GridEncoder(stages, known.activation, vector)
    decoder = GridDecoder(mirrored, known, vector, outputs)
    last = stages[-1]
    return GridNets(_channels_last(encoder), _channels_last(decoder), last.height, last.width)


def _grid_channels(image: Image) -> tuple[int, ...]:
    """Choose channels for enough stages to reach a grid of about 8 x 8: 7x7 from 28x28, 4x4 from 8x8."""
    height, width, count = image.height, image.width, 0
    while count < 1 or (height * width > _MOST_PLACES and count < 6):
        height, width, count = -(-height // 2), -(-width // 2), count + 1
    return tuple(min(128, 32 * 2**stage) for stage in range(count))


def _averaged(layout: Layout) -> AveragedTraining:
    """Return a higher rate for small images, whose steps are mostly fixed costs, and more steps for the others."""
    if len(_channels(_image(layout))) == _FEWEST_STAGES:
        return AveragedTraining(rate=2.0, patience_share=_PATIENCE_SHARE)
    return AveragedTraining(cpu_batch_rows=_CPU_BATCH_ROWS, patience_share=_PATIENCE_SHARE)


def _channels_last(network: nn.Module) -> nn.Module:
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network


def _image(layout: Layout) -> Image:
    assert layout.image is not None, "plan() selects this backbone for images only"
    return layout.image


BACKBONE = Backbone(
    "conv",
    "convolutions of stride two",
    Options,
    ("image",),
    _encoder,
    _decoder,
    lambda _: 3e-3,
    grid=_grid,
    advice="Prefer it for images: closer reconstructions than `mlp` with the same latents. Takes images only.",
    averaged=_averaged,
)
