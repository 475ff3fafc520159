"""Features of images by one fixed network for all models, so that distances between sets are comparable."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_SEED = 20_170_626  # of the weights: part of the measure, never to be changed
_WIDTHS = (32, 64, 64)
_KERNEL = 3
_LARGEST_SIDE = 32
_BLOCK = 256


def image_features(images: NDArray[np.uint8], top: int = 255) -> NDArray[np.float64]:
    """Compute the features of images, (B, 160): means of the maps of three layers of random convolutions.

    Each layer is a 3 x 3 convolution with normal weights, ReLU and, down to 2 x 2, means of 2 x 2 blocks. Random
    weights suffice to rank sets (Naeem et al. 2020, section 5), need no downloaded network and suit images of any kind.
    Images beyond 32 x 32 are downsampled by means of blocks.

    Args:
        images: (B, C, H, W), 0 to `top`.
        top: Greatest pixel value.
    """
    generator, widths = np.random.default_rng(_SEED), (images.shape[1], *_WIDTHS)
    kernels = []
    for inputs, outputs in pairwise(widths):
        gain = np.sqrt(2 / (inputs * _KERNEL**2))  # He et al. 2015: maps keep their scale
        kernels.append((generator.standard_normal((inputs * _KERNEL**2, outputs)) * gain).astype(np.float32))
    blocks = []
    for start in range(0, len(images), _BLOCK):
        pixels = _downsampled(images[start : start + _BLOCK].astype(np.float32) / np.float32(top))
        blocks.append(_means_of_maps(np.moveaxis(pixels, 1, 3) * 2 - 1, kernels))
    return np.concatenate(blocks).astype(np.float64) if blocks else np.zeros((0, sum(_WIDTHS)))


def _means_of_maps(maps: NDArray[np.float32], kernels: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Run the layers on maps (B, H, W, C), zero beyond the border, and return the mean of each map, (B, F)."""
    means = []
    for kernel in kernels:
        padded = np.pad(maps, ((0, 0), (1, 1), (1, 1), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (_KERNEL, _KERNEL), axis=(1, 2))
        maps = np.maximum(windows.reshape(*maps.shape[:3], -1) @ kernel, 0)
        means.append(maps.mean(axis=(1, 2)))
        height, width = (side // 2 for side in maps.shape[1:3])
        if min(height, width) >= 2:
            even = maps[:, : height * 2, : width * 2].reshape(len(maps), height, 2, width, 2, -1)
            maps = even.mean(axis=(2, 4), dtype=np.float32)
    return np.hstack(means)


def _downsampled(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return means of square blocks, so that no side is beyond 32, (B, C, H, W); thinner images stay as they are."""
    factor = -(-max(images.shape[2:]) // _LARGEST_SIDE)
    if factor == 1 or min(images.shape[2:]) < factor:
        return images
    height, width = (side // factor for side in images.shape[2:])
    parts = images[:, :, : height * factor, : width * factor]
    blocks = parts.reshape(*images.shape[:2], height, factor, width, factor)
    return np.asarray(blocks.mean(axis=(3, 5)), np.float32)
