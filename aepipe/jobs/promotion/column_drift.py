"""Change of the input columns of recent rows against the training data of a model."""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe.bundles.drift_reference import channel_streams, input_streams, read_drift_reference
from aepipe.inference.table_model import TableModel
from aepipe.jobs.results import Result
from aepipe.metrics.drift import change_between


class ColumnDrift(Result):
    """Column with the largest change: Kolmogorov distance with its 95 % interval, and shift in standard deviations."""

    column: str
    distance: float
    low: float
    high: float
    shift: float


def column_drifts(model: TableModel, tables: Iterable[pa.Table]) -> tuple[ColumnDrift, ...]:
    """Return the changes of the columns of the tables since the training data, the largest first.

    Returns:
        Empty for a bundle without a reference, for images and windows in list columns, and without rows.
    """
    reference, stage = read_drift_reference(model.bundle), model.bundle.series
    if reference is None or (stage is None and not model.bundle.encoding.layout.has_cells):
        return ()
    streams = {stream.name: stream for stream in reference.streams if stream.kind == "column"}
    found: dict[str, NDArray[np.int64]] = {}
    for table in tables:
        named = (
            input_streams(model.bundle.encoding, model.arrays(table))
            if stage is None
            else channel_streams(stage, model.series_rows(stage, table))
        )
        for name, _, values in named:
            if name in streams and len(values):
                found[name] = found.get(name, 0) + streams[name].count(values)
    changes = {name: change_between(np.asarray(streams[name].counts), now) for name, now in found.items()}
    drifts = [
        ColumnDrift(column=name, distance=change.distance, low=change.low, high=change.high, shift=change.shift)
        for name, change in changes.items()
    ]
    return tuple(sorted(drifts, key=lambda drift: -drift.distance))
