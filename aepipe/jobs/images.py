"""Rows as images: those that they hold, or lines where they are windows of a time series."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe.encoding import Encoding
from aepipe.layout import Layout
from aepipe.report.windows import line_pictures


def drawn_images(encoding: Encoding, rows: pa.Table) -> NDArray[np.uint8]:
    """The images of rows, (B, C, H, W): the targets where there are any, since those are what is rebuilt and drawn."""
    if encoding.series is not None:
        numbers = encoding.series.series.numbers
        low, high = (np.array([getattr(number, end) or 0.0 for number in numbers]) for end in ("low", "high"))
        return line_pictures(encoding.series.encode(rows[encoding.series.name].combine_chunks()).steps, low, high)
    codec = encoding.target or encoding.image
    assert codec is not None
    return np.asarray(codec.encode(rows[codec.name].combine_chunks()).image)


def top_of(layout: Layout) -> int:
    """The greatest value of a picture's pixels."""
    return 255 if layout.rebuilt is None else layout.rebuilt.top
