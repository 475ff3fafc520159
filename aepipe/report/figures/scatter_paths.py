"""Scatter plots drawn as one path per colour: 30 bytes of SVG per point, adapts to light and dark, stays sharp."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D


class Shape(NamedTuple):
    """Marker: corners in points around its centre, (K, 2); filled, or a stroke of `width` with round caps."""

    marker: str  # matplotlib's name of the same marker, for the legend
    corners: tuple[tuple[float, float], ...]
    filled: bool = True
    width: float = 0.0


_DOT = Shape("o", ((0.0, 0.0), (0.0, 0.0)), filled=False, width=3.8)
SHAPES = (
    _DOT,
    Shape("s", ((-1.7, -1.7), (1.7, -1.7), (1.7, 1.7), (-1.7, 1.7))),
    Shape("^", ((-2.1, -1.5), (2.1, -1.5), (0.0, 2.3))),
    Shape("D", ((0.0, -2.4), (2.4, 0.0), (0.0, 2.4), (-2.4, 0.0))),
    Shape("v", ((-2.1, 1.5), (2.1, 1.5), (0.0, -2.3))),
    Shape("_", ((-2.4, 0.0), (2.4, 0.0)), filled=False, width=1.7),
    Shape("<", ((1.5, -2.1), (1.5, 2.1), (-2.3, 0.0))),
    Shape("|", ((0.0, -2.4), (0.0, 2.4)), filled=False, width=1.7),
    Shape(">", ((-1.5, -2.1), (-1.5, 2.1), (2.3, 0.0))),
    Shape("d", ((0.0, -2.8), (1.5, 0.0), (0.0, 2.8), (-1.5, 0.0))),
)


def dots(axes: "Axes", xy: np.ndarray, *, colour: str, width: float) -> None:
    """Draw round dots of `width` points at xy (N, 2)."""
    shapes(axes, xy, _DOT._replace(width=width), colour=colour, point=0.0)


def shapes(axes: "Axes", xy: np.ndarray, shape: Shape, *, colour: str, point: float, factor: float = 1.0) -> None:
    """Draw a marker at each of xy (N, 2).

    Args:
        axes: the axes to draw on.
        xy: positions, (N, 2).
        shape: the marker.
        colour: fill or stroke colour.
        point: length of a point in the units of the axes.
        factor: scale of the marker.
    """
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    if not len(xy):
        return
    corners = (xy[:, None, :] + np.array(shape.corners) * (point * factor)).reshape(-1, 2)
    codes = np.tile([Path.MOVETO] + [Path.LINETO] * (len(shape.corners) - 1), len(xy))
    path = Path(corners, codes)
    path.should_simplify = False  # simplification drops zero-length strokes, which are visible with round caps
    face, edge = (colour, "none") if shape.filled else ("none", colour)
    # add_patch would measure every marker, to set limits that the caller sets
    axes.add_artist(PathPatch(path, facecolor=face, edgecolor=edge, linewidth=shape.width * factor, capstyle="round"))


def handle(shape: Shape, *, colour: str, label: str) -> "Line2D":
    """Return the legend entry of a marker."""
    from matplotlib.lines import Line2D

    edge = 0.0 if shape.filled or shape == _DOT else 1.5
    return Line2D([], [], ls="none", marker=shape.marker, color=colour, markersize=4.6, mew=edge, label=label)
