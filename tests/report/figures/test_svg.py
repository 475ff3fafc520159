"""Figures as inline SVG."""

import io
import re
from xml.etree import ElementTree

import matplotlib
import pytest
from matplotlib.figure import Figure

from aepipe.report.figures.svg import PALETTE, _inline, _style, draw


def svg(paint, **changes) -> str:
    return draw(paint, **{"name": "test", "label": "A test", "width": 200, "height": 100, **changes})


def curve(figure) -> None:
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=PALETTE["current"], label="a")
    axes.legend()


def test_drawing_is_well_formed_and_carries_no_namespace_or_metadata():
    root = ElementTree.fromstring(svg(curve))

    assert root.tag == "svg"
    assert root.attrib["viewBox"] == "0 0 200 100"
    assert root.attrib["role"] == "img"
    assert "xmlns" not in svg(curve)
    assert not list(root.iter("metadata"))
    assert not list(root.iter("style"))


def test_layout_is_that_of_a_saved_figure():
    with _style("test"):
        figure, file = Figure(figsize=(200 / 72, 100 / 72), layout="constrained"), io.BytesIO()
        curve(figure)
        figure.savefig(file, format="svg", dpi=170)

    assert svg(curve) == _inline(file.getvalue(), name="test", label="A test")


def test_every_colour_is_a_css_variable():
    drawn = svg(curve)

    assert "var(--current)" in drawn
    assert not re.search(r"(fill|stroke): #(?!fff)", drawn)


def test_text_stays_text_without_a_font_family():
    drawn = svg(lambda figure: figure.text(0.5, 0.5, '$x$ < & "y"', weight="bold"))

    assert ElementTree.fromstring(drawn).findtext(".//text") == '$x$ < & "y"'
    assert "DejaVu" not in drawn


def test_two_drawings_have_distinct_ids():
    first, second = (set(re.findall(r' id="([^"]+)"', svg(curve, name=name))) for name in ("a", "b"))

    assert first
    assert not first & second


def test_user_settings_have_no_effect_and_are_preserved():
    before = svg(curve)
    with matplotlib.rc_context({"axes.facecolor": "red", "font.size": 40, "text.usetex": True, "svg.fonttype": "path"}):
        settings = dict(matplotlib.rcParams)

        assert svg(curve) == before
        assert dict(matplotlib.rcParams) == settings


def test_letters_that_matplotlib_cannot_draw_raise_no_warning():
    assert "\N{CJK UNIFIED IDEOGRAPH-6F22}" in svg(lambda figure: figure.text(0, 0, "\N{CJK UNIFIED IDEOGRAPH-6F22}"))


@pytest.mark.parametrize("label", ['"><script>', "a & b"])
def test_label_is_escaped(label):
    assert ElementTree.fromstring(svg(curve, label=label)).attrib["aria-label"] == label
