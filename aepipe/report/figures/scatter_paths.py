"""Scatter plots drawn as one path per colour: 20 bytes of SVG per point, adapts to light and dark, stays sharp."""

from typing import NamedTuple

import numpy as np

from aepipe.report.figures.panel import Panel, Stroke, path
from aepipe.report.figures.svg import css


class Shape(NamedTuple):
    """Marker: corners in points around its centre, up is positive, (K, 2); filled, or a stroke of `width`."""

    corners: tuple[tuple[float, float], ...]
    filled: bool = True
    width: float = 0.0


_DOT = Shape(((0.0, 0.0), (0.0, 0.0)), filled=False, width=3.8)
SHAPES = (
    _DOT,
    Shape(((-1.7, -1.7), (1.7, -1.7), (1.7, 1.7), (-1.7, 1.7))),
    Shape(((-2.1, -1.5), (2.1, -1.5), (0.0, 2.3))),
    Shape(((0.0, -2.4), (2.4, 0.0), (0.0, 2.4), (-2.4, 0.0))),
    Shape(((-2.1, 1.5), (2.1, 1.5), (0.0, -2.3))),
    Shape(((-2.4, 0.0), (2.4, 0.0)), filled=False, width=1.7),
    Shape(((1.5, -2.1), (1.5, 2.1), (-2.3, 0.0))),
    Shape(((0.0, -2.4), (0.0, 2.4)), filled=False, width=1.7),
    Shape(((-1.5, -2.1), (-1.5, 2.1), (2.3, 0.0))),
    Shape(((0.0, -2.8), (1.5, 0.0), (0.0, 2.8), (-1.5, 0.0))),
)


def dots(panel: Panel, xy: np.ndarray, *, colour: str, width: float) -> None:
    """Draw round dots of `width` points at xy (N, 2)."""
    shapes(panel, xy, _DOT._replace(width=width), colour=colour)


def shapes(panel: Panel, xy: np.ndarray, shape: Shape, *, colour: str, factor: float = 1.0) -> None:
    """Draw a marker at each of xy (N, 2).

    Args:
        panel: the panel to draw on.
        xy: positions, (N, 2).
        shape: the marker.
        colour: fill or stroke colour.
        factor: scale of the marker.
    """
    if len(xy):
        panel.shapes(lambda: marker(panel.at(xy[:, 0], xy[:, 1]), shape, colour=colour, factor=factor))


def marker(points: np.ndarray, shape: Shape, *, colour: str, factor: float = 1.0) -> str:
    """Return the path of a marker at points of the figure, (N, 2)."""
    if shape.filled:
        style = f"fill: {css(colour)}"
    else:
        style = Stroke(colour, shape.width * factor).style + "; stroke-linecap: round"
    corners = points[:, None, :] + np.array(shape.corners) * (factor, -factor)
    return path(list(corners), style, digits=1)
