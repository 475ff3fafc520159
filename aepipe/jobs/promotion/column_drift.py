"""Change of the input columns of recent rows against the training data of a model."""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe.bundles.drift_reference import input_streams, read_drift_reference
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
        Empty for a bundle without a reference, for images, windows and points of series, and without rows.
    """
    reference = read_drift_reference(model.bundle)
    if reference is None or model.bundle.series is not None or not model.bundle.encoding.layout.has_cells:
        return ()
    streams = {stream.name: stream for stream in reference.streams if stream.kind == "column"}
    found: dict[str, NDArray[np.int64]] = {}
    for table in tables:
        for name, _, values in input_streams(model.bundle.encoding, model.arrays(table)):
            if name in streams and len(values):
                found[name] = found.get(name, 0) + streams[name].count(values)
    changes = {name: change_between(np.asarray(streams[name].counts), now) for name, now in found.items()}
    drifts = [
        ColumnDrift(column=name, distance=change.distance, low=change.low, high=change.high, shift=change.shift)
        for name, change in changes.items()
    ]
    return tuple(sorted(drifts, key=lambda drift: -drift.distance))
