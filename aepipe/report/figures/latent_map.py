"""Latent map: every row is a point in two dimensions, coloured by score and by label."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from aepipe.report import formatting
from aepipe.report.figures import scatter_paths
from aepipe.report.figures.axes import plain_numbers
from aepipe.report.figures.histogram_bins import fitting_scale
from aepipe.report.figures.svg import CLASSES, LEVELS, PALETTE, POINTS_PER_INCH, draw
from aepipe.report.page_model import LatentMap
from aepipe.report.pointer import Mark

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
    point = float((high - low)[0]) / _PANEL
    height = float((high - low)[1]) / point

    def paint(figure: "Figure") -> list[Mark]:
        # A layout engine ignores legends below axes with a fixed aspect ratio, so the axes have fixed positions.
        figure.set_layout_engine(None)  # not "none", which still draws the figure twice
        across, down = figure.get_size_inches() * POINTS_PER_INCH
        lefts = [_LEFT + index * (_PANEL + _GAP) for index in range(2 if names else 1)]
        panels = [figure.add_axes((left / across, _BOTTOM / down, _PANEL / across, height / down)) for left in lefts]
        _paint_scores(panels[0], plane.xy, scores, flagged)
        if names:
            _paint_classes(panels[1], plane.xy, names, point=point)
            panels[1].set_title(f"by {formatting.text(latents.label, most=32)}", pad=6)
        for axes in panels:
            axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xlabel=plane.axes[0], ylabel=plane.axes[1])
            axes.locator_params(nbins=6)
            plain_numbers(axes.xaxis)
            plain_numbers(axes.yaxis)
            axes.grid()
        return _marks(panels[0], plane.xy, latents, kept, links or {})

    label = f"Latents of {formatting.count(len(kept))} rows in two dimensions"
    wide, tall = _LEFT + (2 if names else 1) * (_PANEL + _GAP), _BOTTOM + height + _TOP
    return draw(paint, name="latents", label=label, width=wide, height=tall)


def _marks(
    axes: "Axes", xy: np.ndarray, latents: LatentMap, kept: np.ndarray, links: Mapping[tuple[str, int], str]
) -> list[Mark]:
    """Return the marks of the rows with the highest scores, with their partitions."""
    scores = np.asarray(latents.scores)[kept]
    found = []
    for at in np.sort(np.argsort(-scores, kind="stable")[:MOST_MARKS]):
        place = None if latents.places is None else latents.places[kept[at]]
        row = "" if place is None else f", {formatting.text(place[0])}, row {formatting.count(place[1])}"
        text = f"score {formatting.number(float(scores[at]))}{row}"
        x, y = xy[at].tolist()
        found.append(Mark(axes, x, y, text, "" if place is None else links.get(place, "")))
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


def _paint_scores(axes: "Axes", xy: np.ndarray, scores: np.ndarray, flagged: np.ndarray) -> None:
    """Draw the points in nine colours, evenly spaced on the scale of the score, flagged rows on top."""
    scale = fitting_scale(scores)
    ends = scale.forward(np.quantile(scores, [0.02, 0.995]))
    if ends[1] <= ends[0]:
        ends = ends[0] + np.array([-0.5, 0.5])
    edges = scale.inverse(np.linspace(ends[0], ends[1], len(LEVELS) + 1))
    levels = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, len(LEVELS) - 1)
    factor = crowding(len(xy))
    for level, colour in enumerate(LEVELS):
        scatter_paths.dots(axes, xy[(levels == level) & ~flagged], colour=colour, width=3.6 * factor)
    scatter_paths.dots(axes, xy[flagged], colour=PALETTE["ink"], width=4.4 * factor + 2.0)
    for level, colour in enumerate(LEVELS):
        scatter_paths.dots(axes, xy[(levels == level) & flagged], colour=colour, width=4.4 * factor)
    _colour_key(axes, edges)
    axes.set_title("by score, flagged rows outlined" if flagged.any() else "by score", pad=6)


def _colour_key(axes: "Axes", edges: np.ndarray) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colorbar import Colorbar
    from matplotlib.colors import BoundaryNorm, ListedColormap

    place = axes.inset_axes((0.0, _below(axes, 50), 1.0, 8 / _points_high(axes)))
    mappable = ScalarMappable(BoundaryNorm(edges.tolist(), len(LEVELS)), ListedColormap(list(LEVELS)))
    bar = Colorbar(place, mappable, orientation="horizontal", spacing="uniform")
    bar.outline.set_visible(False)
    bar.set_ticks(edges[::3].tolist(), labels=formatting.ticks(edges[::3].tolist(), within=0.005))
    bar.set_label("score")


def _paint_classes(axes: "Axes", xy: np.ndarray, names: Sequence[str], *, point: float) -> None:
    labels = np.array(names)
    classes = sorted(set(names), key=lambda name: (name == _OTHER, name.zfill(12) if name.isdigit() else name))
    styles = dict(zip(classes, zip(CLASSES, scatter_paths.SHAPES, strict=True), strict=False))
    sizes = Counter(names)
    for name in sorted(classes, key=lambda name: -sizes[name]):  # the rarest on top
        colour, shape = styles[name]
        scatter_paths.shapes(axes, xy[labels == name], shape, colour=colour, point=point, factor=crowding(len(xy)))
    handles = [
        scatter_paths.handle(shape, colour=colour, label=f"{name} ({formatting.count(sizes[name])})")
        for name, (colour, shape) in styles.items()
    ]
    columns = 5 if max(map(len, classes)) <= 4 else 3
    place = (0.5, _below(axes, 32))
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=place, ncols=columns, columnspacing=1.0)


def _points_high(axes: "Axes") -> float:
    return float(axes.get_position().height * axes.figure.get_figheight() * POINTS_PER_INCH)  # type: ignore[union-attr]


def _below(axes: "Axes", points: float) -> float:
    """Return a position below the axes, in units of the axes."""
    return -points / _points_high(axes)
