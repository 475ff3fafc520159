"""Latent traversals on the page: strips of images, or small charts of the columns that change most."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from markupsafe import Markup

from aepipe.report import formatting
from aepipe.report.figures.axes import plain_numbers
from aepipe.report.figures.svg import PALETTE, draw
from aepipe.report.page_model import Traversal, TraversalLine
from aepipe.report.thumbnails import GALLERY_SIDE, picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_STRIPS, MOST_STEPS = 16, 12
MOST_CHARTS, MOST_LINES = 8, 12
_ACROSS = 4


class PictureStrip(NamedTuple):
    """Named strip of images, each a (caption, data URL)."""

    name: str
    pictures: list[tuple[str, str]]


class TraversalSection(NamedTuple):
    """Texts and drawings of one traversal; `lines` are (strip, column, first value, last value)."""

    title: str
    note: str
    strips: list[PictureStrip]
    figure: Markup | None
    lines: list[tuple[str, str, str, str]]


def build_traversal_sections(traversals: Sequence[Traversal]) -> list[TraversalSection]:
    """Build the sections of the traversals, each of bounded size."""
    return [_build_section(traversal, index) for index, traversal in enumerate(traversals)]


def _build_section(traversal: Traversal, index: int) -> TraversalSection:
    charts = [line for line in traversal.lines if is_drawable(line)][:MOST_CHARTS]
    left_out = max(0, len(traversal.strips) - MOST_STRIPS) if traversal.images is not None else 0
    note = f"Below each picture, its {formatting.text(traversal.unit)}." if traversal.images is not None else ""
    return TraversalSection(
        title=formatting.text(traversal.title),
        note=note + (f" {formatting.count(left_out)} more are omitted." if left_out else ""),
        strips=_strips(traversal),
        figure=Markup(_figure(charts, unit=traversal.unit, name=f"traversal-{index}")) if charts else None,
        lines=[
            (
                formatting.text(line.strip, most=40),
                formatting.text(line.column, most=40),
                formatting.cell(line.values[0], most=24),
                formatting.cell(line.values[-1], most=24),
            )
            for line in traversal.lines[:MOST_LINES]
        ],
    )


def is_drawable(line: TraversalLine) -> bool:
    """Return whether a line can be drawn: at least two values, all numbers.

    >>> is_drawable(TraversalLine("z_000", "shop", (0.0, 1.0), ("north", "south")))
    False
    """
    numbers = [value for value in line.values if isinstance(value, int | float) and not isinstance(value, bool)]
    return len(numbers) == len(line.values) >= 2


def _strips(traversal: Traversal) -> list[PictureStrip]:
    if traversal.images is None or traversal.positions is None:
        return []
    strips = zip(traversal.strips, traversal.positions, traversal.images, strict=True)
    return [
        PictureStrip(
            formatting.text(name, most=40),
            [
                (
                    formatting.number(round(float(position), 2), trim=True),
                    picture(image, traversal.top, side=GALLERY_SIDE),
                )
                for position, image in list(zip(positions, images, strict=True))[:MOST_STEPS]
            ],
        )
        for name, positions, images in list(strips)[:MOST_STRIPS]
    ]


def _figure(lines: Sequence[TraversalLine], *, unit: str, name: str) -> str:
    """Draw one small chart per line."""
    rows = -(-len(lines) // _ACROSS)

    def paint(figure: "Figure") -> None:
        grid = figure.subplots(rows, _ACROSS, squeeze=False).ravel()
        for axes, line in zip(grid, lines, strict=False):
            values = [float(value) for value in line.values if isinstance(value, int | float)]
            axes.plot(line.positions, values, color=PALETTE["current"], linewidth=1.4, marker="o", markersize=2.6)
            axes.set_title(formatting.text(line.column, most=26), fontsize=8.5, fontweight="normal", pad=12)
            strip = formatting.text(line.strip, most=30)
            axes.text(0, 1.02, strip, transform=axes.transAxes, fontsize=7, color=PALETTE["muted"])
            axes.locator_params(nbins=4)
            plain_numbers(axes.xaxis)
            plain_numbers(axes.yaxis)
            axes.grid(axis="y")
        for axes in grid[len(lines) :]:
            axes.set_axis_off()
        figure.supxlabel(formatting.text(unit), fontsize=8.5, color=PALETTE["muted"])

    label = f"Along the traversal: {', '.join(formatting.text(line.column, most=40) for line in lines)}"
    return draw(paint, name=name, label=label, width=700, height=24 + 108 * rows)
