"""Figures of scores, costs and training history as inline SVG."""

from collections.abc import Mapping, Sequence

import numpy as np

from aepipe.report import formatting
from aepipe.report.figures.axes import thinned
from aepipe.report.figures.histogram_bins import Scale, bin_edges, fitting_scale, round_ticks, shares
from aepipe.report.figures.panel import (
    DASHES,
    Axis,
    Panel,
    Stroke,
    align,
    drawing,
    even_ticks,
    numbered,
)
from aepipe.report.figures.svg import PALETTE
from aepipe.report.page_model import CostCurve, Scores, Training
from aepipe.report.pointer import Mark
from aepipe.storage import PartitionResult

FULL = 700.0  # points: the width of the page
MOST_PARTITIONS = 120
MOST_EPOCHS = 800
MOST_MARKS = 200
_CONFIDENCE_Z = 1.96
LOG = Scale("log", np.log10, lambda places: 10.0**places)


def score_histogram(scores: Scores) -> str:
    """Draw the histograms of current and calibration scores, as shares of the rows, with the threshold."""
    current = finite(scores.current)
    panel, marks = paint_histogram(
        current, finite(scores.calibration), scores.threshold, label="score (higher is more anomalous)"
    )
    panel.fit(0, 0, FULL, 250)
    label = f"Histogram of {formatting.count(len(current))} scores"
    return drawing([panel], name="scores", label=label, width=FULL, height=250, nearest="x", marks=marks)


def flagged_shares(
    lines: Sequence[PartitionResult], alpha: float | None, links: Mapping[str, str] | None = None
) -> str:
    """Draw the flagged share of each of the latest partitions, with its 95 % interval.

    Args:
        lines: the partitions.
        alpha: drawn as a line.
        links: link of partitions to a part of the page.
    """
    shown = lines[-MOST_PARTITIONS:]
    scored = np.array([line.scored for line in shown])
    flagged = np.array([line.flagged for line in shown])
    low, high = wilson(flagged, scored)
    share = flagged / np.maximum(scored, 1)
    at = np.flatnonzero(scored > 0)
    top = max(1.05 * max(0.01, *share, *np.minimum(high, 3 * share + 0.1)[at]), 1.3 * (alpha or 0.0))
    x = by_name([line.partition for line in shown])
    panel = Panel(x, Axis(0, top, label="flagged", has_grid=True).with_percentages(even_ticks(0, top)))
    label = "flagged share with 95 % interval"
    panel.bars(at, share[at], width=0.62, colour=PALETTE["current"], opacity=0.8, label=label)
    panel.spans(at, low[at], high[at], Stroke(PALETTE["ink"]))
    lost = [index for index, line in enumerate(shown) if line.status == "quarantined"]
    if lost:
        panel.crosses(lost, np.zeros(len(lost)), colour=PALETTE["flag"], label="quarantined")
    if alpha is not None:
        label = f"alpha, {formatting.percent(alpha, trim=True)}"
        panel.level(alpha, Stroke(PALETTE["ink"], dashes=DASHES), label=label)
    panel.fit(0, 0, FULL, 210)
    marks = _share_marks(panel, shown, links or {})
    label = "Share of flagged rows per partition"
    return drawing([panel], name="shares", label=label, width=FULL, height=210, nearest="x", marks=marks)


def by_name(partitions: Sequence[str]) -> Axis:
    """Return an axis with one place per partition and as many of their names as fit."""
    names = short_names(partitions)
    kept = thinned(names, width=FULL - 60)
    return Axis(-0.6, len(names) - 0.4, ticks=kept, names=[names[index] for index in kept])


def cost_curve(costs: CostCurve) -> str:
    """Draw expected cost and alarms per night by alpha, with the chosen alpha and the capacity."""
    blue, chosen = Stroke(PALETTE["current"], 1.6), float(costs.chosen)
    ends = np.log10([min(costs.alpha.min(), chosen), max(costs.alpha.max(), chosen)])
    low, high = 10 ** (ends + 0.05 * max(float(np.ptp(ends)), 0.1) * np.array([-1, 1]))
    panels = []
    for values, name, most in ((costs.cost, "expected cost", 7), (costs.alarms, "alarms", 5)):
        there = float(np.interp(chosen, costs.alpha, values))
        top = 1.05 * max(*values[np.isfinite(values)], there, costs.capacity or 0 if name == "alarms" else 0, 1e-9)
        y = Axis(0, top, has_grid=True).with_numbers(even_ticks(0, top, most=most))
        panel = Panel(Axis(low, high, LOG), y)
        panel.line(costs.alpha, values, blue, label=f"{name} per night")
        label = formatting.number(there)
        if name != "alarms":
            label = f"chosen, alpha {formatting.percent(chosen, trim=True)}: {label}"
        panel.dots([chosen], [there], colour=PALETTE["flag"], width=6, label=label)
        panels.append(panel)
    above, below = panels
    if costs.capacity is not None:
        label = f"capacity, {formatting.count(costs.capacity)}"
        below.level(costs.capacity, Stroke(PALETTE["ink"], dashes=DASHES), label=label)
    below.x.with_percentages(round_ticks(LOG, low, high, most=9)).label = "alpha"
    above.fit(0, 0, FULL, 160)
    below.fit(0, 160, FULL, 300)
    align(panels)
    marks = [
        Mark(
            above,
            float(a),
            float(c),
            f"alpha {formatting.percent(a, trim=True)}: cost {formatting.number(c)}, {formatting.number(n)} alerts",
        )
        for a, c, n in zip(costs.alpha, costs.cost, costs.alarms, strict=True)
    ]
    label = "Expected cost per night by alpha"
    return drawing(panels, name="costs", label=label, width=FULL, height=300, nearest="x", marks=marks)


def training_curve(training: Training) -> str:
    """Draw training and dev loss by epoch with the best epoch, and the terms of the loss if there are any."""
    # MOST_EPOCHS evenly spaced epochs, and the best one.
    even = np.linspace(0, len(training.epochs) - 1, min(len(training.epochs), MOST_EPOCHS)).astype(int)
    kept = np.union1d(even, np.flatnonzero(training.epochs == training.best_epoch))
    terms = {name: values[kept] for name, values in training.terms.items()}
    panels = [_paint_losses(training, kept)]
    panels += [_paint_terms(training.epochs[kept], terms)] if terms else []
    for at, panel in enumerate(panels):
        panel.fit(at * FULL / len(panels), 0, (at + 1) * FULL / len(panels), 240)
    y = panels[0].y
    marks = [
        Mark(
            panels[0],
            float(training.epochs[at]),
            float(np.clip(training.dev[at], y.low, y.high)),
            f"epoch {formatting.count(int(training.epochs[at]))}: dev {formatting.number(float(training.dev[at]))},"
            f" training {formatting.number(float(training.train[at]))}",
        )
        for at in kept[:: -(-len(kept) // MOST_MARKS)]
        if np.isfinite(training.dev[at])
    ]
    return drawing(panels, name="curve", label="Loss by epoch", width=FULL, height=240, nearest="x", marks=marks)


def wilson(flagged: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the 95 % interval of a share, (low, high); 0 to 1 without rows. Wilson 1927.

    >>> [round(float(end), 4) for end in wilson(np.array(5), np.array(100))]
    [0.0215, 0.1118]
    """
    n = np.maximum(rows, 1e-12)
    share, z2 = flagged / n, _CONFIDENCE_Z**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _CONFIDENCE_Z * np.sqrt(share * (1 - share) / n + z2 / (4 * n**2)) / (1 + z2 / n)
    return np.clip(middle - half, 0.0, 1.0), np.clip(middle + half, 0.0, 1.0)


def paint_histogram(
    current: np.ndarray, reference: np.ndarray, threshold: float | None, *, label: str
) -> tuple[Panel, list[Mark]]:
    """Return a panel of the histograms of current and calibration scores with the threshold, and marks of the bins."""
    both = np.concatenate([current, reference])
    scale = fitting_scale(both)
    seen = both if threshold is None else np.append(both, threshold)
    edges = bin_edges(seen, scale, anchor=threshold)
    heights, others = shares(current, edges), shares(reference, edges)
    panel = of_shares([heights, others], scale, edges, label=label)
    if len(reference):
        name = f"calibration, {formatting.count(len(reference))} rows"
        panel.area(others, edges, colour=PALETTE["reference"], opacity=0.45, label=name)
    if threshold is not None and (beyond := edges[:-1] >= threshold - 1e-9 * abs(threshold)).any():
        kept = np.flatnonzero(beyond)
        name = f"{formatting.count(int((current >= threshold).sum()))} at or above"
        panel.area(heights[kept], edges[kept[0] :], colour=PALETTE["flag"], opacity=0.55, label=name)
    name = f"current, {formatting.count(len(current))} rows"
    panel.stairs(heights, edges, Stroke(PALETTE["current"], 1.5), label=name)
    draw_threshold(panel, threshold)
    counts, _ = np.histogram(current, edges)
    of_reference, _ = np.histogram(reference, edges)
    return panel, [
        Mark(
            panel,
            float((low + high) / 2),
            float(height),
            f"score {formatting.number(low)} to {formatting.number(high)}: {formatting.count(int(n))} rows"
            f" ({formatting.percent(height)}), {formatting.count(int(m))} of calibration",
        )
        for low, high, height, n, m in zip(edges[:-1], edges[1:], heights, counts, of_reference, strict=True)
    ]


def of_shares(heights: Sequence[np.ndarray], scale: Scale, edges: np.ndarray, *, label: str, columns: int = 4) -> Panel:
    """Return an empty panel for histograms of scores."""
    top = 1.05 * max(1e-9, *(float(each.max(initial=0.0)) for each in heights))
    y = Axis(0, top, label="share of the rows", has_grid=True).with_percentages(even_ticks(0, top))
    return Panel(numbered(scale, float(edges[0]), float(edges[-1]), label=label), y, columns=columns)


def draw_threshold(panel: Panel, threshold: float | None) -> None:
    """Draw the threshold as a vertical line, if there is one."""
    if threshold is not None:
        name = f"threshold {formatting.number(threshold)}"
        panel.moment(threshold, Stroke(PALETTE["ink"], dashes=DASHES), label=name)


def _share_marks(panel: Panel, lines: Sequence[PartitionResult], links: Mapping[str, str]) -> list[Mark]:
    return [
        Mark(
            panel,
            index,
            line.flagged / line.scored if line.scored > 0 else 0.0,
            f"{formatting.text(line.partition)}: quarantined"
            if line.status == "quarantined"
            else f"{formatting.text(line.partition)}: {formatting.count(line.flagged)} of"
            f" {formatting.count(line.scored)} rows"
            + (f" ({formatting.percent(line.flagged / line.scored)})" if line.scored > 0 else ""),
            links.get(line.partition, ""),
        )
        for index, line in enumerate(lines)
    ]


def finite(values: np.ndarray | None) -> np.ndarray:
    """Return the finite values as float64; none for None."""
    empty = np.zeros(0)
    return empty if values is None else (kept := np.asarray(values, np.float64).ravel())[np.isfinite(kept)]


def short_names(names: Sequence[str]) -> list[str]:
    """Shorten partition names: drop keys and the leading folders that all names share.

    >>> short_names(["site=a/dt=2026-01-01", "site=a/dt=2026-01-02"])
    ['2026-01-01', '2026-01-02']
    """
    parts = [[folder.rpartition("=")[2] for folder in name.split("/")] for name in names]
    shared = 0
    while len(names) > 1 and all(len(p) > shared + 1 and p[shared] == parts[0][shared] for p in parts):
        shared += 1
    return [formatting.text(" ".join(p[shared:]), most=20) for p in parts]


def _paint_losses(training: Training, kept: np.ndarray) -> Panel:
    epochs, train, dev = training.epochs[kept], training.train[kept], training.dev[kept]
    panel = _frame_curve(epochs, np.stack([train, dev]))
    panel.y.label = "loss (nats per row)"
    panel.line(epochs, train, Stroke(PALETTE["muted"], 1.2, (4, 2)), label="training")
    panel.line(epochs, dev, Stroke(PALETTE["current"], 1.6), label="dev")
    best = dev[epochs == training.best_epoch]
    if len(best):
        label = f"best, epoch {formatting.count(training.best_epoch)}: {formatting.number(float(best[0]))}"
        panel.dots([training.best_epoch], best[:1], colour=PALETTE["flag"], width=6, label=label)
    return panel


def _paint_terms(epochs: np.ndarray, terms: Mapping[str, np.ndarray]) -> Panel:
    colours = [PALETTE["current"], PALETTE["flag"], PALETTE["muted"], PALETTE["ink"]]
    shown = dict(list(terms.items())[: len(colours)])
    panel = _frame_curve(epochs, np.stack(list(shown.values())))
    for index, (name, values) in enumerate(shown.items()):
        stroke = Stroke(colours[index], 1.4, (2 * index, index) if index else ())
        panel.line(epochs, values, stroke, label=formatting.text(name, most=28))
    return panel


def _frame_curve(epochs: np.ndarray, curves: np.ndarray) -> Panel:
    """Return an empty panel for loss curves."""
    # The first epochs are often far above the rest and would flatten the curve.
    later = finite(curves[:, curves.shape[1] // 20 :])
    low, high = (float(later.min()), float(later.max())) if len(later) else (0.0, 1.0)
    room = 0.06 * (high - low) or max(0.05 * abs(low), 0.05)
    first, last = float(epochs[0]), float(epochs[-1])
    margin = 0.05 * (last - first) or 0.5
    x = Axis(first - margin, last + margin, label="epoch")
    x.with_numbers(even_ticks(x.low, x.high, most=7, is_whole=True))
    y = Axis(low - room, high + room, has_grid=True)
    return Panel(x, y.with_numbers(even_ticks(y.low, y.high)), columns=3)
