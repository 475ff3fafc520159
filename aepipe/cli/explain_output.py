"""Terminal output of `aepipe explain`: each row with its reconstruction, top attributions first."""

from collections.abc import Sequence

from aepipe.cli.console import print_table, print_text
from aepipe.jobs.explanation import ColumnLine, Explanation, Heat, PointLine, StepLine
from aepipe.report import formatting

MOST_LINES = 40
MOST_STEPS = 12
_SHADES = " .:-=+*#%@"
_MAX_Z = 10.0  # larger values share the darkest shade


def show(found: Explanation) -> None:
    """Print score, p-value and threshold, then the attributions."""
    if found.score is None:
        print_text(f"{found.row}: no score, {found.invalid_reason} ({found.model_version})")
    else:
        print_text(
            f"{found.row}: score {formatting.number(found.score)}, p-value {formatting.number(found.p_value)}, "
            f"{'flagged' if found.is_anomaly else 'not flagged'}; threshold {formatting.number(found.threshold)} at "
            f"alpha {found.alpha:g} ({found.model_version})"
        )
    if found.cell is not None:
        fits = "flagged: it does not fit the other columns" if found.is_cell_anomaly else "not flagged"
        print_text(f"cell {found.cell}: p-value {formatting.number(found.cell_p_value)}, {fits}")
    if found.heat is not None:
        for line in heat_lines(found.heat):
            print_text(line)
    if found.point is not None:
        for line in point_lines(found.point):
            print_text(line)
    shown = found.columns[:MOST_LINES]
    if found.kind == "table":
        header = ("reason", "column", "read", "expected", "z", "why")
        print_table("", header, [_cells(line) for line in shown])
    elif found.kind == "point":
        rows = [(_rank(line), line.name, line.read, line.expected, _z(line), line.why) for line in shown]
        print_table("", ("reason", "channel", "read", "expected", "z", "why"), rows)
    elif any(line.rank for line in shown):
        what = "region" if found.kind == "image" else "steps"
        print_table("", ("reason", what, "z"), [(_rank(line), line.name, _z(line)) for line in shown if line.rank])
    if len(found.columns) > len(shown) and found.kind == "table":
        print_text(f"and {len(found.columns) - len(shown):,} more columns with smaller attributions")
    if found.point is not None:
        header = ("step", "time", "read", "expected", "nearest known", "share")
        print_table("steps of that window that differ most", header, _main_steps(found.steps))
    elif found.steps:
        print_table(
            "", ("step", "read", "expected"), [(s.step, _values(s.read), _values(s.expected)) for s in found.steps]
        )
    if found.picture is not None:
        print_text(f"wrote {found.picture}")


_TERMS = {"nearest": "distance to the nearest known window", "model": "residual of the model", "deviation": "deviation"}


def point_lines(point: PointLine) -> list[str]:
    """Describe the windows that contain a point, the highest one, and the nearest known one."""
    scores = [window.score for window in point.windows]
    highest = point.windows[point.highest]
    count = "1 window" if len(scores) == 1 else f"{len(scores):,} windows"
    low, high = formatting.number(min(scores)), formatting.number(max(scores))
    found = [f"in {count} with scores of {low} to {high}; the highest: {highest.first} to {highest.last}"]
    if point.terms:
        terms = " + ".join(f"{formatting.number(value)} {_TERMS[name]}" for name, value in point.terms.items())
        found.append(f"its score: {terms}")
    if point.known is not None:
        where = "the recent past of the series" if point.known.is_past else "the training rows"
        span = f": {point.known.first} to {point.known.last}" if point.known.first else ""
        distance = formatting.number(point.known.distance)
        found.append(f"nearest known window, in {where}, at a distance of {distance} standard deviations{span}")
    return found


def _main_steps(steps: Sequence[StepLine]) -> list[tuple[object, ...]]:
    """Return the cells of the steps with the greatest shares of the difference, in the order of time."""
    chosen = sorted(sorted(steps, key=lambda step: -(step.share or 0.0))[:MOST_STEPS], key=lambda step: step.step)
    return [
        (step.step, step.time, _values(step.read), _values(step.expected), _values(step.known), f"{step.share:.1%}")
        for step in chosen
    ]


def heat_lines(heat: Heat) -> list[str]:
    """Draw the heat map as text, two characters per region, darker for larger z (up to 10)."""
    return [
        "".join(2 * _SHADES[min(len(_SHADES) - 1, int(max(0.0, z) / _MAX_Z * len(_SHADES)))] for z in line)
        for line in heat.z
    ]


def _cells(line: ColumnLine) -> tuple[object, ...]:
    """Return the cells of a column; omit a reconstruction that equals the value."""
    expected = "" if line.read == line.expected else line.expected
    return _rank(line), line.name, line.read, expected, _z(line), line.why


def _rank(line: ColumnLine) -> object:
    return "" if line.rank is None else line.rank


def _z(line: ColumnLine) -> str:
    return formatting.number(line.z)


def _values(values: Sequence[float | None]) -> str:
    return ", ".join(formatting.number(value) for value in values)
