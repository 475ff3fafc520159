"""Colours of the figures, and conversion of matplotlib figures to inline SVG in these colours."""

import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POINTS_PER_INCH = 72

# Every colour of a figure is one of these and becomes `var(--name)`, so that the style sheet can switch between light
# and dark. The colours differ in lightness and hue; blue and vermilion are from Okabe & Ito.
PALETTE = {
    "ink": "#1b1f24",
    "muted": "#5d6873",
    "line": "#d5dbe1",
    "paper": "#fefefe",
    "current": "#0072b2",
    "reference": "#93a1b0",
    "flag": "#d55e00",
}
LEVELS = ("#9db2c7", "#8f9fbd", "#8b89b0", "#92729f", "#a05c86", "#b04a66", "#bd4145", "#c64a22", "#cf5c00")
CLASSES = ("#0072b1", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e01", "#7a5cc0", "#8c6d31", "#5b7f2b", "#c44e70")
"""Colours of ten classes, starting with Okabe & Ito's; markers differ too."""
_VARIABLES = {
    **{colour: f"var(--{name})" for name, colour in PALETTE.items()},
    **{colour: f"var(--class-{index})" for index, colour in enumerate(CLASSES)},
}

_RC: dict[str, Any] = {
    "svg.fonttype": "none",  # text stays text: small, selectable, in the font of the page
    "text.parse_math": False,  # a column name may be $x$
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.0,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "legend.borderaxespad": 0.2,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "grid.linewidth": 0.6,
    "xtick.major.size": 3.0,
    "ytick.major.size": 0.0,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "text.color": PALETTE["ink"],
    "axes.labelcolor": PALETTE["muted"],
    "axes.edgecolor": PALETTE["muted"],
    "axes.titlecolor": PALETTE["ink"],
    "xtick.color": PALETTE["muted"],
    "ytick.color": PALETTE["muted"],
    "legend.labelcolor": PALETTE["ink"],
    "grid.color": PALETTE["line"],
}
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}
_OTHER_COMMANDS = re.compile("[^MLe0-9. \n-]")
_LONG_PATH = 4_000
_LONG_DECIMAL = re.compile(r"-?\d+\.\d{3,}")
_HEX = re.compile(r"#[0-9a-f]{6}")
_FONT_FAMILY = re.compile(r"\s*font-family:[^;]*;?|(?<=font:)(\s*(?:\w+\s)*[\d.]+px)[^;]*")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")


def css(colour: str) -> str:
    """Return the CSS variable of a colour of the palette, and other colours as they are.

    >>> css(PALETTE["ink"]), css("#9db2c7")
    ('var(--ink)', '#9db2c7')
    """
    return _VARIABLES.get(colour, colour)


def draw(
    paint: Callable[["Figure"], None],
    *,
    name: str,
    label: str,
    width: float,
    height: float,
) -> str:
    """Render the output of `paint` as an `<svg>` element, with deterministic bytes.

    Args:
        paint: draws on the given figure.
        name: prefix of the ids; unique within a page.
        label: text for screen readers.
        width: width in points.
        height: height in points.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with _style(name):
        figure = Figure(figsize=(width / POINTS_PER_INCH, height / POINTS_PER_INCH), layout="constrained")
        FigureCanvasSVG(figure)
        paint(figure)
        if figure.axes and (layout := figure.get_layout_engine()) is not None:
            layout.execute(figure)
            figure.set_layout_engine(None)  # savefig would draw the figure once more for it
        file = io.BytesIO()
        figure.savefig(file, format="svg", dpi=170, metadata=_NO_METADATA)
    return _inline(file.getvalue(), name=name, label=label)


@contextmanager
def _style(name: str) -> Iterator[None]:
    """Apply matplotlib's defaults and our settings, independent of the user's configuration."""
    import matplotlib

    with warnings.catch_warnings():
        # matplotlib measures a missing glyph as a box; the browser draws the text with its own fonts.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        warnings.filterwarnings("ignore", category=matplotlib.MatplotlibDeprecationWarning)
        defaults = {key: value for key, value in matplotlib.rcParamsDefault.items() if not key.startswith("backend")}
        settings: Any = {**defaults, **_RC, "svg.hashsalt": name}
        with matplotlib.rc_context(settings):
            yield


def _inline(svg: bytes, *, name: str, label: str) -> str:
    """Strip what inline SVG does not need: prologue, namespaces, unused ids, fonts."""
    root = ElementTree.fromstring(svg)  # noqa: S314  matplotlib has written it
    values = [value for element in root.iter() for value in element.attrib.values()]
    used = {value[1:] for value in values if value.startswith("#")}
    used |= {found for value in values for found in _REFERENCE.findall(value)}
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = {_local(key): value for key, value in element.attrib.items()}
        _tidy(element, used, prefix=f"{name}-")
    for parent in list(root.iter()):
        for child in [c for c in parent if c.tag in {"style", "metadata"} or (c.tag == "defs" and not len(c))]:
            parent.remove(child)
    box = root.attrib["viewBox"]
    root.attrib = {"viewBox": box, "role": "img", "aria-label": label, "style": f"--width: {float(box.split()[2]):g}"}
    return ElementTree.tostring(root, encoding="unicode")


def _tidy(element: ElementTree.Element, used: set[str], *, prefix: str) -> None:
    attributes = element.attrib
    identity = attributes.pop("id", None)
    if identity in used:
        attributes["id"] = f"{prefix}{identity}"
    if attributes.get("href", "").startswith("#"):
        attributes["href"] = f"#{prefix}{attributes['href'][1:]}"
    if "clip-path" in attributes:
        attributes["clip-path"] = _REFERENCE.sub(rf"url(#{prefix}\1)", attributes["clip-path"])
    if "style" in attributes:
        attributes["style"] = _HEX.sub(lambda match: css(match[0]), _FONT_FAMILY.sub(r"\1", attributes["style"]))
    for key in ("d", "x", "y", "transform", "width", "height"):
        if key in attributes:
            attributes[key] = _short(attributes[key])
    if element.tag != "text":
        element.text = element.text if (element.text or "").strip() else None
    element.tail = None


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _short(numbers: str) -> str:
    """Round numbers to hundredths of a point, or tenths in long paths (scatter plots)."""
    digits = 1 if len(numbers) > _LONG_PATH else 2
    rounded = _LONG_DECIMAL.sub(lambda match: f"{float(match[0]):.{digits}f}".rstrip("0").rstrip("."), numbers)
    words = rounded.split()
    # After M and L, numbers without a letter are lines.
    return " ".join(words if _OTHER_COMMANDS.search(rounded) else [word for word in words if word != "L"])
