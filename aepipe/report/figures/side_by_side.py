"""Figures of two nights or two versions of a model, as inline SVG."""

from collections.abc import Sequence

import numpy as np

from aepipe.report import formatting
from aepipe.report.figures.histogram_bins import bin_edges, fitting_scale, shares
from aepipe.report.figures.panel import DASHES, Axis, Panel, Stroke, align, drawing, even_ticks
from aepipe.report.figures.scores import FULL, by_name, draw_threshold, finite, of_shares, paint_histogram
from aepipe.report.figures.svg import PALETTE
from aepipe.report.page_model import PairedNight, Scores
from aepipe.report.pointer import Mark

_COLOURS = (PALETTE["current"], PALETTE["flag"])


def draw_scores(scores: tuple[Scores, Scores], names: tuple[str, str], *, is_shared: bool) -> str:
    """Draw the histograms of the scores of two sides.

    Args:
        scores: scores of each side, with the scores of its calibration rows.
        names: names of the sides.
        is_shared: both have the scores of one model, and share an axis; else each has its own.
    """
    height = 260 if is_shared else 440
    if is_shared:
        panel, marks = _paint_both(scores, names)
        panels = [panel]
    else:
        panels, marks = [], []
        for found, name in zip(scores, names, strict=True):
            label = f"score of {name} (higher is more anomalous)"
            panel, more = paint_histogram(
                finite(found.current), finite(found.calibration), found.threshold, label=label
            )
            panels.append(panel)
            marks += more
    for at, panel in enumerate(panels):
        panel.fit(0, at * height / len(panels), FULL, (at + 1) * height / len(panels))
    align(panels)
    return drawing(
        panels,
        name="scores",
        label=f"Scores of {names[0]} and {names[1]}",
        width=FULL,
        height=height,
        nearest="x" if is_shared else "xy",
        marks=marks,
    )


def _paint_both(scores: tuple[Scores, Scores], names: tuple[str, str]) -> tuple[Panel, list[Mark]]:
    current = [finite(each.current) for each in scores]
    reference, threshold = finite(scores[0].calibration), scores[0].threshold
    every = np.concatenate([*current, reference])
    scale = fitting_scale(every)
    edges = bin_edges(every if threshold is None else np.append(every, threshold), scale, anchor=threshold)
    heights = [shares(values, edges) for values in current]
    of_reference = shares(reference, edges)
    panel = of_shares([*heights, of_reference], scale, edges, label="score (higher is more anomalous)", columns=2)
    if len(reference):
        label = f"calibration, {formatting.count(len(reference))} rows"
        panel.area(of_reference, edges, colour=PALETTE["reference"], opacity=0.45, label=label)
    for each, values, colour, name, dashes in zip(heights, current, _COLOURS, names, ((), (4, 1)), strict=True):
        label = f"{name}, {formatting.count(len(values))} rows"
        panel.stairs(each, edges, Stroke(colour, 1.6, dashes), label=label)
    draw_threshold(panel, threshold)
    return panel, [
        Mark(
            panel,
            float((low + high) / 2),
            float(max(first, second)),
            f"score {formatting.number(low)} to {formatting.number(high)}: {names[0]} {formatting.percent(first)},"
            f" {names[1]} {formatting.percent(second)}",
        )
        for low, high, first, second in zip(edges[:-1], edges[1:], *heights, strict=True)
    ]


def draw_alarms(lines: Sequence[PairedNight], names: tuple[str, str], alphas: Sequence[float]) -> str:
    """Draw the flagged share of each partition by each side, with the alphas as lines."""
    counts = [[(line.first, line.second)[at] for line in lines] for at in range(2)]
    shares_of = [np.array(each) / np.maximum(1, [line.rows for line in lines]) for each in counts]
    top = max(1.05 * max(0.0, *np.concatenate(shares_of)), *(1.3 * alpha for alpha in alphas), 1e-9)
    y = Axis(0, top, label="flagged", has_grid=True).with_percentages(even_ticks(0, top))
    panel, marks = Panel(by_name([line.partition for line in lines]), y), []
    for at, (name, colour, share) in enumerate(zip(names, _COLOURS, shares_of, strict=True)):
        places = np.arange(len(lines)) + (at - 0.5) * 0.38
        panel.bars(places, share, width=0.36, colour=colour, opacity=0.85, label=name)
        marks += [
            Mark(
                panel,
                float(x),
                float(y),
                f"{formatting.text(line.partition)}, {name}: {formatting.count(n)} of"
                f" {formatting.count(line.rows)} rows ({formatting.percent(y)})",
            )
            for x, y, n, line in zip(places, share, counts[at], lines, strict=True)
        ]
    for alpha in sorted(set(alphas)):
        label = f"alpha, {formatting.percent(alpha, trim=True)}"
        panel.level(alpha, Stroke(PALETTE["ink"], dashes=DASHES), label=label)
    panel.fit(0, 0, FULL, 220)
    label = "Share of flagged rows per partition"
    return drawing([panel], name="alarms", label=label, width=FULL, height=220, nearest="x", marks=marks)
