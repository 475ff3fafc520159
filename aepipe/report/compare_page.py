"""Page that shows two nights, or two versions of a model, side by side: its content as plain values, and its texts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple

import numpy as np
from markupsafe import Markup

from aepipe.metrics.drift import Change
from aepipe.report import formatting, pointer
from aepipe.report.figures.side_by_side import draw_alarms, draw_scores
from aepipe.report.page_model import PairedNight, Scores
from aepipe.report.render import content_policy, environment
from aepipe.report.sections import Bar, expected_flag_range

MOST_DRIFTS = 20
MOST_PARTITIONS = 60

TITLES = {
    "scores": "Scores",
    "alarms": "Alarms",
    "reasons": "First attribution of the flagged rows",
    "drift": "Drift of columns",
    "labels": "Measures against labels",
    "partitions": "Partitions",
}


class Measure(NamedTuple):
    """Measure against labels, with its 95 % interval if there is one."""

    value: float
    interval: tuple[float, float] | None = None

    def is_apart_from(self, other: "Measure") -> bool:
        """Return True if both have an interval, and the intervals do not overlap.

        >>> Measure(0.5, (0.4, 0.6)).is_apart_from(Measure(0.8, (0.7, 0.9)))
        True
        """
        if self.interval is None or other.interval is None:
            return False
        return self.interval[1] < other.interval[0] or other.interval[1] < self.interval[0]


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two nights or versions.

    Attributes:
        name: as it was asked for, such as champion or dt=2026-01-01.
        note: what it is, such as the family and head of a version.
        rows: all rows, also those without a score.
        scores: current scores, with the scores of the calibration rows.
        reasons: number of flagged rows by first attribution.
        measures: measures against labels; empty without labels.
        rows_per_s: rows per second of scoring; None if unknown.
        facts: further figures, as texts by name.
    """

    name: str
    note: str
    model_version: str
    rows: int
    invalid: int
    flagged: int
    alpha: float
    calibration_rows: int
    scores: Scores
    reasons: Mapping[str, int]
    measures: Mapping[str, Measure] = field(default_factory=dict)
    rows_per_s: float | None = None
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def expected(self) -> tuple[int, int]:
        """95 % range of the number of flagged rows if all rows are normal."""
        return expected_flag_range(max(1, self.rows - self.invalid), self.alpha, self.calibration_rows)

    @property
    def verdict(self) -> str:
        """Comparison of the flagged rows with the range that alpha explains."""
        low, high = self.expected
        words = "more than" if self.flagged > high else "fewer than" if self.flagged < low else "within"
        return f"{words} the {formatting.count(low)} to {formatting.count(high)} that alpha explains"

    @property
    def is_alarming(self) -> bool:
        """True if more rows are flagged than alpha explains."""
        return self.flagged > self.expected[1]


class PairedAlarm(NamedTuple):
    """One flagged row: its place or key, and p-value and first attribution on each side; None where it is absent."""

    row: str
    p_values: tuple[float | None, float | None]
    reasons: tuple[str, str]


class AlarmGroup(NamedTuple):
    """Alarms of both sides, or of one: their number, and the rows with the lowest p-values.

    `sides` has the positions of the sides that the rows are known on.
    """

    title: str
    total: int
    rows: Sequence[PairedAlarm]
    sides: tuple[int, ...] = (0, 1)


class PairedDrift(NamedTuple):
    """Change of one column, latent or score of each side against its training data, and between the sides."""

    name: str
    kind: str
    first: Change | None
    second: Change | None
    between: Change | None = None

    @property
    def what(self) -> str:
        """Kind and name; the score has no other name."""
        return self.kind if self.kind == self.name else f"{self.kind} {self.name}"

    @property
    def largest(self) -> float:
        """Distance by which the table is sorted: between the sides, else the larger of the two."""
        if self.between is not None:
            return self.between.distance
        return max(change.distance for change in (self.first, self.second) if change is not None)


@dataclass(frozen=True, kw_only=True)
class ComparePage:
    """Content of the page; a missing section has its reason in `absent`.

    Attributes:
        job: name of the job.
        kind: what is compared.
        written_at: time of the latest commit or version.
        joined: how alarms of the sides were joined, as a clause.
        alarms: alarms of both, and of each alone.
        partitions: alarms per partition of two versions.
        absent: reason per missing section of TITLES.
    """

    job: str
    kind: Literal["nights", "models"]
    written_at: datetime
    sides: tuple[Side, Side]
    notices: Sequence[str] = ()
    joined: str = ""
    alarms: Sequence[AlarmGroup] = ()
    partitions: Sequence[PairedNight] = ()
    drift: Sequence[PairedDrift] = ()
    absent: Mapping[str, str] = field(default_factory=dict)


def render_comparison(page: ComparePage) -> str:
    """Render the page as HTML; equal pages give equal bytes."""
    first, second = page.sides
    names = (formatting.text(first.name, most=40), formatting.text(second.name, most=40))
    has_scores = all(np.isfinite(side.scores.current).any() for side in page.sides)
    absent = dict(page.absent) | ({} if has_scores else {"scores": "One of them has no row with a score."})
    figure = {}
    if "scores" not in absent:
        scores = (first.scores, second.scores)
        figure["scores"] = Markup(draw_scores(scores, names, is_shared=page.kind == "nights"))
    if len(page.partitions) > 1:
        figure["alarms"] = Markup(draw_alarms(page.partitions[-MOST_PARTITIONS:], names, [s.alpha for s in page.sides]))
    style_sheet = str(environment().globals["style_sheet"])
    return (
        environment()
        .get_template("compare.html")
        .render(
            page=page,
            names=names,
            absent=absent,
            titles=TITLES,
            figure=figure,
            lines=compare_figures(page.sides),
            measures=compare_measures(page.sides),
            reasons=pair_reasons(page.sides),
            drift=sorted(page.drift, key=lambda line: -line.largest)[:MOST_DRIFTS],
            partitions=page.partitions[-MOST_PARTITIONS:],
            script=Markup(pointer.SCRIPT),
            policy=content_policy(style_sheet, pointer.SCRIPT),
        )
    )


def compare_figures(sides: tuple[Side, Side]) -> list[tuple[str, str, str]]:
    """Return name and both values, as texts, of the figures of two sides."""
    first, second = (_figures(side) for side in sides)
    return [(name, first.get(name, formatting.NONE), second.get(name, formatting.NONE)) for name in {**first, **second}]


def _figures(side: Side) -> dict[str, str]:
    scored = side.rows - side.invalid
    low, high = side.expected
    found = {
        "model": side.model_version,
        "rows": formatting.count(side.rows),
        "without a score": formatting.count(side.invalid),
        "flagged": formatting.count(side.flagged),
        "share of the scored rows": formatting.percent(side.flagged / scored) if scored else formatting.NONE,
        "alpha": formatting.percent(side.alpha, trim=True),
        "expected if all rows are normal": f"{formatting.count(low)} to {formatting.count(high)}",
        "threshold on the score": formatting.number(side.scores.threshold),
        "rows per second": formatting.number(side.rows_per_s),
    }
    return found | dict(side.facts)


def compare_measures(sides: tuple[Side, Side]) -> list[tuple[str, str, str, bool]]:
    """Return name and both values, as texts, of the measures, and whether their intervals are apart."""
    first, second = (side.measures for side in sides)
    return [
        (name, _measure(a), _measure(b), a is not None and b is not None and a.is_apart_from(b))
        for name in {**first, **second}
        for a, b in [(first.get(name), second.get(name))]
    ]


def _measure(measure: Measure | None) -> str:
    if measure is None:
        return formatting.NONE
    if measure.interval is None:
        return formatting.number(measure.value)
    low, high = measure.interval
    return f"{formatting.number(measure.value)} ({formatting.number(low)} to {formatting.number(high)})"


def pair_reasons(sides: tuple[Side, Side], *, most: int = 12) -> list[tuple[str, Bar, Bar]]:
    """Return the first attributions of the flagged rows, as shares of the flagged rows of each side.

    The most frequent on either side come first.
    """
    shares = [
        {name: count / max(1, sum(side.reasons.values())) for name, count in side.reasons.items()} for side in sides
    ]
    names = sorted({*shares[0], *shares[1]}, key=lambda name: (-max(share.get(name, 0.0) for share in shares), name))
    return [(formatting.text(name), _bar(sides[0], name), _bar(sides[1], name)) for name in names[:most]]


def _bar(side: Side, name: str) -> Bar:
    count = side.reasons.get(name, 0)
    share = count / max(1, sum(side.reasons.values()))
    return Bar(name, f"{formatting.count(count)} ({formatting.percent(share)})", share)
