"""Rows as images: those that they hold, or lines where they are windows of a time series."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe.encoding import Encoding
from aepipe.layout import Layout
from aepipe.report.figures.series_thumbnails import draw_series


def drawn_images(encoding: Encoding, rows: pa.Table) -> NDArray[np.uint8]:
    """Return the images of rows, (B, C, H, W): target images if the model has them, since it reconstructs those."""
    if encoding.series is not None:
        numbers = encoding.series.series.numbers
        low, high = (np.array([getattr(number, end) or 0.0 for number in numbers]) for end in ("low", "high"))
        return draw_series(encoding.series.encode(rows[encoding.series.name].combine_chunks()).steps, low, high)
    codec = encoding.target or encoding.image
    assert codec is not None
    return np.asarray(codec.encode(rows[codec.name].combine_chunks()).image)


def top_of(layout: Layout) -> int:
    """Return the greatest pixel value of an image."""
    return 255 if layout.rebuilt is None else layout.rebuilt.top


def pooled_pixels(images: NDArray[np.uint8], side: int = 8) -> NDArray[np.float64]:
    """Downsample images (B, C, H, W) to points, (B, C * h * w): means of blocks, h and w at most `side`.

    >>> pooled_pixels(np.arange(16, dtype=np.uint8).reshape(1, 1, 4, 4), side=2)
    array([[ 2.5,  4.5, 10.5, 12.5]])
    """
    values = images.astype(np.float64)
    for axis in (2, 3):
        starts = np.unique(
            np.linspace(0, values.shape[axis], min(side, values.shape[axis]), endpoint=False).astype(int)
        )
        shape = [-1 if at == axis else 1 for at in range(4)]
        sizes = np.diff(starts, append=values.shape[axis]).reshape(shape)
        values = np.add.reduceat(values, starts, axis=axis) / sizes
    return values.reshape(len(values), -1)
