"""One plot of a figure as inline SVG: axes, ticks, legend, lines and bars, written without matplotlib.

matplotlib takes half a second to import, and a tenth and more per figure.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aepipe.report import formatting
from aepipe.report.figures.histogram_bins import LINEAR, Scale, round_ticks
from aepipe.report.figures.svg import PALETTE, css
from aepipe.report.pointer import Mark, place_marks

TICK_SIZE, LABEL_SIZE, TITLE_SIZE = 8.5, 9.0, 9.5
DASHES = (4.0, 3.0)
_NARROW, _WIDE, _IDEOGRAPHS = "ijltfr.,:;'|!()[] \N{NO-BREAK SPACE}", "%mwMW@", 0x2E80
_LINE_HEIGHT, _HANDLE, _GAP, _ROOM = 12.0, 12.0, 7.0, 3.0

Points = NDArray[np.float64]


@dataclass
class Axis:
    """Range of an axis, its ticks and its label; `low` and `high` are values, not places on the scale."""

    low: float
    high: float
    scale: Scale = LINEAR
    ticks: Sequence[float] = ()
    names: Sequence[str] = ()
    label: str = ""
    has_grid: bool = False
    size: float = TICK_SIZE
    """of the names of the ticks, in points"""

    def share(self, values: ArrayLike) -> Points:
        """Return the places of values on the axis, 0 at the low end and 1 at the high one."""
        low, high = (float(self.scale.forward(np.array(end))) for end in (self.low, self.high))
        places = np.asarray(self.scale.forward(np.asarray(values, np.float64)), np.float64)
        return (places - low) / (high - low if high != low else 1.0)

    def with_numbers(self, ticks: Sequence[float]) -> "Axis":
        """Set ticks with the digits that distinguish them, and return the axis."""
        self.ticks, self.names = ticks, formatting.ticks(ticks)
        return self

    def with_percentages(self, ticks: Sequence[float]) -> "Axis":
        """Set ticks as percentages, and return the axis."""
        self.ticks, self.names = ticks, [formatting.percent(tick, trim=True) for tick in ticks]
        return self


class Stroke(NamedTuple):
    """Colour, width in points and dashes of a line."""

    colour: str
    width: float = 1.0
    dashes: tuple[float, ...] = ()

    @property
    def style(self) -> str:
        """Style attribute of a path."""
        dashes = ",".join(short(self.width * each) for each in self.dashes)
        return (
            f"fill: none; stroke: {css(self.colour)}; stroke-width: {short(self.width)}"
            f"{f'; stroke-dasharray: {dashes}' if dashes else ''}"
        )


@dataclass
class Panel:
    """Plot with an x and a y axis. Shapes are drawn in order, when the place of the panel is known."""

    x: Axis
    y: Axis
    columns: int = 4
    """entries of the legend in one line"""
    title: str = ""
    title_style: str = f"font-weight: bold; font-size: {TITLE_SIZE}px"
    box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    """left, top, right and bottom of the plot, in points"""
    _shapes: list[Callable[[], str]] = field(default_factory=list)
    _over: list[Callable[[], str]] = field(default_factory=list)
    """drawn last, and not cut off at the edge of the plot"""
    _legend: list[tuple[str, str]] = field(default_factory=list)

    def at(self, x: ArrayLike, y: ArrayLike) -> Points:
        """Return points of the figure, (N, 2), by values."""
        left, top, right, bottom = self.box
        across = left + (right - left) * self.x.share(x)
        return np.stack(np.broadcast_arrays(across, bottom - (bottom - top) * self.y.share(y)), axis=-1)

    def line(self, x: ArrayLike, y: ArrayLike, stroke: Stroke, *, label: str = "", drawn: str = "") -> None:
        """Draw a line; values that are not finite break it. `drawn`: further style."""
        self._shapes.append(lambda: path(_segments(self.at(x, y)), stroke.style + drawn))
        self._name(label, path(_HANDLE_LINE, stroke.style))

    def stairs(self, heights: Points, edges: Points, stroke: Stroke, *, label: str = "") -> None:
        """Draw the outline of a histogram."""
        self._shapes.append(lambda: path([self._steps(heights, edges)], stroke.style))
        self._name(label, path(_HANDLE_LINE, stroke.style))

    def area(self, heights: Points, edges: Points, *, colour: str, opacity: float, label: str = "") -> None:
        """Fill a histogram."""
        style = f"fill: {css(colour)}; opacity: {short(opacity)}"
        self._shapes.append(lambda: path([self._steps(heights, edges)], style, is_closed=True))
        self._name(label, path([_HANDLE_BOX], style, is_closed=True))

    def bars(
        self, x: ArrayLike, heights: ArrayLike, *, width: float, colour: str, opacity: float, label: str = ""
    ) -> None:
        """Draw bars from 0."""
        style = f"fill: {css(colour)}; opacity: {short(opacity)}"
        middle, tops = np.asarray(x, np.float64), np.asarray(heights, np.float64)
        sides = [(-width / 2, 0 * tops), (-width / 2, tops), (width / 2, tops), (width / 2, 0 * tops)]

        def shape() -> str:
            corners = np.stack([self.at(middle + side, high) for side, high in sides], axis=1)
            return path(list(corners), style, is_closed=True) if len(corners) else ""

        self._shapes.append(shape)
        self._name(label, path([_HANDLE_BOX], style, is_closed=True))

    def spans(self, x: ArrayLike, low: ArrayLike, high: ArrayLike, stroke: Stroke) -> None:
        """Draw vertical lines from low to high."""
        self._shapes.append(lambda: path(list(np.stack([self.at(x, low), self.at(x, high)], axis=1)), stroke.style))

    def level(self, y: float, stroke: Stroke, *, label: str = "") -> None:
        """Draw a horizontal line through the plot."""
        self.line([self.x.low, self.x.high], [y, y], stroke, label=label)

    def moment(self, x: float, stroke: Stroke, *, label: str = "") -> None:
        """Draw a vertical line through the plot."""
        self.line([x, x], [self.y.low, self.y.high], stroke, label=label)

    def dots(self, x: ArrayLike, y: ArrayLike, *, colour: str, width: float, label: str = "") -> None:
        """Draw round dots, `width` points wide."""
        style = Stroke(colour, width).style + "; stroke-linecap: round"
        self._shapes.append(lambda: path(list(self.at(x, y)[:, None].repeat(2, axis=1)), style))
        self._name(label, path([np.full((2, 2), (_HANDLE / 2, -_ROOM))], style))

    def crosses(self, x: ArrayLike, y: ArrayLike, *, colour: str, label: str = "") -> None:
        """Draw crosses."""
        style, arms = Stroke(colour, 1.8).style, np.array([[(-3, -3), (3, 3)], [(-3, 3), (3, -3)]], np.float64)

        def shape() -> str:
            return path(list((self.at(x, y)[:, None, None] + arms).reshape(-1, 2, 2)), style)

        self._over.append(shape)
        self._name(label, path(list(arms + np.array([_HANDLE / 2, -_ROOM])), style))

    def shapes(self, draw: Callable[[], str]) -> None:
        """Draw what a function returns when the place of the panel is known."""
        self._shapes.append(draw)

    def _name(self, label: str, handle: str) -> None:
        if label:
            self._legend.append((label, handle))

    def _steps(self, heights: Points, edges: Points) -> Points:
        """Return the outline of a histogram down to 0 at both ends, as points of the figure."""
        x = np.repeat(np.asarray(edges, np.float64), 2)
        y = np.concatenate([[0.0], np.repeat(np.asarray(heights, np.float64), 2), [0.0]])
        return self.at(x, y)

    def fit(self, left: float, top: float, right: float, bottom: float) -> None:
        """Place the plot so that it fills a part of the figure together with its labels, title and legend."""
        widest = max((text_width(name, self.y.size) for name in self.y.names), default=0.0)
        inside = left + _ROOM + (LABEL_SIZE + 5.0 if self.y.label else 0.0) + (widest + 3.5 if widest else 0.0)
        inside, outside = self._room_for_names(left, inside, right - _ROOM, right)
        self.box = (inside, top, outside, bottom)  # the width decides how many lines the legend has
        above = _LINE_HEIGHT * len(self._legend_lines()) + (16.0 if self.title else 0.0) + _ROOM
        below = (15.0 if self.x.names else 0.0) + (13.0 if self.x.label else 0.0) + _ROOM
        self.box = (inside, top + above, outside, bottom - below)

    def _room_for_names(self, left: float, inside: float, outside: float, right: float) -> tuple[float, float]:
        """Return the sides of the plot, moved inwards so that no name of a tick ends beyond the part of the figure."""
        shares = self.x.share(self.x.ticks).tolist()
        halves = [text_width(name, self.x.size) / 2 + 1.0 for name in self.x.names]
        named = list(zip(shares, halves, strict=True)) if halves else []
        for share, half in (each for each in named if each[0] < 1):
            inside = max(inside, (left + half - outside * share) / (1 - share))
        for share, half in (each for each in named if each[0] > 0):
            outside = min(outside, inside + (right - half - inside) / share)
        return inside, outside

    def svg(self, clip: str) -> str:
        """Return the elements of the panel; its plot is clipped by an element with this id."""
        left, top, right, bottom = self.box
        frame = (
            f'<rect x="{short(left)}" y="{short(top)}" width="{short(right - left)}" height="{short(bottom - top)}"/>'
        )
        shapes = "".join(shape() for shape in self._shapes)
        return (
            f'<clipPath id="{clip}">{frame}</clipPath>{self._grid()}<g clip-path="url(#{clip})">{shapes}</g>'
            f"{self._axes()}{''.join(shape() for shape in self._over)}{self.keys()}"
        )

    def _grid(self) -> str:
        left, top, right, bottom = self.box
        lines = []
        if self.x.has_grid:
            lines += [np.array([(x, top), (x, bottom)]) for x in self._tick_places()[0]]
        if self.y.has_grid:
            lines += [np.array([(left, y), (right, y)]) for y in self._tick_places()[1]]
        return path(lines, Stroke(PALETTE["line"], 0.6).style) if lines else ""

    def _tick_places(self) -> tuple[list[float], list[float]]:
        left, top, right, bottom = self.box
        x, y = self.x.share(self.x.ticks), self.y.share(self.y.ticks)
        return (left + (right - left) * x).tolist(), (bottom - (bottom - top) * y).tolist()

    def _axes(self) -> str:
        """Return spines, ticks, labels and the title."""
        left, top, right, bottom = self.box
        across, down = self._tick_places()
        grey = PALETTE["muted"]
        found = [
            text(name, x, bottom + 13.0, size=self.x.size, colour=grey)
            for name, x in zip(self.x.names, across, strict=True)
        ]
        found += [
            text(name, left - 3.5, y + 3.2, size=self.y.size, anchor="end", colour=grey)
            for name, y in zip(self.y.names, down, strict=True)
        ]
        lines = [np.array([(left, bottom), (right, bottom)])]
        lines += [np.array([(left, top), (left, bottom)])] if self.y.names else []
        lines += [np.array([(x, bottom), (x, bottom + 3.0)]) for x in across]
        found.append(path(lines, Stroke(grey, 0.8).style) if lines else "")
        if self.x.label:
            found.append(text(self.x.label, (left + right) / 2, bottom + 26.0, size=LABEL_SIZE, colour=grey))
        if self.y.label:
            widest = max((text_width(name, self.y.size) for name in self.y.names), default=0.0)
            place = (left - widest - 8.5, (top + bottom) / 2)
            found.append(text(self.y.label, *place, size=LABEL_SIZE, colour=grey, is_upright=True))
        if self.title:
            place = (left, top - 6.0 - _LINE_HEIGHT * len(self._legend_lines()))
            found.append(text(self.title, *place, anchor="start", style=self.title_style))
        return "".join(found)

    def _legend_lines(self) -> list[list[tuple[str, str]]]:
        return wrapped(self._legend, width=self.box[2] - self.box[0], columns=self.columns)

    def keys(self) -> str:
        """Return the legend, above the plot."""
        lines = self._legend_lines()
        last = self.box[1] - 4.5
        return "".join(
            keys(line, self.box[0] + _ROOM, last - _LINE_HEIGHT * (len(lines) - 1 - at))
            for at, line in enumerate(lines)
        )


_HANDLE_LINE = [np.array([(0.0, -_ROOM), (_HANDLE, -_ROOM)])]
_HANDLE_BOX = np.array([(0.0, 0.0), (0.0, -6.0), (_HANDLE, -6.0), (_HANDLE, 0.0)])


def wrapped(entries: Sequence[tuple[str, str]], *, width: float, columns: int) -> list[list[tuple[str, str]]]:
    """Break the entries of a legend, (label, handle), into lines of a width and a number of columns.

    >>> [len(line) for line in wrapped([("a" * 10, "")] * 5, width=200.0, columns=4)]
    [2, 2, 1]
    """
    lines: list[list[tuple[str, str]]] = []
    room = 0.0
    for entry in entries:
        needed = entry_width(entry[0])
        if not lines or len(lines[-1]) == columns or needed > room:
            lines.append([])
            room = width
        lines[-1].append(entry)
        room -= needed
    return lines


def keys(entries: Iterable[tuple[str, str]], left: float, bottom: float) -> str:
    """Return one line of a legend whose texts stand on `bottom`."""
    found = []
    for label, handle in entries:
        found.append(f'<g transform="translate({short(left)} {short(bottom)})">{handle}</g>')
        found.append(text(label, left + _HANDLE + _GAP, bottom, anchor="start"))
        left += entry_width(label)
    return "".join(found)


def entry_width(label: str) -> float:
    """Return the width of an entry of a legend with the space behind it, in points."""
    return _HANDLE + _GAP + text_width(label, TICK_SIZE) + 2 * _GAP


def text_width(shown: str, size: float) -> float:
    """Return roughly how wide a text is in the page's font, in points.

    >>> round(text_width("score", 9.0), 1)
    26.0
    """
    return size * sum(map(_letter_width, shown))


def _letter_width(letter: str) -> float:
    if letter in _NARROW:
        return 0.33
    return 0.95 if letter in _WIDE or ord(letter) >= _IDEOGRAPHS else 0.64


def text(
    shown: str,
    x: float,
    y: float,
    *,
    size: float = TICK_SIZE,
    anchor: str = "middle",
    colour: str = PALETTE["ink"],
    style: str = "",
    is_upright: bool = False,
) -> str:
    """Return a text element at a point of the figure; `style` replaces its size."""
    turned = f' transform="rotate(-90 {short(x)} {short(y)})"' if is_upright else ""
    style = f"{style or f'font-size: {short(size)}px'}; text-anchor: {anchor}; fill: {css(colour)}"
    return f'<text style="{style}" x="{short(x)}" y="{short(y)}"{turned}>{escape(shown, quote=False)}</text>'


def path(lines: Sequence[Points], style: str, *, is_closed: bool = False, digits: int = 2) -> str:
    """Return a path of several lines, each (N, 2) points of the figure."""
    end = "z" if is_closed else ""
    words = " ".join(
        "M " + " ".join(short(value, digits) for value in line.ravel().tolist()) + end for line in lines if len(line)
    )
    return f'<path d="{words}" style="{style}"/>' if words else ""


def short(value: float, digits: int = 2) -> str:
    """Format a coordinate.

    >>> short(12.0), short(-0.004), short(3.14159)
    ('12', '0', '3.14')
    """
    shown = f"{value:.{digits}f}"
    shown = shown.rstrip("0").rstrip(".") if "." in shown else shown
    return "0" if shown == "-0" else shown


def even_ticks(low: float, high: float, *, most: int = 9, is_whole: bool = False) -> list[float]:
    """Choose multiples of 1, 2, 2.5 or 5 times a power of ten, with at most `most` steps; is_whole: of whole numbers.

    >>> even_ticks(0.0, 1.05, most=5), even_ticks(0.6, 3.4, is_whole=True)
    ([0.0, 0.25, 0.5, 0.75, 1.0], [1.0, 2.0, 3.0])
    """
    least = (high - low) / most
    if not (np.isfinite(least) and least > 0):
        return [low]
    power = 10.0 ** np.floor(np.log10(least))
    steps = [power * each for each in (1.0, 2.0, 2.5, 5.0, 10.0) if power * each >= least * (1 - 1e-9)]
    step = next((each for each in (1.0, *steps) if each >= least and each % 1 == 0), 1.0) if is_whole else steps[0]
    first, last = np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9)
    return [float(step * at + 0.0) for at in np.arange(first, last + 1)]  # + 0.0: no tick is -0


def numbered(scale: Scale, low: float, high: float, *, most: int = 9, label: str = "") -> Axis:
    """Return an axis with round, roughly evenly spaced ticks."""
    ticks = even_ticks(low, high, most=most) if scale.name == LINEAR.name else round_ticks(scale, low, high, most=most)
    return Axis(low, high, scale, label=label).with_numbers(ticks)


def drawing(
    panels: Sequence[Panel],
    *,
    name: str,
    label: str,
    width: float,
    height: float,
    nearest: str = "xy",
    marks: Sequence[Mark] = (),
    more: str = "",
) -> str:
    """Return an `<svg>` element of panels that have their places.

    Args:
        panels: the panels.
        name: prefix of the ids; unique within a page.
        label: text for screen readers.
        width: width in points.
        height: height in points.
        nearest: "x" shows the mark of the nearest column, "xy" a mark close to the pointer.
        marks: marks that answer to the pointer.
        more: further elements.
    """
    content = "".join(panel.svg(f"{escape(name)}-{at}") for at, panel in enumerate(panels))
    placed = f' data-marks="{escape(place_marks(marks))}" data-nearest="{nearest}"' if marks else ""
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(label)}" style="--width: {width:g}"'
        f"{placed}>{content}{more}</svg>"
    )


def align(panels: Sequence[Panel]) -> None:
    """Give panels that stand one above the other the same left edge."""
    left = max(panel.box[0] for panel in panels)
    for panel in panels:
        panel.box = (left, *panel.box[1:])


def _segments(points: Points) -> list[Points]:
    """Split a line where it is not finite."""
    fine = np.isfinite(points).all(axis=1)
    cuts = np.flatnonzero(np.diff(fine.astype(np.int8))) + 1
    return [part for part in np.split(points, cuts) if len(part) and np.isfinite(part).all()]
