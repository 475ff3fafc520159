"""The images in rows of a model's source, or of what it answers in the source's types."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe.batch.model import TableModel
from aepipe.report.windows import line_pictures


def pictures_of(model: TableModel, rows: pa.Table) -> NDArray[np.uint8]:
    """The images of rows, (B, C, H, W): the targets where there are any, since those are what is rebuilt and drawn.

    Windows of a time series are drawn as lines.
    """
    encoding = model.bundle.encoding
    if encoding.series is not None:
        numbers = encoding.series.series.numbers
        low, high = (np.array([getattr(number, end) or 0.0 for number in numbers]) for end in ("low", "high"))
        return line_pictures(encoding.series.encode(rows[encoding.series.name].combine_chunks()).steps, low, high)
    codec = encoding.target or encoding.image
    assert codec is not None
    return np.asarray(codec.encode(rows[codec.name].combine_chunks()).image)
