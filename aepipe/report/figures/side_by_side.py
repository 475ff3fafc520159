"""Figures of two nights or two versions of a model, as inline SVG."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from aepipe.report import formatting
from aepipe.report.figures.axes import legend_above, percentages, thinned
from aepipe.report.figures.histogram_bins import bin_edges, fitting_scale, shares
from aepipe.report.figures.scores import FULL, finish_histogram, finite, paint_histogram, short_names
from aepipe.report.figures.svg import PALETTE, draw
from aepipe.report.page_model import PairedNight, Scores
from aepipe.report.pointer import Mark

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = (PALETTE["current"], PALETTE["flag"])


def draw_scores(scores: tuple[Scores, Scores], names: tuple[str, str], *, is_shared: bool) -> str:
    """Draw the histograms of the scores of two sides.

    Args:
        scores: scores of each side, with the scores of its calibration rows.
        names: names of the sides.
        is_shared: both have the scores of one model, and share an axis; else each has its own.
    """

    def paint(figure: "Figure") -> list[Mark]:
        if is_shared:
            axes = figure.add_subplot()
            marks = _paint_both(axes, scores, names)
            axes.set_xlabel("score (higher is more anomalous)")
            axes.set_ylabel("share of the rows")
            return marks
        marks = []
        panels = figure.subplots(2, 1)
        for axes, found, name in zip(panels, scores, names, strict=True):
            marks += paint_histogram(axes, finite(found.current), finite(found.calibration), found.threshold)
            axes.set_ylabel("share of the rows")
            axes.set_xlabel(f"score of {name} (higher is more anomalous)")
        return marks

    return draw(
        paint,
        name="scores",
        label=f"Scores of {names[0]} and {names[1]}",
        width=FULL,
        height=260 if is_shared else 440,
        nearest="x" if is_shared else "xy",
    )


def _paint_both(axes: "Axes", scores: tuple[Scores, Scores], names: tuple[str, str]) -> list[Mark]:
    current = [finite(each.current) for each in scores]
    reference, threshold = finite(scores[0].calibration), scores[0].threshold
    every = np.concatenate([*current, reference])
    scale = fitting_scale(every)
    edges = bin_edges(every if threshold is None else np.append(every, threshold), scale, anchor=threshold)
    if len(reference):
        label = f"calibration, {formatting.count(len(reference))} rows"
        axes.stairs(shares(reference, edges), edges, fill=True, color=PALETTE["reference"], alpha=0.45, label=label)
    heights = [shares(values, edges) for values in current]
    for each, values, colour, name, dashes in zip(heights, current, _COLOURS, names, ("-", (0, (4, 1))), strict=True):
        label = f"{name}, {formatting.count(len(values))} rows"
        axes.stairs(each, edges, color=colour, linewidth=1.6, linestyle=dashes, label=label)
    finish_histogram(axes, scale, edges, threshold, columns=2)
    return [
        Mark(
            axes,
            float((low + high) / 2),
            float(max(first, second)),
            f"score {formatting.number(low)} to {formatting.number(high)}: {names[0]} {formatting.percent(first)},"
            f" {names[1]} {formatting.percent(second)}",
        )
        for low, high, first, second in zip(edges[:-1], edges[1:], *heights, strict=True)
    ]


def draw_alarms(lines: Sequence[PairedNight], names: tuple[str, str], alphas: Sequence[float]) -> str:
    """Draw the flagged share of each partition by each side, with the alphas as lines."""

    def paint(figure: "Figure") -> list[Mark]:
        axes = figure.add_subplot()
        marks = []
        for at, (name, colour) in enumerate(zip(names, _COLOURS, strict=True)):
            flagged = [(line.first, line.second)[at] for line in lines]
            share = np.array([count / max(1, line.rows) for count, line in zip(flagged, lines, strict=True)])
            places = np.arange(len(lines)) + (at - 0.5) * 0.38
            axes.bar(places, share, width=0.36, color=colour, alpha=0.85, label=name)
            marks += [
                Mark(
                    axes,
                    float(x),
                    float(y),
                    f"{formatting.text(line.partition)}, {name}: {formatting.count(n)} of"
                    f" {formatting.count(line.rows)} rows ({formatting.percent(y)})",
                )
                for x, y, n, line in zip(places, share, flagged, lines, strict=True)
            ]
        for alpha in sorted(set(alphas)):
            label = f"alpha, {formatting.percent(alpha, trim=True)}"
            axes.axhline(alpha, color=PALETTE["ink"], linestyle=(0, (4, 3)), linewidth=1.0, label=label)
        labels = short_names([line.partition for line in lines])
        kept = thinned(labels, width=FULL - 60)
        axes.set_xticks(kept, [labels[index] for index in kept])
        axes.set_ylim(0, max(axes.get_ylim()[1], *(1.3 * alpha for alpha in alphas)))
        percentages(axes.yaxis)
        axes.grid(axis="y")
        axes.set_ylabel("flagged")
        legend_above(axes)
        return marks

    return draw(paint, name="alarms", label="Share of flagged rows per partition", width=FULL, height=220, nearest="x")
