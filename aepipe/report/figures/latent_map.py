"""Latent map: every row is a point in two dimensions, coloured by score and by label."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from aepipe.report import formatting
from aepipe.report.figures import scatter_paths
from aepipe.report.figures.histogram_bins import LINEAR, fitting_scale
from aepipe.report.figures.panel import LABEL_SIZE, Panel, drawing, entry_width, keys, numbered, path, text, wrapped
from aepipe.report.figures.svg import CLASSES, LEVELS, PALETTE, css
from aepipe.report.page_model import LatentMap
from aepipe.report.pointer import Mark

MOST_POINTS = 5_000
MOST_MARKS = 1_000
_OTHER = "other"
_PANEL, _LEFT, _GAP, _TOP, _BOTTOM = 292.0, 48.0, 58.0, 22.0, 96.0  # points


class Plane(NamedTuple):
    """Points in two dimensions, names of the axes, and number of points outside the frame (drawn on its edge)."""

    xy: np.ndarray
    axes: tuple[str, str]
    beyond: int


def principal_plane(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return coordinates (N, 2) along the two principal axes, and the share of the variance of each, (2,).

    The sign of an axis is chosen so that its largest weight is positive.

    Args:
        points: (N, Z), Z at least 1.
    """
    centred = np.asarray(points, np.float64) - np.mean(points, axis=0)
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    directions = directions[:2]
    signs = np.sign(directions[np.arange(len(directions)), np.abs(directions).argmax(axis=1)])
    xy = centred @ (directions * np.where(signs == 0, 1.0, signs)[:, None]).T
    variance = singular[:2] ** 2 / max(float((singular**2).sum()), np.finfo(float).tiny)
    lacking = 2 - xy.shape[1]
    return np.pad(xy, ((0, 0), (0, lacking))), np.pad(variance, (0, lacking))


def latent_map(latents: LatentMap, links: Mapping[tuple[str, int], str] | None = None) -> str:
    """Draw a panel coloured by score with flagged rows outlined, and a second by label if there is one.

    Args:
        latents: the points.
        links: link of rows, by partition and position, to a part of the page.
    """
    kept = drawable(latents)
    plane = _plane(np.asarray(latents.points)[kept])
    scores, flagged = np.asarray(latents.scores)[kept], np.asarray(latents.flagged, bool)[kept]
    names = None if latents.labels is None else class_names([latents.labels[index] for index in kept])
    low, high = frame(plane.xy)
    height = float((high - low)[1] / (high - low)[0]) * _PANEL
    panels = []
    for index in range(2 if names else 1):
        x, y = (numbered(LINEAR, low[at], high[at], most=6, label=plane.axes[at]) for at in range(2))
        x.has_grid = y.has_grid = True
        left = _LEFT + index * (_PANEL + _GAP)
        panels.append(Panel(x, y, box=(left, _TOP, left + _PANEL, _TOP + height)))
    below = _paint_scores(panels[0], plane.xy, scores, flagged)
    if names:
        below += _paint_classes(panels[1], plane.xy, names)
        panels[1].title = f"by {formatting.text(latents.label, most=32)}"
    label = f"Latents of {formatting.count(len(kept))} rows in two dimensions"
    wide, tall = _LEFT + len(panels) * (_PANEL + _GAP), _BOTTOM + height + _TOP
    marks = _marks(panels[0], plane.xy, latents, kept, links or {})
    return drawing(panels, name="latents", label=label, width=wide, height=tall, marks=marks, more=below)


def _marks(
    panel: Panel, xy: np.ndarray, latents: LatentMap, kept: np.ndarray, links: Mapping[tuple[str, int], str]
) -> list[Mark]:
    """Return the marks of the rows with the highest scores, with their partitions."""
    scores = np.asarray(latents.scores)[kept]
    found = []
    for at in np.sort(np.argsort(-scores, kind="stable")[:MOST_MARKS]):
        place = None if latents.places is None else latents.places[kept[at]]
        row = "" if place is None else f", {formatting.text(place[0])}, row {formatting.count(place[1])}"
        shown = f"score {formatting.number(float(scores[at]))}{row}"
        x, y = xy[at].tolist()
        found.append(Mark(panel, x, y, shown, "" if place is None else links.get(place, "")))
    return found


def beyond_frame(latents: LatentMap) -> int:
    """Return the number of points outside the map, drawn on its edge."""
    return _plane(np.asarray(latents.points)[drawable(latents)]).beyond


def class_names(labels: Sequence[object]) -> list[str]:
    """Format each label as text; labels beyond the ten most frequent become 'other'.

    >>> class_names([3, None, 3])
    ['3', '–', '3']
    """
    texts = [formatting.text(formatting.key(label), most=12) for label in labels]
    frequent = [name for name, _ in Counter(texts).most_common(len(CLASSES) + 1)]
    if len(frequent) <= len(CLASSES):
        return texts
    named = set(frequent[: len(CLASSES) - 1])
    return [text if text in named else _OTHER for text in texts]


def crowding(rows: int) -> float:
    """Return the scale of the markers for a number of rows.

    >>> crowding(500), crowding(3200), crowding(5000)
    (1.0, 0.5, 0.5)
    """
    return float(np.clip(np.sqrt(800 / max(1, rows)), 0.5, 1.0))


def frame(xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the lower left and upper right corner of the frame; its sides differ by at most a third.

    >>> frame(np.array([[0.0, 0.0], [100.0, 0.0]]))[1].tolist()
    [103.0, 39.75]
    """
    middle, half = (xy.max(axis=0) + xy.min(axis=0)) / 2, np.ptp(xy, axis=0) * 0.53
    half = np.maximum(half, max(0.75 * half.max(), 1e-6))
    return middle - half, middle + half


def drawable(latents: LatentMap) -> np.ndarray:
    """Select at most MOST_POINTS rows with finite latents and score, flagged rows first; return sorted indices."""
    fine = np.isfinite(np.asarray(latents.points, float)).all(axis=1) & np.isfinite(np.asarray(latents.scores, float))
    (indices,) = np.nonzero(fine)
    if len(indices) <= MOST_POINTS:
        return indices
    flagged = indices[np.asarray(latents.flagged, bool)[indices]][: MOST_POINTS // 2]
    others = np.setdiff1d(indices, flagged)
    even = others[np.linspace(0, len(others) - 1, MOST_POINTS - len(flagged)).astype(int)]
    return np.sort(np.concatenate([flagged, even]))


def _plane(points: np.ndarray) -> Plane:
    if points.shape[1] == 2:
        xy, names = np.asarray(points, np.float64), ("z_000", "z_001")
    else:
        xy, variance = principal_plane(points)
        first, second = (f"principal axis {i + 1} ({formatting.percent(share)})" for i, share in enumerate(variance))
        names = (first, second)
    q1, q99 = np.quantile(xy, [0.01, 0.99], axis=0)
    room = 0.4 * np.maximum(q99 - q1, 1e-12).max()
    inside = np.clip(xy, q1 - room, q99 + room)
    return Plane(inside, names, int((inside != xy).any(axis=1).sum()))


def _paint_scores(panel: Panel, xy: np.ndarray, scores: np.ndarray, flagged: np.ndarray) -> str:
    """Draw the points in nine colours, evenly spaced on the scale of the score, flagged rows on top; return the key."""
    scale = fitting_scale(scores)
    ends = scale.forward(np.quantile(scores, [0.02, 0.995]))
    if ends[1] <= ends[0]:
        ends = ends[0] + np.array([-0.5, 0.5])
    edges = scale.inverse(np.linspace(ends[0], ends[1], len(LEVELS) + 1))
    levels = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, len(LEVELS) - 1)
    factor = crowding(len(xy))
    for level, colour in enumerate(LEVELS):
        scatter_paths.dots(panel, xy[(levels == level) & ~flagged], colour=colour, width=3.6 * factor)
    scatter_paths.dots(panel, xy[flagged], colour=PALETTE["ink"], width=4.4 * factor + 2.0)
    for level, colour in enumerate(LEVELS):
        scatter_paths.dots(panel, xy[(levels == level) & flagged], colour=colour, width=4.4 * factor)
    panel.title = "by score, flagged rows outlined" if flagged.any() else "by score"
    return _colour_key(panel, edges)


def _colour_key(panel: Panel, edges: np.ndarray) -> str:
    """Return a bar of the colours below a panel, with the scores at which they change."""
    left, _, right, bottom = panel.box
    top, low = bottom + 42, bottom + 50
    places = np.linspace(left, right, len(edges))
    found = [
        path([np.array([(a, top), (b, top), (b, low), (a, low)])], f"fill: {css(colour)}", is_closed=True)
        for a, b, colour in zip(places[:-1], places[1:], LEVELS, strict=True)
    ]
    names = formatting.ticks(edges[::3].tolist(), within=0.005)
    shown = zip(places[::3].tolist(), names, strict=True)
    found += [text(name, place, low + 11, colour=PALETTE["muted"]) for place, name in shown]
    found.append(text("score", (left + right) / 2, low + 24, size=LABEL_SIZE, colour=PALETTE["muted"]))
    return "".join(found)


def _paint_classes(panel: Panel, xy: np.ndarray, names: Sequence[str]) -> str:
    """Draw the points by label; return the key."""
    labels = np.array(names)
    classes = sorted(set(names), key=lambda name: (name == _OTHER, name.zfill(12) if name.isdigit() else name))
    styles = dict(zip(classes, zip(CLASSES, scatter_paths.SHAPES, strict=True), strict=False))
    sizes = Counter(names)
    for name in sorted(classes, key=lambda name: -sizes[name]):  # the rarest on top
        colour, shape = styles[name]
        scatter_paths.shapes(panel, xy[labels == name], shape, colour=colour, factor=crowding(len(xy)))
    left, _, right, bottom = panel.box
    middle = np.array([[6.0, -3.0]])
    entries = [
        (f"{name} ({formatting.count(sizes[name])})", scatter_paths.marker(middle, shape, colour=colour, factor=1.2))
        for name, (colour, shape) in styles.items()
    ]
    lines = wrapped(entries, width=right - left, columns=5)
    widest = max(sum(entry_width(label) for label, _ in line) for line in lines)
    begin = (left + right - widest) / 2
    return "".join(keys(line, begin, bottom + 42 + 12 * at) for at, line in enumerate(lines))
