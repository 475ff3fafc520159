"""Scores of series along the time, for a report page: one chart per entity with its events, and the zoom script."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aepipe.report import formatting

WIDTH, HEIGHT = 1_000, 120
MOST_POINTS = 1_000

SCRIPT = """\
document.addEventListener("DOMContentLoaded", function () {
  "use strict";
  document.querySelectorAll("svg.series").forEach(function (chart) {
    var full = chart.getAttribute("viewBox").split(" ").map(Number), start = null;
    function place(event) {
      var box = chart.getBoundingClientRect(), view = chart.viewBox.baseVal;
      return view.x + (event.clientX - box.left) / box.width * view.width;
    }
    function show(low, high) { chart.setAttribute("viewBox", [low, full[1], high - low, full[3]].join(" ")); }
    chart.addEventListener("pointerdown", function (event) { start = place(event); });
    chart.addEventListener("pointerup", function (event) {
      var end = place(event);
      if (start !== null && Math.abs(end - start) > 5) { show(Math.min(start, end), Math.max(start, end)); }
      start = null;
    });
    chart.addEventListener("dblclick", function () { show(full[0], full[0] + full[2]); });
  });
});
"""
"""Zoom of the charts: drag over a stretch to enlarge it, double-click to see all. It uses this page alone."""


class SeriesEvent(NamedTuple):
    """One event, as texts."""

    first: str
    last: str
    peak: str
    score: str
    points: int
    channels: str


@dataclass(frozen=True, kw_only=True)
class SeriesLine:
    """Scores of one entity.

    Attributes:
        entity: name of the entity; empty for a table of one series.
        time: times as numbers, ascending, (T,).
        score: (T,), NaN for points without a score.
        flagged: (T,).
        threshold: lowest score that the calibration flags.
        events: latest events first.
        count: number of all events.
    """

    entity: str
    time: NDArray[np.int64]
    score: NDArray[np.float32]
    flagged: NDArray[np.bool_]
    threshold: float
    events: tuple[SeriesEvent, ...] = ()
    count: int = 0

    @property
    def path(self) -> str:
        """Path of the scores in the chart: the highest score of each stretch."""
        x, y = self._highest
        return " ".join(
            f"{'M' if at == 0 else 'L'}{px:.1f} {py:.1f}" for at, (px, py) in enumerate(zip(x, y, strict=True))
        )

    @property
    def marks(self) -> list[str]:
        """Horizontal positions of the flagged points in the chart."""
        return sorted({f"{x:.1f}" for x in self._x[self.flagged]}, key=float)

    @property
    def level(self) -> str:
        """Vertical position of the threshold in the chart."""
        return f"{self._y(np.array([self.threshold]))[0]:.1f}"

    @property
    def peak(self) -> str:
        """Highest score, as text."""
        return formatting.number(float(np.nanmax(self.score))) if np.isfinite(self.score).any() else ""

    @property
    def _x(self) -> NDArray[np.float64]:
        span = max(int(self.time[-1] - self.time[0]), 1) if len(self.time) else 1
        return (self.time - self.time[:1]) / span * WIDTH

    def _y(self, score: NDArray[np.floating]) -> NDArray[np.float64]:
        finite = self.score[np.isfinite(self.score)]
        top = max(float(finite.max(initial=0.0)), self.threshold, 1e-9)
        low = min(float(finite.min(initial=top)), 0.0)
        heights: NDArray[np.float64] = HEIGHT - np.clip((score - low) / (top - low), 0, 1) * HEIGHT
        return heights

    @property
    def _highest(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        known = np.flatnonzero(np.isfinite(self.score))
        if not len(known):
            return np.zeros(0), np.zeros(0)
        edges = np.unique(np.linspace(0, len(known), min(len(known), MOST_POINTS) + 1).astype(np.int64))[:-1]
        chosen = np.array([part[self.score[part].argmax()] for part in np.split(known, edges[1:])])
        return self._x[chosen], self._y(self.score[chosen])
