"""Figures of scores, costs and training history as inline SVG."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from aepipe.report import formatting
from aepipe.report.figures.axes import legend_above, percentages, plain_numbers, stretch, thinned
from aepipe.report.figures.histogram_bins import Scale, bin_edges, fitting_scale, shares
from aepipe.report.figures.svg import PALETTE, draw
from aepipe.report.page_model import CostCurve, Scores, Training
from aepipe.report.pointer import Mark
from aepipe.storage import PartitionResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FULL = 700.0  # points: the width of the page
MOST_PARTITIONS = 120
MOST_EPOCHS = 800
MOST_MARKS = 200
_CONFIDENCE_Z = 1.96


def score_histogram(scores: Scores) -> str:
    """Draw the histograms of current and calibration scores, as shares of the rows, with the threshold."""
    current = finite(scores.current)
    reference = finite(scores.calibration)

    def paint(figure: "Figure") -> list[Mark]:
        axes = figure.add_subplot()
        marks = paint_histogram(axes, current, reference, scores.threshold)
        axes.set_xlabel("score (higher is more anomalous)")
        axes.set_ylabel("share of the rows")
        return marks

    label = f"Histogram of {formatting.count(len(current))} scores"
    return draw(paint, name="scores", label=label, width=FULL, height=250, nearest="x")


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

    def paint(figure: "Figure") -> list[Mark]:
        axes = figure.add_subplot()
        _paint_shares(axes, shown)
        if alpha is not None:
            label = f"alpha, {formatting.percent(alpha, trim=True)}"
            axes.axhline(alpha, color=PALETTE["ink"], linestyle=(0, (4, 3)), linewidth=1.0, label=label)
            axes.set_ylim(top=max(axes.get_ylim()[1], 1.3 * alpha))
        names = short_names([line.partition for line in shown])
        kept = thinned(names, width=FULL - 60)
        axes.set_xticks(kept, [names[index] for index in kept])
        percentages(axes.yaxis)
        axes.grid(axis="y")
        axes.set_ylabel("flagged")
        legend_above(axes)
        return _share_marks(axes, shown, links or {})

    label = "Share of flagged rows per partition"
    return draw(paint, name="shares", label=label, width=FULL, height=210, nearest="x")


def cost_curve(costs: CostCurve) -> str:
    """Draw expected cost and alarms per night by alpha, with the chosen alpha and the capacity."""

    def paint(figure: "Figure") -> list[Mark]:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        above.plot(costs.alpha, costs.cost, color=PALETTE["current"], linewidth=1.6, label="expected cost per night")
        below.plot(costs.alpha, costs.alarms, color=PALETTE["current"], linewidth=1.6, label="alarms per night")
        cost, alarms = (float(np.interp(costs.chosen, costs.alpha, values)) for values in (costs.cost, costs.alarms))
        label = f"chosen, alpha {formatting.percent(costs.chosen, trim=True)}: {formatting.number(cost)}"
        above.plot([costs.chosen], [cost], "o", color=PALETTE["flag"], markersize=6, label=label)
        below.plot([costs.chosen], [alarms], "o", color=PALETTE["flag"], markersize=6, label=formatting.number(alarms))
        if costs.capacity is not None:
            label = f"capacity, {formatting.count(costs.capacity)}"
            below.axhline(costs.capacity, color=PALETTE["ink"], linestyle=(0, (4, 3)), linewidth=1.0, label=label)
        for axes in (above, below):
            plain_numbers(axes.yaxis)
            axes.grid(axis="y")
            axes.set_ylim(bottom=0)
            legend_above(axes)
        below.set_xscale("log")
        below.minorticks_off()
        percentages(below.xaxis)
        below.set_xlabel("alpha")
        return [
            Mark(
                above,
                float(a),
                float(c),
                f"alpha {formatting.percent(a, trim=True)}: cost {formatting.number(c)}, {formatting.number(n)} alerts",
            )
            for a, c, n in zip(costs.alpha, costs.cost, costs.alarms, strict=True)
        ]

    return draw(paint, name="costs", label="Expected cost per night by alpha", width=FULL, height=300, nearest="x")


def training_curve(training: Training) -> str:
    """Draw training and dev loss by epoch with the best epoch, and the terms of the loss if there are any."""
    # MOST_EPOCHS evenly spaced epochs, and the best one.
    even = np.linspace(0, len(training.epochs) - 1, min(len(training.epochs), MOST_EPOCHS)).astype(int)
    kept = np.union1d(even, np.flatnonzero(training.epochs == training.best_epoch))
    terms = {name: values[kept] for name, values in training.terms.items()}

    def paint(figure: "Figure") -> list[Mark]:
        panels = figure.subplots(1, 2 if terms else 1, squeeze=False)[0]
        _paint_losses(panels[0], training, kept)
        if terms:
            _paint_terms(panels[1], training.epochs[kept], terms)
        low, high = panels[0].get_ylim()
        return [
            Mark(
                panels[0],
                float(training.epochs[at]),
                float(np.clip(training.dev[at], low, high)),
                f"epoch {formatting.count(int(training.epochs[at]))}: dev {formatting.number(float(training.dev[at]))},"
                f" training {formatting.number(float(training.train[at]))}",
            )
            for at in kept[:: -(-len(kept) // MOST_MARKS)]
            if np.isfinite(training.dev[at])
        ]

    return draw(paint, name="curve", label="Loss by epoch", width=FULL, height=240, nearest="x")


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


def paint_histogram(axes: "Axes", current: np.ndarray, reference: np.ndarray, threshold: float | None) -> list[Mark]:
    """Paint the histograms of current and calibration scores with the threshold, and return the marks of the bins."""
    both = np.concatenate([current, reference])
    scale = fitting_scale(both)
    seen = both if threshold is None else np.append(both, threshold)
    edges = bin_edges(seen, scale, anchor=threshold)
    if len(reference):
        label = f"calibration, {formatting.count(len(reference))} rows"
        axes.stairs(
            shares(reference, edges), edges, fill=True, color=PALETTE["reference"], alpha=0.45, linewidth=0, label=label
        )
    heights = shares(current, edges)
    if threshold is not None and (beyond := edges[:-1] >= threshold - 1e-9 * abs(threshold)).any():
        kept = np.flatnonzero(beyond)
        label = f"{formatting.count(int((current >= threshold).sum()))} at or above"
        axes.stairs(heights[kept], edges[kept[0] :], fill=True, color=PALETTE["flag"], alpha=0.55, label=label)
    label = f"current, {formatting.count(len(current))} rows"
    axes.stairs(heights, edges, color=PALETTE["current"], linewidth=1.5, label=label)
    finish_histogram(axes, scale, edges, threshold)
    counts, _ = np.histogram(current, edges)
    others, _ = np.histogram(reference, edges)
    return [
        Mark(
            axes,
            float((low + high) / 2),
            float(height),
            f"score {formatting.number(low)} to {formatting.number(high)}: {formatting.count(int(n))} rows"
            f" ({formatting.percent(height)}), {formatting.count(int(m))} of calibration",
        )
        for low, high, height, n, m in zip(edges[:-1], edges[1:], heights, counts, others, strict=True)
    ]


def _share_marks(axes: "Axes", lines: Sequence[PartitionResult], links: Mapping[str, str]) -> list[Mark]:
    return [
        Mark(
            axes,
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


def finish_histogram(
    axes: "Axes", scale: Scale, edges: np.ndarray, threshold: float | None, *, columns: int = 4
) -> None:
    """Draw the threshold, and set the axes and the legend of a histogram of scores."""
    if threshold is not None:
        label = f"threshold {formatting.number(threshold)}"
        axes.axvline(threshold, color=PALETTE["ink"], linestyle=(0, (4, 3)), linewidth=1.0, label=label)
    stretch(axes, scale, edges[0], edges[-1])
    percentages(axes.yaxis)
    axes.grid(axis="y")
    legend_above(axes, columns=columns)


def finite(values: np.ndarray | None) -> np.ndarray:
    """Return the finite values as float64; none for None."""
    empty = np.zeros(0)
    return empty if values is None else (kept := np.asarray(values, np.float64).ravel())[np.isfinite(kept)]


def _paint_shares(axes: "Axes", lines: Sequence[PartitionResult]) -> None:
    scored = np.array([line.scored for line in lines])
    flagged = np.array([line.flagged for line in lines])
    low, high = wilson(flagged, scored)
    share = flagged / np.maximum(scored, 1)
    (indices,) = np.nonzero(scored > 0)
    label = "flagged share with 95 % interval"
    axes.bar(indices, share[indices], width=0.62, color=PALETTE["current"], alpha=0.8, label=label)
    axes.vlines(indices, low[indices], high[indices], color=PALETTE["ink"], linewidth=1.0)
    lost = [index for index, line in enumerate(lines) if line.status == "quarantined"]
    if lost:
        zeros = np.zeros(len(lost))
        axes.scatter(lost, zeros, 42, color=PALETTE["flag"], marker="x", lw=1.8, clip_on=False, label="quarantined")
    axes.set_xlim(-0.6, len(lines) - 0.4)
    axes.set_ylim(0, 1.05 * max(0.01, *share, *np.minimum(high, 3 * share + 0.1)[indices]))


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


def _paint_losses(axes: "Axes", training: Training, kept: np.ndarray) -> None:
    epochs, train, dev = training.epochs[kept], training.train[kept], training.dev[kept]
    axes.plot(epochs, train, color=PALETTE["muted"], linestyle=(0, (4, 2)), linewidth=1.2, label="training")
    axes.plot(epochs, dev, color=PALETTE["current"], linewidth=1.6, label="dev")
    best = dev[epochs == training.best_epoch]
    if len(best):
        label = f"best, epoch {formatting.count(training.best_epoch)}: {formatting.number(float(best[0]))}"
        axes.plot([training.best_epoch], best[:1], "o", color=PALETTE["flag"], markersize=6, label=label)
    _frame_curve(axes, np.stack([train, dev]))
    axes.set_ylabel("loss (nats per row)")


def _paint_terms(axes: "Axes", epochs: np.ndarray, terms: Mapping[str, np.ndarray]) -> None:
    styles = [PALETTE["current"], PALETTE["flag"], PALETTE["muted"], PALETTE["ink"]]
    shown = dict(list(terms.items())[: len(styles)])
    for index, (name, values) in enumerate(shown.items()):
        dashes = (0, (2 * index, index)) if index else "solid"
        label = formatting.text(name, most=28)
        axes.plot(epochs, values, color=styles[index], linestyle=dashes, linewidth=1.4, label=label)
    _frame_curve(axes, np.stack(list(shown.values())))


def _frame_curve(axes: "Axes", curves: np.ndarray) -> None:
    """Set limits and labels of a loss curve."""
    from matplotlib.ticker import MaxNLocator

    # The first epochs are often far above the rest and would flatten the curve.
    later = finite(curves[:, curves.shape[1] // 20 :])
    if len(later) and (rise := later.max() - later.min()) > 0:
        axes.set_ylim(later.min() - 0.06 * rise, later.max() + 0.06 * rise)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True, steps=[1, 2, 5, 10]))
    plain_numbers(axes.xaxis)
    plain_numbers(axes.yaxis)
    axes.set_xlabel("epoch")
    axes.grid(axis="y")
    legend_above(axes, columns=3)
