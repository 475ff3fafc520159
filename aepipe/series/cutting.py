"""Windows of a grid as rows of a table and as tensors of a model: one column of fixed length for each channel.

A network of many channels reads windows of a single step.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe.encoding import Arrays, Encoding
from aepipe.tables.arrow_arrays import array_of
from aepipe.tables.schema import Column, Schema

STEPS_COLUMN = "window"
"""Column of windows that recurrent networks read step by step."""


def window_schema(channels: Sequence[str], window: int, *, by_step: bool) -> Schema:
    """Return the schema of a table of windows.

    Args:
        channels: names of the channels.
        window: steps of a window.
        by_step: one column of steps for recurrent networks; False: one vector for each channel.
    """
    if not by_step:
        kind = pa.list_(pa.float32(), window)
        arrow = pa.schema([pa.field(name, kind) for name in channels])
        columns = [
            Column(name=name, kind="vector", type=str(kind), why="a channel of the series", shape=(window,))
            for name in channels
        ]
        return Schema.of(columns, arrow)
    step = pa.list_(pa.float32(), len(channels)) if len(channels) > 1 else pa.float32()
    kind = pa.list_(step, window)
    why = f"windows of {', '.join(channels)}"
    column = Column(name=STEPS_COLUMN, kind="series", type=str(kind), why=why)
    return Schema.of([column], pa.schema([pa.field(STEPS_COLUMN, kind)]))


def steps_read(schema: Schema, window: int) -> int:
    """Return how many steps a network reads at once: one, or a window; schema: that of its rows."""
    (first, *_) = schema.columns
    return first.shape[0] if first.kind == "vector" and first.shape is not None else window


def window_table(windows: NDArray[np.float32], schema: Schema) -> pa.Table:
    """Return windows (B, F, window) as rows of a table of `schema`."""
    if schema.columns[0].kind == "vector":
        arrays = [_fixed_lists(windows[:, channel], windows.shape[2]) for channel in range(windows.shape[1])]
    else:
        steps = windows.transpose(0, 2, 1)
        inner = steps if windows.shape[1] > 1 else steps[:, :, 0]
        arrays = [_fixed_lists(inner, windows.shape[2])]
    return pa.Table.from_arrays(arrays, schema=schema.arrow)


def window_tensors(windows: NDArray[np.float32], encoding: Encoding) -> Arrays:
    """Return windows (B, F, window) without missing values as tensors of a model, as `encoding.encode` does.

    Encoding them through Arrow takes six times as long.
    """
    if encoding.series is None and not encoding.layout.categories:
        tensors = {"num": windows.reshape(len(windows), -1), "cat": np.zeros((len(windows), 0), np.int32)}
        return {port.name: tensors[port.name] for port in encoding.layout.ports}
    (batch,) = window_table(windows, encoding.schema).combine_chunks().to_batches()
    return encoding.encode(batch).arrays


def _fixed_lists(values: NDArray[np.float32], window: int) -> pa.Array:
    """Return (B, window) or (B, window, F) as lists of fixed length."""
    flat = array_of(np.ascontiguousarray(values).reshape(-1), pa.float32())
    if values.ndim == 3:
        flat = pa.FixedSizeListArray.from_arrays(flat, values.shape[2])
    return pa.FixedSizeListArray.from_arrays(flat, window)
