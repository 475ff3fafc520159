"""Series from overlapping windows."""

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from aepipe.series.generation.overlap import hop_of, overlap_add


@pytest.mark.parametrize("window", [1, 4, 7, 24, 100, 199])
def test_windows_of_a_series_give_it_back(window: int) -> None:
    hop, stride = hop_of(window)
    series = np.random.default_rng(window).normal(size=(5 * window + 3, 2))
    starts = np.arange(0, len(series) - window + 1, hop)
    windows = sliding_window_view(series, window, axis=0)[starts]

    found, weight = overlap_add(windows[None], starts, steps=len(series))

    covered = weight > 0
    assert hop % stride == 0
    assert covered[: starts[-1] + window].all()
    np.testing.assert_allclose(found[0][covered], series[covered], atol=1e-12)


def test_windows_that_differ_join_without_a_jump() -> None:
    """The windows are constant at different levels: the drawn series passes from one to the next step by step."""
    window = 100
    hop, _ = hop_of(window)
    levels = np.random.default_rng(0).normal(size=20)
    starts = hop * np.arange(20) - (window - hop)
    windows = np.repeat(levels[None, :, None, None], window, axis=3)

    (found,), _ = overlap_add(windows, starts, steps=18 * hop)

    largest = np.abs(np.diff(levels)).max()
    assert np.abs(np.diff(found[:, 0])).max() < 0.05 * largest
