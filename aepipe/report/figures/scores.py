"""The figures of a night's scores and of a training: arrays in, inline SVG out."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from aepipe.report import formatting as wording
from aepipe.report.figures.axes import legend_above, percentages, plain_numbers, stretch, thinned
from aepipe.report.figures.histogram_bins import bin_edges, fitting_scale, shares
from aepipe.report.figures.svg import PALETTE, draw
from aepipe.report.page_model import CostCurve, Scores, Training
from aepipe.storage import PartitionResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FULL = 700.0  # points: the width of the page
MOST_NIGHTS = 120
MOST_EPOCHS = 800
_CONFIDENCE_Z = 1.96


def score_histogram(scores: Scores) -> str:
    """The night's scores over those of the calibration rows, as shares of the rows, split at the threshold."""
    night = _finite(scores.night)
    calm = _finite(scores.calibration)

    def paint(figure: "Figure") -> None:
        axes = figure.add_subplot()
        _paint_histogram(axes, night, calm, scores.threshold)
        axes.set_xlabel("score (greater is stranger)")
        axes.set_ylabel("share of the rows")

    label = f"Histogram of {wording.count(len(night))} scores"
    return draw(paint, name="scores", label=label, width=FULL, height=250)


def flagged_shares(lines: Sequence[PartitionResult], alpha: float | None) -> str:
    """The flagged share of each partition, in order, with its 95 % interval; the latest where there are many."""
    shown = lines[-MOST_NIGHTS:]

    def paint(figure: "Figure") -> None:
        axes = figure.add_subplot()
        _paint_shares(axes, shown)
        if alpha is not None:
            asked = f"alpha, {wording.percent(alpha, trim=True)}"
            axes.axhline(alpha, color=PALETTE["ink"], linestyle=(0, (4, 3)), linewidth=1.0, label=asked)
            axes.set_ylim(top=max(axes.get_ylim()[1], 1.3 * alpha))
        _name_nights(axes, [line.partition for line in shown])
        percentages(axes.yaxis)
        axes.grid(axis="y")
        axes.set_ylabel("flagged")
        legend_above(axes)

    return draw(paint, name="shares", label="Share of flagged rows, partition by partition", width=FULL, height=210)


def cost_curve(costs: CostCurve) -> str:
    """Expected cost and alarms of a night by alpha, with the chosen point and what can be looked at."""

    def paint(figure: "Figure") -> None:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        above.plot(costs.alpha, costs.cost, color=PALETTE["night"], linewidth=1.6, label="expected cost of a night")
        below.plot(costs.alpha, costs.alarms, color=PALETTE["night"], linewidth=1.6, label="alarms a night")
        cost, alarms = (float(np.interp(costs.chosen, costs.alpha, values)) for values in (costs.cost, costs.alarms))
        label = f"chosen, alpha {wording.percent(costs.chosen, trim=True)}: {wording.number(cost)}"
        above.plot([costs.chosen], [cost], "o", color=PALETTE["flag"], markersize=6, label=label)
        below.plot([costs.chosen], [alarms], "o", color=PALETTE["flag"], markersize=6, label=wording.number(alarms))
        if costs.capacity is not None:
            label = f"can be looked at, {wording.count(costs.capacity)}"
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

    return draw(paint, name="costs", label="Expected cost of a night by alpha", width=FULL, height=300)


def training_curve(training: Training) -> str:
    """Training and dev loss by epoch with the best epoch; beside them the terms of the loss, if any."""
    kept = _even(len(training.epochs), training.epochs == training.best_epoch)
    terms = {name: values[kept] for name, values in training.terms.items()}

    def paint(figure: "Figure") -> None:
        panels = figure.subplots(1, 2 if terms else 1, squeeze=False)[0]
        _paint_losses(panels[0], training, kept)
        if terms:
            _paint_terms(panels[1], training.epochs[kept], terms)

    return draw(paint, name="curve", label="Loss by epoch", width=FULL, height=240)


def wilson(flagged: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 95 % interval of a share, (low, high); 0 to 1 where there are no rows. Wilson 1927.

    >>> [round(float(end), 4) for end in wilson(np.array(5), np.array(100))]
    [0.0215, 0.1118]
    """
    n = np.maximum(rows, 1e-12)
    share, z2 = flagged / n, _CONFIDENCE_Z**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _CONFIDENCE_Z * np.sqrt(share * (1 - share) / n + z2 / (4 * n**2)) / (1 + z2 / n)
    return np.clip(middle - half, 0.0, 1.0), np.clip(middle + half, 0.0, 1.0)


def _paint_histogram(axes: "Axes", night: np.ndarray, calm: np.ndarray, threshold: float | None) -> None:
    both = np.concatenate([night, calm])
    scale = fitting_scale(both)
    seen = both if threshold is None else np.append(both, threshold)
    edges = bin_edges(seen, scale, anchor=threshold)
    if len(calm):
        label = f"calibration, {wording.count(len(calm))} rows"
        axes.stairs(shares(calm, edges), edges, fill=True, color=PALETTE["calm"], alpha=0.45, linewidth=0, label=label)
    heights = shares(night, edges)
    if threshold is not None and (beyond := edges[:-1] >= threshold - 1e-9 * abs(threshold)).any():
        kept = np.flatnonzero(beyond)
        label = f"{wording.count(int((night >= threshold).sum()))} at or above"
        axes.stairs(heights[kept], edges[kept[0] :], fill=True, color=PALETTE["flag"], alpha=0.55, label=label)
    label = f"this night, {wording.count(len(night))} rows"
    axes.stairs(heights, edges, color=PALETTE["night"], linewidth=1.5, label=label)
    if threshold is not None:
        label = f"threshold {wording.number(threshold)}"
        axes.axvline(threshold, color=PALETTE["ink"], linestyle=(0, (4, 3)), linewidth=1.0, label=label)
    stretch(axes, scale, edges[0], edges[-1])
    percentages(axes.yaxis)
    axes.grid(axis="y")
    legend_above(axes)


def _finite(values: np.ndarray | None) -> np.ndarray:
    empty = np.zeros(0)
    return empty if values is None else (kept := np.asarray(values, np.float64).ravel())[np.isfinite(kept)]


def _paint_shares(axes: "Axes", lines: Sequence[PartitionResult]) -> None:
    scored = np.array([line.scored for line in lines])
    flagged = np.array([line.flagged for line in lines])
    low, high = wilson(flagged, scored)
    share = flagged / np.maximum(scored, 1)
    (at,) = np.nonzero(scored > 0)
    label = "flagged share, and its 95 % interval"
    axes.bar(at, share[at], width=0.62, color=PALETTE["night"], alpha=0.8, label=label)
    axes.vlines(at, low[at], high[at], color=PALETTE["ink"], linewidth=1.0)
    lost = [index for index, line in enumerate(lines) if line.status == "quarantined"]
    if lost:
        at_zero = np.zeros(len(lost))
        axes.scatter(lost, at_zero, 42, color=PALETTE["flag"], marker="x", lw=1.8, clip_on=False, label="quarantined")
    axes.set_xlim(-0.6, len(lines) - 0.4)
    axes.set_ylim(0, 1.05 * max(0.01, *share, *np.minimum(high, 3 * share + 0.1)))


def short_names(names: Sequence[str]) -> list[str]:
    """Partition names without the folders that all share and without the keys.

    >>> short_names(["site=a/dt=2026-01-01", "site=a/dt=2026-01-02"])
    ['2026-01-01', '2026-01-02']
    """
    parts = [[folder.rpartition("=")[2] for folder in name.split("/")] for name in names]
    shared = 0
    while len(names) > 1 and all(len(p) > shared + 1 and p[shared] == parts[0][shared] for p in parts):
        shared += 1
    return [wording.text(" ".join(p[shared:]), most=20) for p in parts]


def _name_nights(axes: "Axes", names: Sequence[str]) -> None:
    """As many partition names as fit."""
    short = short_names(names)
    kept = thinned(short, width=FULL - 60)
    axes.set_xticks(kept, [short[index] for index in kept])


def _even(length: int, needed: np.ndarray) -> np.ndarray:
    """At most MOST_EPOCHS indices, the first, the last and the needed ones among them."""
    even = np.linspace(0, length - 1, min(length, MOST_EPOCHS)).astype(int)
    return np.union1d(even, np.flatnonzero(needed))


def _paint_losses(axes: "Axes", training: Training, kept: np.ndarray) -> None:
    epochs, train, dev = training.epochs[kept], training.train[kept], training.dev[kept]
    axes.plot(epochs, train, color=PALETTE["muted"], linestyle=(0, (4, 2)), linewidth=1.2, label="training")
    axes.plot(epochs, dev, color=PALETTE["night"], linewidth=1.6, label="dev")
    best = dev[epochs == training.best_epoch]
    if len(best):
        label = f"best, epoch {wording.count(training.best_epoch)}: {wording.number(float(best[0]))}"
        axes.plot([training.best_epoch], best[:1], "o", color=PALETTE["flag"], markersize=6, label=label)
    _frame_curve(axes, np.stack([train, dev]))
    axes.set_ylabel("loss (nats a row)")


def _paint_terms(axes: "Axes", epochs: np.ndarray, terms: Mapping[str, np.ndarray]) -> None:
    styles = [PALETTE["night"], PALETTE["flag"], PALETTE["muted"], PALETTE["ink"]]
    shown = dict(list(terms.items())[: len(styles)])
    for index, (name, values) in enumerate(shown.items()):
        dashes = (0, (2 * index, index)) if index else "solid"
        label = wording.text(name, most=28)
        axes.plot(epochs, values, color=styles[index], linestyle=dashes, linewidth=1.4, label=label)
    _frame_curve(axes, np.stack(list(shown.values())))


def _frame_curve(axes: "Axes", curves: np.ndarray) -> None:
    """Limits by all but the first epochs, which are often so far above the rest that they would flatten it."""
    from matplotlib.ticker import MaxNLocator

    later = _finite(curves[:, curves.shape[1] // 20 :])
    if len(later) and (rise := later.max() - later.min()) > 0:
        axes.set_ylim(later.min() - 0.06 * rise, later.max() + 0.06 * rise)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True, steps=[1, 2, 5, 10]))
    plain_numbers(axes.xaxis)
    plain_numbers(axes.yaxis)
    axes.set_xlabel("epoch")
    axes.grid(axis="y")
    legend_above(axes, columns=3)
