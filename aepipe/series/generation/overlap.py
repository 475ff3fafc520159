"""Series from overlapping windows: each step is the weighted mean of the windows that contain it."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def hop_of(window: int) -> tuple[int, int]:
    """Return the distance between windows of a drawn series, about half a window, and a divisor of it for learning.

    >>> hop_of(100), hop_of(1)
    ((48, 12), (1, 1))
    """
    stride = max(1, window // 8)
    return max(window // 2 // stride, 1) * stride, stride


def overlap_add(windows: Floats, starts: NDArray[np.int64], *, steps: int) -> tuple[Floats, Floats]:
    """Return the weighted mean of the windows at each step, (B, S, F), and the sum of weights, (S,).

    Weights are a squared sine over the window, so that a window enters and leaves without a jump.

    Args:
        windows: (B, K, F, T) windows of B series.
        starts: (K,) first step of each window; parts outside 0 ... steps are left out.
        steps: Steps of the series, S.
    """
    length = windows.shape[3]
    weights = np.sin(np.pi * (np.arange(length) + 0.5) / length) ** 2
    sums, total = np.zeros((len(windows), steps, windows.shape[2])), np.zeros(steps)
    for at in range(length):
        places = starts + at
        inside = (places >= 0) & (places < steps)
        sums[:, places[inside]] += weights[at] * windows[..., at][:, inside]
        total[places[inside]] += weights[at]
    return sums / np.maximum(total, 1e-12)[None, :, None], total
