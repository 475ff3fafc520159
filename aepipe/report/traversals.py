"""Walks through the latents as the page prints them: strips of pictures, or small charts of what changes most."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from markupsafe import Markup

from aepipe.report import formatting as wording
from aepipe.report.figures.axes import plain_numbers
from aepipe.report.figures.svg import PALETTE, draw
from aepipe.report.page_model import Walk, WalkLine
from aepipe.report.thumbnails import GALLERY_SIDE, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_STRIPS, MOST_STEPS = 16, 12
MOST_CHARTS, MOST_LINES = 8, 12
_ACROSS = 4


class PictureStrip(NamedTuple):
    """A name, and pictures as (caption, data URL)."""

    name: str
    pictures: list[tuple[str, str]]


class ShownWalk(NamedTuple):
    """A walk as texts and drawings; `lines` are (strip, column, first value, last value)."""

    title: str
    note: str
    strips: list[PictureStrip]
    figure: Markup | None
    lines: list[tuple[str, str, str, str]]


def shown(walks: Sequence[Walk]) -> list[ShownWalk]:
    """Each walk, a bounded part of it."""
    return [_shown(walk, index) for index, walk in enumerate(walks)]


def _shown(walk: Walk, index: int) -> ShownWalk:
    charts = [line for line in walk.lines if is_drawable(line)][:MOST_CHARTS]
    left_out = max(0, len(walk.strips) - MOST_STRIPS) if walk.images is not None else 0
    note = f"Below each picture, its {wording.text(walk.unit)}." if walk.images is not None else ""
    return ShownWalk(
        title=wording.text(walk.title),
        note=note + (f" {wording.count(left_out)} more are left out here." if left_out else ""),
        strips=_strips(walk),
        figure=Markup(_figure(charts, unit=walk.unit, name=f"walk-{index}")) if charts else None,
        lines=[_line(line) for line in walk.lines[:MOST_LINES]],
    )


def is_drawable(line: WalkLine) -> bool:
    """Whether a chart can show it: at least two steps, all of them numbers.

    >>> is_drawable(WalkLine("z_000", "shop", (0.0, 1.0), ("north", "south")))
    False
    """
    numbers = [value for value in line.values if isinstance(value, int | float) and not isinstance(value, bool)]
    return len(numbers) == len(line.values) >= 2


def _strips(walk: Walk) -> list[PictureStrip]:
    if walk.images is None or walk.places is None:
        return []
    strips = zip(walk.strips, walk.places, walk.images, strict=True)
    return [
        PictureStrip(
            wording.text(name, most=40),
            [
                (wording.number(round(float(place), 2), trim=True), picture(image, walk.top, side=GALLERY_SIDE))
                for place, image in list(zip(places, images, strict=True))[:MOST_STEPS]
            ],
        )
        for name, places, images in list(strips)[:MOST_STRIPS]
    ]


def _line(line: WalkLine) -> tuple[str, str, str, str]:
    first, last = (wording.cell(line.values[at], most=24) for at in (0, -1))
    return wording.text(line.strip, most=40), wording.text(line.column, most=40), first, last


def _figure(lines: Sequence[WalkLine], *, unit: str, name: str) -> str:
    """A small chart a line."""
    rows = -(-len(lines) // _ACROSS)

    def paint(figure: "Figure") -> None:
        grid = figure.subplots(rows, _ACROSS, squeeze=False).ravel()
        for axes, line in zip(grid, lines, strict=False):
            _paint(axes, line)
        for axes in grid[len(lines) :]:
            axes.set_axis_off()
        figure.supxlabel(wording.text(unit), fontsize=8.5, color=PALETTE["muted"])

    label = f"Along the walk: {', '.join(wording.text(line.column, most=40) for line in lines)}"
    return draw(paint, name=name, label=label, width=700, height=24 + 108 * rows)


def _paint(axes: "Axes", line: WalkLine) -> None:
    values = [float(value) for value in line.values if isinstance(value, int | float)]
    axes.plot(line.places, values, color=PALETTE["night"], linewidth=1.4, marker="o", markersize=2.6)
    axes.set_title(wording.text(line.column, most=26), fontsize=8.5, fontweight="normal", pad=12)
    axes.text(0, 1.02, wording.text(line.strip, most=30), transform=axes.transAxes, fontsize=7, color=PALETTE["muted"])
    axes.locator_params(nbins=4)
    plain_numbers(axes.xaxis)
    plain_numbers(axes.yaxis)
    axes.grid(axis="y")
