"""Scales and bins of histograms for light and heavy tails, independent of matplotlib."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

_HEAVY_TAIL = 10.0  # the 99.9 % quantile lies further above the median than this many interquartile ranges


class Scale(NamedTuple):
    """Monotone transformation of an axis, with its inverse."""

    name: str
    forward: Callable[[np.ndarray], np.ndarray]
    inverse: Callable[[np.ndarray], np.ndarray]


LINEAR = Scale("linear", np.asarray, np.asarray)


def fitting_scale(values: np.ndarray) -> Scale:
    """Choose a scale: linear; for heavy tails log (all positive, over a decade), else asinh around the median."""
    low, q25, q50, q75, high = np.quantile(values, [0.0, 0.25, 0.5, 0.75, 0.999])
    spread = q75 - q25
    if spread <= 0 or high - q50 <= _HEAVY_TAIL * spread:
        return LINEAR
    if low > 0 and high > 10 * low:
        # matplotlib evaluates scales at zero; the clamp avoids a warning.
        return Scale("log", lambda v: np.log10(np.maximum(v, low * 1e-6)), lambda t: 10.0 ** np.asarray(t))
    return Scale("asinh", lambda v: np.arcsinh((v - q50) / spread), lambda t: q50 + spread * np.sinh(t))


def bin_edges(values: np.ndarray, scale: Scale = LINEAR, *, anchor: float | None = None, most: int = 60) -> np.ndarray:
    """Return the edges of at least 12 bins, equal on the scale, that cover the values; `anchor` is one of the edges.

    >>> bin_edges(np.array([0.0, 6.0]), anchor=2.25)[[0, -1]]
    array([-0.25,  6.25])
    """
    places = scale.forward(values)
    low, high = float(places.min()), float(places.max())
    if high <= low:
        room = max(0.5, 1e-6 * abs(low))
        low, high = low - room, high + room
    width = (high - low) / int(np.clip(np.sqrt(len(values)), 12, most))
    fixed = low if anchor is None else float(scale.forward(np.array(anchor)))
    start = fixed - width * np.ceil((fixed - low) / width - 1e-9)
    edges: np.ndarray = scale.inverse(start + width * np.arange(int(np.ceil((high - start) / width - 1e-9)) + 1))
    # The round trip through the scale may change the last digit of the smallest and the largest value.
    edges[[0, -1]] = min(edges[0], values.min()), max(edges[-1], values.max())
    return edges


def shares(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the share of the values in each bin.

    >>> shares(np.array([0.5, 0.6, 1.5, 1.6]), np.array([0.0, 1.0, 2.0]))
    array([0.5, 0.5])
    """
    counts: np.ndarray = np.histogram(values, edges)[0]
    return counts / max(1, len(values))


def round_ticks(scale: Scale, low: float, high: float, *, most: int) -> list[float]:
    """Choose ticks from 1, 5 and 2 times powers of ten, in this order, at least 1/most of the axis apart.

    >>> log = Scale("log", np.log10, lambda t: 10.0**t)
    >>> round_ticks(log, 0.5, 200.0, most=4)
    [1.0, 10.0, 100.0]
    """
    powers = 10.0 ** np.arange(-12, 16)
    candidates = np.concatenate([[0.0], powers, -powers, 5 * powers, -5 * powers, 2 * powers, -2 * powers])
    candidates = candidates[(candidates >= low) & (candidates <= high)]
    ends = scale.forward(np.array([low, high]))
    taken: list[float] = []
    for value, place in zip(candidates, scale.forward(candidates), strict=True):
        if all(abs(place - scale.forward(np.array(other))) >= (ends[1] - ends[0]) / most for other in taken):
            taken.append(float(value))
    return sorted(taken) if len(taken) > 2 else scale.inverse(np.linspace(ends[0], ends[1], 5)).tolist()
