"""Scores of series along the time, for a report page: one chart per entity with its events, and the zoom script."""

import json
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe.report import formatting
from aepipe.tables.text_values import short_time

WIDTH, HEIGHT = 1_000, 120
MOST_POINTS = 1_000
MOST_MARKS = 300
"""Points per chart that answer to the pointer: twelve charts of 300 are about 300 kB."""

SCRIPT = """\
document.addEventListener("DOMContentLoaded", function () {
  "use strict";
  document.querySelectorAll("svg.series").forEach(function (chart) {
    var full = chart.getAttribute("viewBox").split(" ").map(Number), start = null, factors = { "+": 0.5, "-": 2 };
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
    function reset() { show(full[0], full[0] + full[2]); }
    chart.addEventListener("dblclick", reset);
    chart.addEventListener("keydown", function (event) {
      var view = chart.viewBox.baseVal, factor = factors[event.key];
      var at = chart.shownX === undefined ? view.x + view.width / 2 : chart.shownX;
      if (event.key === "0") { reset(); }
      if (factor) {
        var width = Math.min(view.width * factor, full[2]);
        var low = Math.min(Math.max(at - width / 2, full[0]), full[0] + full[2] - width);
        show(low, low + width);
      }
    });
  });
});
"""
"""Zoom of the charts: drag over a stretch to enlarge it, double-click to see all; or the keys +, - and 0."""


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
        moments: the times as in the source, (T,).
        partitions: partition of each point, (T,).
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
    moments: pa.Array
    partitions: pa.Array
    events: tuple[SeriesEvent, ...] = ()
    count: int = 0

    @property
    def path(self) -> str:
        """Path of the scores in the chart: the highest score of each stretch."""
        chosen = self._highest(MOST_POINTS)
        return " ".join(
            f"{'M' if at == 0 else 'L'}{x:.1f} {y:.1f}"
            for at, (x, y) in enumerate(zip(self._x[chosen], self._y(self.score[chosen]), strict=True))
        )

    @property
    def marks(self) -> str:
        """Points that answer to the pointer, as JSON like that of other figures: the highest of each stretch."""
        chosen = self._highest(MOST_MARKS)
        # as texts: a datetime of Python has no nanoseconds
        written = self.moments.take(chosen).cast(pa.string()).to_pylist()
        moments = [formatting.text(short_time(moment or formatting.NONE)) for moment in written]
        texts = (
            f"{moment}, {formatting.text(partition)}: score {formatting.number(score)}{', alarm' if flagged else ''}"
            for moment, partition, score, flagged in zip(
                moments,
                self.partitions.take(chosen).to_pylist(),
                self.score[chosen].tolist(),
                self.flagged[chosen],
                strict=True,
            )
        )
        x, y = (values.round(1).tolist() for values in (self._x[chosen], self._y(self.score[chosen])))
        return json.dumps([[*mark, ""] for mark in zip(x, y, texts, strict=True)], separators=(",", ":"))

    @property
    def alarms(self) -> list[str]:
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

    def _highest(self, most: int) -> NDArray[np.int64]:
        """Return the points with the highest score of at most `most` stretches."""
        known = np.flatnonzero(np.isfinite(self.score))
        if not len(known):
            return known
        edges = np.unique(np.linspace(0, len(known), min(len(known), most) + 1).astype(np.int64))[:-1]
        return np.array([part[self.score[part].argmax()] for part in np.split(known, edges[1:])])
