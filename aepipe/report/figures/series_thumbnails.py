"""Windows of a time series as small pictures of lines, one colour a channel."""

import numpy as np
from numpy.typing import NDArray

_HEIGHT, _WIDTH = 48, 96
_COLOURS = np.array([(37, 99, 175), (214, 96, 30), (46, 135, 82), (139, 75, 168)], np.uint8)
_PAPER = 250


def line_pictures(steps: NDArray[np.floating], low: NDArray[np.floating], high: NDArray[np.floating]) -> np.ndarray:
    """Pictures (N, 3, 48, 96) uint8 of windows (N, T, F), NaN where there is nothing; time goes to the right.

    low, high: (F,) what stands at the bottom and at the top. Of more than four channels the first four are drawn.
    """
    channels = min(steps.shape[2], len(_COLOURS))
    pictures = np.full((len(steps), 3, _HEIGHT, _WIDTH), _PAPER, np.uint8)
    span = np.where(high > low, high - low, 1.0)
    heights = np.clip((steps - low) / span, 0, 1) * (_HEIGHT - 1)
    at = np.linspace(0, max(1, steps.shape[1] - 1), _WIDTH)
    for picture, window in zip(pictures, heights, strict=True):
        for channel in range(channels):
            _draw(picture, _between(window[:, channel], at), _COLOURS[channel])
    return pictures


def _between(values: NDArray[np.floating], at: NDArray[np.floating]) -> NDArray[np.floating]:
    """The values of steps at places between them; NaN beyond the last step, gaps bridged."""
    known = np.flatnonzero(~np.isnan(values))
    if not len(known):
        return np.full(len(at), np.nan)
    drawn: NDArray[np.floating] = np.interp(at, known, values[known])
    return np.where((at < known[0] - 0.5) | (at > known[-1] + 0.5), np.nan, drawn)


def _draw(picture: NDArray[np.uint8], heights: NDArray[np.floating], colour: NDArray[np.uint8]) -> None:
    """A line through a height in each column, upright strokes where it is steep."""
    before = np.concatenate([heights[:1], heights[:-1]])
    for column in np.flatnonzero(~np.isnan(heights)):
        first = heights[column] if np.isnan(before[column]) else before[column]
        low, high = sorted((round(float(first)), round(float(heights[column]))))
        picture[:, _HEIGHT - 1 - high : _HEIGHT - low, column] = colour[:, None]
