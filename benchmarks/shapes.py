"""A full-factorial set of rendered shapes: every shape at every scale and place, once each, on 28 x 28 pixels."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SIDE = 28
SHAPES, SCALES, PLACES = 3, 4, 8
FACTORS = ("shape", "scale", "x", "y")

_RADII = (3.0, 4.0, 5.0, 6.0)  # pixels
_SAMPLES = 4  # samples per side of a pixel, so that edges are grey


class Shapes(NamedTuple):
    """768 images (B, 1, 28, 28) and the values of their factors (B, 4): shape, scale, x, y."""

    images: NDArray[np.uint8]
    factors: NDArray[np.int64]


def render() -> Shapes:
    """Draw all images, in the order of their factors."""
    sizes = (SHAPES, SCALES, PLACES, PLACES)
    factors = np.stack([axis.ravel() for axis in np.meshgrid(*map(np.arange, sizes), indexing="ij")], axis=1)
    images = np.stack([_image(*row) for row in factors])[:, None]
    return Shapes(images, factors.astype(np.int64))


def _image(shape: int, scale: int, x: int, y: int) -> NDArray[np.uint8]:
    """Draw one shape, (28, 28); the largest one stays inside at the outermost positions."""
    radius = _RADII[scale]
    first, step = _RADII[-1] + 1, (SIDE - 2 * (_RADII[-1] + 1)) / (PLACES - 1)
    grid = (np.arange(SIDE * _SAMPLES) + 0.5) / _SAMPLES
    right, down = np.meshgrid(grid - (first + step * x), grid - (first + step * y))
    inside = _inside(shape, right / radius, down / radius)
    ink = inside.reshape(SIDE, _SAMPLES, SIDE, _SAMPLES).mean(axis=(1, 3))
    levels: NDArray[np.uint8] = np.round(255 * ink).astype(np.uint8)
    return levels


def _inside(shape: int, right: NDArray[np.float64], down: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return a mask of a square, a disc or a triangle of radius 1 around the origin."""
    if shape == 0:
        return np.maximum(np.abs(right), np.abs(down)) <= 0.85
    if shape == 1:
        return np.hypot(right, down) <= 1
    return (down <= 0.8) & (np.abs(right) <= 0.55 * (down + 1))
