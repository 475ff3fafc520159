"""Slow window of the drift test: the last partitions together, for a lasting change that no single one shows."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aepipe.bundles.drift_reference import ReferenceStream, StreamKey
from aepipe.config.drift import Drift
from aepipe.jobs.results import Result
from aepipe.metrics.drift import Change, change_between, drift_p_value

Counts = Mapping[StreamKey, NDArray[np.int64]]
Window = tuple[NDArray[np.int64], ...]
"""Counts of one stream in each of the partitions of its window, the latest last."""


class WindowDrift(Result):
    """Change of one column, latent or score in the last partitions together; the figures are as in `StreamDrift`."""

    partitions: int
    distance: float
    low: float
    high: float
    shift: float
    tolerance: float
    p_value: float
    alarm: bool


class Comparison(NamedTuple):
    """Change of counts against a reference, the distance that is no drift, and the p-value beyond it."""

    change: Change
    tolerance: float
    p_value: float


def compare_counts(
    stream: ReferenceStream, current: NDArray[np.int64], settings: Drift, *, between: float, enough: float
) -> Comparison:
    """Compare the counts of one or several partitions with the reference.

    Args:
        stream: reference.
        current: counts, (K,), in the bins of the reference.
        settings: `[drift]` of the job.
        between: distance by which training partitions differ.
        enough: 1 / level of the test.
    """
    reference, tolerance = np.asarray(stream.counts, np.int64), max(settings.tolerance, between)
    p_value = drift_p_value(reference, current, tolerance=tolerance, reference_level=1 / enough)
    return Comparison(change_between(reference, current), tolerance, p_value)


def compare_window(
    stream: ReferenceStream, window: Window, settings: Drift, *, enough: float, can_alarm: bool
) -> WindowDrift | None:
    """Compare the partitions of a window together with the reference; None until it is full.

    Single partitions may differ more than the window does: the differences of W partitions partly cancel, as do the
    differences of the P partitions of the reference, so that the bound for one is scaled by sqrt(1 / W + 1 / P). A
    window shares all but one partition with the window before, so that its p-value counts alone.

    Args:
        stream: reference.
        window: counts, the partition itself included.
        settings: `[drift]` of the job.
        enough: 1 / level of the test.
        can_alarm: False in a cool-down.
    """
    if not settings.window or len(window) < settings.window:
        return None
    between = 0.0 if stream.spread is None else stream.spread.pooled_bound(1 / enough, len(window))
    change, tolerance, p_value = compare_counts(
        stream, np.sum(window, axis=0), settings, between=between, enough=enough
    )
    return WindowDrift(
        partitions=len(window),
        distance=change.distance,
        low=change.low,
        high=change.high,
        shift=change.shift,
        tolerance=tolerance,
        p_value=p_value,
        alarm=can_alarm and p_value <= 1 / enough,
    )
