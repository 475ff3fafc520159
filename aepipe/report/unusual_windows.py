"""The most unusual windows of a series job, each drawn with the known window that it is nearest to."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 300, 60
MOST_CHANNELS = 4
"""Channels drawn per window: the ones that its score rests on most."""


@dataclass(frozen=True, kw_only=True)
class WindowChannel:
    """One channel of a window.

    Attributes:
        name: name of the channel.
        read: values of the window in the units of the source, NaN where missing, (T,).
        known: values of the nearest known window, (T,); None without one.
    """

    name: str
    read: NDArray[np.float64]
    known: NDArray[np.float64] | None = None

    @property
    def path(self) -> str:
        """Path of the window in the chart."""
        return self._path(self.read)

    @property
    def known_path(self) -> str:
        """Path of the known window in the same chart; empty without one."""
        return "" if self.known is None else self._path(self.known)

    @property
    def bounds(self) -> tuple[float, float]:
        """Values at the bottom and at the top of the chart; NaN without any value."""
        values = np.concatenate([self.read, *([] if self.known is None else [self.known])])
        finite = values[np.isfinite(values)]
        return (float(finite.min()), float(finite.max())) if len(finite) else (np.nan, np.nan)

    def _path(self, values: NDArray[np.float64]) -> str:
        """Return the line through the values; missing ones interrupt it."""
        low, high = self.bounds
        share = (values - low) / (high - low) if high > low else np.where(np.isfinite(values), 0.5, np.nan)
        x, y = np.linspace(0, WIDTH, len(values)), HEIGHT * (1 - share)
        is_known = np.isfinite(y)
        begins = is_known & ~np.concatenate([[False], is_known[:-1]])
        return " ".join(f"{'M' if begins[at] else 'L'}{x[at]:.1f} {y[at]:.1f}" for at in np.flatnonzero(is_known))


@dataclass(frozen=True, kw_only=True)
class UnusualWindow:
    """Window with the highest score among those that contain a point.

    Attributes:
        entity: name of the entity; empty for a table of one series.
        partition: partition of the point.
        first: time of its first step, or its number.
        last: time of its last step, or its number.
        score: score of the point.
        p_value: p-value of the point.
        flagged: the point is an alarm.
        channels: those that the score rests on first; at most `MOST_CHANNELS` are drawn.
        main: stretch of steps that holds most of the difference, from and to, as shares of the window.
        known: times of the nearest known window; empty where steps have none.
        distance: root mean squared difference from it in standard deviations; None without one.
        is_past: it is of the recent past of the series; False: of the training rows.
    """

    entity: str
    partition: str
    first: str
    last: str
    score: float
    p_value: float
    flagged: bool
    channels: tuple[WindowChannel, ...]
    main: tuple[float, float]
    known: tuple[str, str] = ("", "")
    distance: float | None = None
    is_past: bool = False

    @property
    def drawn(self) -> tuple[WindowChannel, ...]:
        """The channels that are drawn."""
        return self.channels[:MOST_CHANNELS]
