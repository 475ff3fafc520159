"""Windows of a time series as thumbnails of line charts, one colour per channel."""

import numpy as np
from numpy.typing import NDArray

_HEIGHT, _WIDTH = 48, 96
_COLOURS = np.array([(37, 99, 175), (214, 96, 30), (46, 135, 82), (139, 75, 168)], np.uint8)
_PAPER = 250


def draw_series(steps: NDArray[np.floating], low: NDArray[np.floating], high: NDArray[np.floating]) -> np.ndarray:
    """Draw windows as images (N, 3, 48, 96) uint8, with time to the right; at most the first four channels.

    Args:
        steps: (N, T, F), NaN where missing.
        low: value at the bottom of the image, by channel, (F,).
        high: value at the top of the image, by channel, (F,).
    """
    channels = min(steps.shape[2], len(_COLOURS))
    pictures = np.full((len(steps), 3, _HEIGHT, _WIDTH), _PAPER, np.uint8)
    span = np.where(high > low, high - low, 1.0)
    heights = np.clip((steps - low) / span, 0, 1) * (_HEIGHT - 1)
    positions = np.linspace(0, max(1, steps.shape[1] - 1), _WIDTH)
    for picture, window in zip(pictures, heights, strict=True):
        for channel in range(channels):
            _draw(picture, _interpolate(window[:, channel], positions), _COLOURS[channel])
    return pictures


def _interpolate(values: NDArray[np.floating], positions: NDArray[np.floating]) -> NDArray[np.floating]:
    """Interpolate the values of steps at fractional positions; NaN outside the known steps."""
    known = np.flatnonzero(~np.isnan(values))
    if not len(known):
        return np.full(len(positions), np.nan)
    drawn: NDArray[np.floating] = np.interp(positions, known, values[known])
    return np.where((positions < known[0] - 0.5) | (positions > known[-1] + 0.5), np.nan, drawn)


def _draw(picture: NDArray[np.uint8], heights: NDArray[np.floating], colour: NDArray[np.uint8]) -> None:
    """Draw a line with one height per column, with vertical strokes where it is steep."""
    before = np.concatenate([heights[:1], heights[:-1]])
    for column in np.flatnonzero(~np.isnan(heights)):
        first = heights[column] if np.isnan(before[column]) else before[column]
        low, high = sorted((round(float(first)), round(float(heights[column]))))
        picture[:, _HEIGHT - 1 - high : _HEIGHT - low, column] = colour[:, None]
