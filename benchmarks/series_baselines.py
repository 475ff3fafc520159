"""Simple scores of series, all with one window and learned from the same beginning; a point's score is the mean over
the windows that contain it."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmarks.series_data import LabelledSeries

Floats = NDArray[np.float64]
WINDOW = 100
_COMPONENTS = 3


def random(series: LabelledSeries, seed: int) -> Floats:
    """Score at random."""
    return np.random.default_rng(seed).random(len(series.values))


def max_abs_z(series: LabelledSeries, seed: int) -> Floats:
    """Score by the largest deviation of a channel from its mean, in standard deviations."""
    return np.asarray(np.abs(_scaled(series)).max(axis=1))


def moving_variance(series: LabelledSeries, seed: int) -> Floats:
    """Score by the standard deviation within the window, as a mean over channels."""
    return over_windows(_windows(series).std(axis=1).mean(axis=1), len(series.values))


def prefix_pca(series: LabelledSeries, seed: int) -> Floats:
    """Score by the distance of the window from the principal components of the first windows."""
    windows, learned = _flat(series)
    mean = windows[:learned].mean(axis=0)
    _, _, directions = np.linalg.svd(windows[:learned] - mean, full_matrices=False)
    plane = directions[:_COMPONENTS].T
    residual = (windows - mean) - (windows - mean) @ plane @ plane.T
    return over_windows(np.linalg.norm(residual, axis=1), len(series.values))


def isolation_forest(series: LabelledSeries, seed: int) -> Floats:
    """Score windows by an isolation forest."""
    from sklearn.ensemble import IsolationForest

    windows, learned = _flat(series)
    forest = IsolationForest(random_state=seed).fit(windows[:learned])
    return over_windows(-np.asarray(forest.score_samples(windows), np.float64), len(series.values))


BASELINES: dict[str, Callable[[LabelledSeries, int], Floats]] = {
    "random": random,
    "max abs z": max_abs_z,
    "moving variance": moving_variance,
    "prefix PCA": prefix_pca,
    "isolation forest": isolation_forest,
}


def over_windows(scores: Floats, points: int) -> Floats:
    """Return the mean score of the windows that contain each point, (T,); scores: (T - window + 1,)."""
    window = points - len(scores) + 1
    sums = np.concatenate([[0.0], np.cumsum(scores)])
    first = np.maximum(np.arange(points) - window + 1, 0)
    stop = np.minimum(np.arange(points), len(scores) - 1) + 1
    return np.asarray((sums[stop] - sums[first]) / (stop - first))


def _scaled(series: LabelledSeries) -> Floats:
    spread = series.values[: series.learned].std(axis=0)
    return np.asarray((series.values - series.values[: series.learned].mean(axis=0)) / np.where(spread > 0, spread, 1))


def _windows(series: LabelledSeries) -> Floats:
    """Return all windows, (T - window + 1, window, F)."""
    views = np.lib.stride_tricks.sliding_window_view(_scaled(series), WINDOW, axis=0)
    return np.moveaxis(views, 1, 2)


def _flat(series: LabelledSeries) -> tuple[Floats, int]:
    """Return the windows as rows, and how many lie in the beginning."""
    windows = _windows(series)
    return windows.reshape(len(windows), -1), max(series.learned - WINDOW + 1, 1)
