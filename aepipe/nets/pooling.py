"""Features of a row to fewer numbers: losses to reasons (source columns, regions of an image), residuals to blocks."""

from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aepipe.layout import Image, Layout

RESIDUAL_WIDTH = 256
"""Residuals enter the heads as they are up to this many features, and as mean magnitudes of blocks beyond."""

_REGIONS_A_SIDE = 7


def reason_names(layout: Layout) -> tuple[str, ...]:
    """What the reasons of a score are called: the source columns, or the regions of a coarse grid on an image.

    >>> reason_names(Layout(columns=(), image=Image(channels=1, height=8, width=4)))[:2]
    ('rows 0-1, columns 0-1', 'rows 0-1, columns 2-3')
    """
    if layout.image is None:
        return layout.columns
    side = _region_side(layout.image)
    rows, columns = (_spans(length, side) for length in (layout.image.height, layout.image.width))
    return tuple(f"rows {row}, columns {column}" for row in rows for column in columns)


def reason_pooling(layout: Layout) -> nn.Module:
    """Losses of features (B, F) to losses of reasons (B, R), sums both."""
    if layout.image is not None:
        return RegionSum(layout.image, _region_side(layout.image))
    of_feature = [number.column for number in layout.numbers]
    of_feature += [category.column for category in layout.categories]
    if of_feature == list(range(len(layout.columns))):
        return nn.Identity()
    return GroupSum(of_feature, len(layout.columns))


def residual_pooling(layout: Layout) -> nn.Module:
    """Residuals of features (B, F) to at most `RESIDUAL_WIDTH` numbers a row.

    Of blocks the mean magnitude: signed residuals cancel, which cost distance heads .5-3 points of AUROC on six tables.
    """
    if layout.features <= RESIDUAL_WIDTH:
        return nn.Identity()
    if layout.image is None:
        return nn.Sequential(Magnitude(), AdjacentMean(ceil(layout.features / RESIDUAL_WIDTH)))
    side = 2
    while _blocks(layout.image, side) > RESIDUAL_WIDTH:
        side += 1
    return nn.Sequential(Magnitude(), BlockMean(layout.image, side))


class GroupSum(nn.Module):
    """Sums of features that belong together: (B, F) -> (B, groups)."""

    member: Tensor

    def __init__(self, of_feature: list[int], groups: int) -> None:
        super().__init__()
        self.register_buffer("member", F.one_hot(torch.tensor(of_feature), groups).float())

    def forward(self, values: Tensor) -> Tensor:
        return values @ self.member


class Magnitude(nn.Module):
    """Absolute values."""

    def forward(self, values: Tensor) -> Tensor:
        return values.abs()


class AdjacentMean(nn.Module):
    """Means of `size` neighbouring features, the last group filled up with zeros: (B, F) -> (B, ceil(F / size))."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, values: Tensor) -> Tensor:
        padded = F.pad(values, (0, -values.shape[1] % self.size))
        return padded.reshape(-1, padded.shape[1] // self.size, self.size).mean(2)


class BlockMean(nn.Module):
    """Means over squares of `side` pixels, each channel by itself; pixels beyond the border count as zero."""

    def __init__(self, image: Image, side: int) -> None:
        super().__init__()
        self.image, self.side = image, side

    def forward(self, values: Tensor) -> Tensor:
        image, side = self.image, self.side
        pixels = values.reshape(-1, image.channels, image.height, image.width)
        padded = F.pad(pixels, (0, -image.width % side, 0, -image.height % side))
        return F.avg_pool2d(padded, side).flatten(1)


class RegionSum(nn.Module):
    """Sums over squares of `side` pixels and all channels: (B, F) -> (B, regions)."""

    def __init__(self, image: Image, side: int) -> None:
        super().__init__()
        self.mean = BlockMean(image, side)
        self.pixels = float(side * side)
        self.channels = image.channels

    def forward(self, values: Tensor) -> Tensor:
        means = self.mean(values)
        sums: Tensor = means.reshape(-1, self.channels, means.shape[1] // self.channels).sum(1) * self.pixels
        return sums


def _region_side(image: Image) -> int:
    return max(2, ceil(max(image.height, image.width) / _REGIONS_A_SIDE))


def _blocks(image: Image, side: int) -> int:
    return image.channels * ceil(image.height / side) * ceil(image.width / side)


def _spans(length: int, side: int) -> list[str]:
    starts = range(0, length, side)
    return [f"{start}-{min(start + side, length) - 1}" for start in starts]
