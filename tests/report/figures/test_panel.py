"""Plots that are written as SVG without matplotlib."""

import json
import re
import warnings
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from matplotlib.ticker import MaxNLocator

from aepipe.report.figures.histogram_bins import Scale
from aepipe.report.figures.panel import Axis, Panel, Stroke, align, drawing, even_ticks, numbered, short, text_width
from aepipe.report.figures.svg import PALETTE
from aepipe.report.pointer import Mark

LOG = Scale("log", np.log10, lambda places: 10.0**places)


def panel(**changes) -> Panel:
    made = Panel(Axis(0, 10), Axis(0, 1))
    made.box = (20.0, 20.0, 180.0, 80.0)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def draw(*panels: Panel, **changes) -> str:
    return drawing(panels, **{"name": "test", "label": "A test", "width": 200, "height": 100, **changes})


def paths(svg: str, style: str) -> list[list[float]]:
    """Return the numbers of each path whose style has a part."""
    found = [each for each in ElementTree.fromstring(svg).iter("path") if style in each.attrib["style"]]
    return [[float(word) for word in re.findall(r"-?[\d.]+", each.attrib["d"])] for each in found]


def test_values_are_drawn_at_their_places_and_marks_too() -> None:
    chart = panel()
    chart.line([0, 5, 10], [0, 1, 0.5], Stroke(PALETTE["current"]))
    marks = [Mark(chart, 0, 0, "<low>", "#row-1"), Mark(chart, 10, 1, "high")]

    svg = draw(chart, marks=marks)

    assert paths(svg, "var(--current)") == [[20, 80, 100, 20, 180, 50]]
    found = json.loads(ElementTree.fromstring(svg).attrib["data-marks"])
    assert found == [[20.0, 80.0, "<low>", "#row-1"], [180.0, 20.0, "high", ""]]


def test_values_lie_on_the_scale_of_an_axis() -> None:
    chart = panel(x=Axis(1, 100, LOG))

    assert chart.at([1, 10, 100], 0.5).tolist() == [[20, 50], [100, 50], [180, 50]]


def test_a_histogram_is_drawn_from_edge_to_edge_down_to_zero() -> None:
    chart = panel()
    chart.stairs(np.array([0.5, 1.0]), np.array([0.0, 5.0, 10.0]), Stroke(PALETTE["current"]))
    chart.area(np.array([0.5]), np.array([0.0, 5.0]), colour=PALETTE["flag"], opacity=0.5)

    svg = draw(chart)

    outline = [20, 80, 20, 50, 100, 50, 100, 20, 180, 20, 180, 80]
    assert paths(svg, "var(--current)") == [outline]
    assert paths(svg, "var(--flag)") == [[20, 80, 20, 50, 100, 50, 100, 80]]


def test_bars_stand_on_zero() -> None:
    chart = panel()
    chart.bars([2.5, 7.5], [0.5, 1.0], width=2.5, colour=PALETTE["current"], opacity=1)

    assert paths(draw(chart), "var(--current)") == [
        [40, 80, 40, 50, 80, 50, 80, 80, 120, 80, 120, 20, 160, 20, 160, 80]
    ]


def test_values_that_are_not_finite_break_a_line() -> None:
    chart = panel()
    chart.line([0, 1, 2, 3, 4], [0, np.nan, 0, 0, np.inf], Stroke(PALETTE["current"]))

    assert draw(chart).count("M ", draw(chart).index("var(--current)") - 80) >= 2


def test_drawing_is_well_formed_and_escapes_every_text() -> None:
    evil = '"><script>&'
    chart = panel(title=evil)
    chart.x = Axis(0, 10, ticks=[5], names=[evil], label=evil)
    chart.y = Axis(0, 1, ticks=[1], names=[evil], label=evil)
    chart.line([0], [0], Stroke(PALETTE["current"]), label=evil)
    chart.fit(0, 0, 200, 100)

    root = ElementTree.fromstring(draw(chart, label=evil, marks=[Mark(chart, 0, 0, evil)]))

    assert root.attrib["viewBox"] == "0 0 200 100"
    assert (root.attrib["role"], root.attrib["aria-label"]) == ("img", evil)
    assert [each.text for each in root.iter("text")] == [evil] * 6
    assert not list(root.iter("script"))


def test_two_drawings_have_distinct_ids() -> None:
    first, second = (set(re.findall(r' id="([^"]+)"', draw(panel(), panel(), name=name))) for name in ("a", "b"))

    assert len(first) == len(second) == 2
    assert not first & second


def test_a_legend_that_is_too_wide_takes_more_lines_above_the_plot() -> None:
    few, many = panel(), panel()
    for chart, entries in ((few, 1), (many, 5)):
        for at in range(entries):
            chart.line([0], [0], Stroke(PALETTE["current"]), label=f"a long label, {at}")
        chart.fit(0, 0, 200, 100)

    tops = [
        re.findall(r'<text style="font-size: 8.5px; text-anchor: start[^>]*y="([\d.]+)"', draw(c)) for c in (few, many)
    ]

    assert few.box[1] < many.box[1]
    assert len(set(tops[1])) > 1
    assert max(map(float, tops[1])) < many.box[1]


def test_labels_have_room_left_of_and_below_the_plot() -> None:
    chart = Panel(numbered(LOG, 1, 100, label="x"), Axis(0, 1e6, label="y").with_numbers([0, 1_000_000]))

    chart.fit(0, 0, 200, 100)

    left, _, right, bottom = chart.box
    assert left > text_width("1,000,000", 8.5) + 10
    assert right < 200
    assert bottom < 75


@pytest.mark.parametrize("ticks", [[0, 10], [9.5], [0.5], [5]])
def test_names_of_ticks_end_within_their_part_of_the_figure(ticks: list[float]) -> None:
    chart = Panel(Axis(0, 10, ticks=ticks, names=["1,200,000"] * len(ticks)), Axis(0, 1))

    chart.fit(50, 0, 150, 100)

    half = text_width("1,200,000", 8.5) / 2
    places = chart.at(ticks, 0)[:, 0]
    assert (places - half >= 50 - 1e-9).all()
    assert (places + half <= 150 + 1e-9).all()


def test_aligned_panels_share_their_left_edge() -> None:
    first, second = panel(), panel(box=(40.0, 0.0, 180.0, 80.0))

    align([first, second])

    assert first.box[0] == second.box[0] == 40


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(3, 9))
@example(1e-5, 1e-5, 4)
@example(0.5, 750_000.5, 3)
@example(128.0, 0.8, 8)
def test_ticks_have_the_smallest_round_step_that_keeps_to_their_number(low: float, span: float, most: int) -> None:
    high = low + span
    rounding = 1e-6 * (high - low) + np.spacing(max(abs(low), abs(high)))
    if high - low < 1e-9 * abs(low):
        return

    found = even_ticks(low, high, most=most)

    round_steps = np.sort(np.outer([1, 2, 2.5, 5], 10.0 ** np.arange(-10, 8)).ravel())
    steps = round_steps[(high - low) / round_steps <= most * (1 + 1e-6)]
    assert len(found) <= most + 1
    assert len(found) >= np.floor((high - low) / steps[1] * (1 - 1e-6))
    assert all(low - rounding <= each <= high + rounding for each in found)
    between = np.diff(found)
    assert any(np.abs(between - step).max(initial=0) <= 1e-6 * step + 4 * rounding for step in steps[:2])


def test_there_are_about_as_many_ticks_as_matplotlib_draws() -> None:
    random = np.random.default_rng(0)
    for _ in range(300):
        low, most = random.uniform(-1e6, 1e6), int(random.integers(3, 10))
        high = low + 10 ** random.uniform(-3, 6)

        found = even_ticks(low, high, most=most)

        theirs = MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
        assert abs(len(found) - sum((low <= theirs) & (theirs <= high))) <= 2


@pytest.mark.parametrize(("low", "high"), [(0.5, 1.5), (0.9, 40.2), (0, 3_000)])
def test_ticks_of_whole_numbers_are_whole(low: float, high: float) -> None:
    found = even_ticks(low, high, most=7, is_whole=True)

    assert found
    assert all(each % 1 == 0 for each in found)
    assert len(found) <= 8


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (np.nan, 1.0), (0.0, np.inf)])
def test_a_range_without_a_length_has_one_tick(low: float, high: float) -> None:
    assert len(even_ticks(low, high)) == 1


def test_no_tick_is_minus_zero() -> None:
    assert str(even_ticks(-0.4, 1.0)[0]) != "-0.0"
    assert "-0.0" not in map(str, even_ticks(-0.1, 1.0))


@given(st.floats(-1e9, 1e9))
def test_coordinates_are_short_and_right_to_a_hundredth(value: float) -> None:
    assert float(short(value)) == pytest.approx(value, abs=0.0051)
    assert not short(value).endswith(".")


def test_empty_shapes_are_left_out_without_a_warning() -> None:
    chart = panel()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chart.bars([], [], width=1, colour=PALETTE["ink"], opacity=1)
        chart.spans([], [], [], Stroke(PALETTE["ink"]))
        chart.dots([], [], colour=PALETTE["ink"], width=1)
        svg = draw(chart)

    assert 'd=""' not in svg
