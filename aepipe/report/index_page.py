"""Index page of jobs: for each its nights with sparklines of alarms, rows and drift, and links to its reports."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import numpy as np

from aepipe.report import formatting
from aepipe.report.render import environment

MOST_NIGHTS = 366
_WIDTH, _HEIGHT = 240.0, 32.0


class Night(NamedTuple):
    """One scored partition: rows, flagged rows, largest drift distance (NaN if unknown), and link to its report."""

    partition: str
    rows: int
    flagged: int
    drift: float
    link: str


@dataclass(frozen=True, kw_only=True)
class JobLine:
    """One job: its champion, its nights in order, quarantined partitions, or why it cannot be read."""

    name: str
    champion: str = ""
    nights: tuple[Night, ...] = ()
    quarantined: int = 0
    fault: str = ""

    @property
    def charts(self) -> tuple[tuple[str, str, tuple["SparkBar", ...]], ...]:
        """Title, latest value and bars of each sparkline."""
        shown = self.nights[-MOST_NIGHTS:]
        names = [night.partition for night in shown]
        found = [
            ("alarms", formatting.count(shown[-1].flagged), spark_bars(names, [night.flagged for night in shown])),
            ("rows", formatting.count(shown[-1].rows), spark_bars(names, [night.rows for night in shown])),
        ]
        drifts = [night.drift for night in shown]
        if np.isfinite(drifts).any():
            found.append(("drift", formatting.number(drifts[-1]), spark_bars(names, drifts)))
        return tuple(found)

    @property
    def reports(self) -> tuple[Night, ...]:
        """Nights that have a report, latest first."""
        return tuple(night for night in reversed(self.nights) if night.link)


class SparkBar(NamedTuple):
    """Bar of a sparkline: position, height, and the text that the pointer shows."""

    x: str
    y: str
    width: str
    height: str
    text: str


def spark_bars(names: Sequence[str], values: Sequence[float]) -> tuple[SparkBar, ...]:
    """Return one bar per value, scaled to the largest; a value that is not finite has none.

    >>> [(bar.height, bar.text) for bar in spark_bars(["a", "b", "c"], [1, 2, float("nan")])]
    [('16.0', 'a: 1'), ('32.0', 'b: 2')]
    """
    largest = max((value for value in values if np.isfinite(value)), default=0.0) or 1.0
    step = _WIDTH / max(len(values), 1)
    return tuple(
        SparkBar(
            f"{at * step:.1f}",
            f"{_HEIGHT - (height := max(0.5, value / largest * _HEIGHT)):.1f}",
            f"{max(0.5, 0.8 * step):.1f}",
            f"{height:.1f}",
            f"{formatting.text(name)}: {formatting.number(value, trim=True)}",
        )
        for at, (name, value) in enumerate(zip(names, values, strict=True))
        if np.isfinite(value)
    )


def render_index(jobs: Sequence[JobLine], *, written_at: datetime) -> str:
    """Render the page as HTML; equal jobs and times give equal bytes."""
    return environment().get_template("index.html").render(jobs=jobs, written_at=written_at)
