"""Latent traversals on the page."""

import numpy as np
import pytest

from aepipe.report import traversals
from aepipe.report.page_model import Traversal, TraversalLine
from aepipe.report.render import render
from aepipe.report.thumbnails import GALLERY_SIDE, picture


def pictures(strips: int, steps: int) -> Traversal:
    return Traversal(
        title="From 1 to 2",
        unit="share",
        strips=tuple(f"z_{index:03d}" for index in range(strips)),
        positions=np.tile(np.linspace(-0.333, 1, steps), (strips, 1)),
        images=np.random.default_rng(0).integers(0, 17, (strips, steps, 1, 8, 8), dtype=np.uint8),
        top=16,
    )


def test_strip_shows_its_images_in_order_with_positions():
    traversal = pictures(2, 3)

    (section,) = traversals.build_traversal_sections([traversal])

    assert [strip.name for strip in section.strips] == ["z_000", "z_001"]
    assert [caption for caption, _ in section.strips[1].pictures] == ["\N{MINUS SIGN}0.33", "0.33", "1"]
    assert section.strips[1].pictures[2][1] == picture(traversal.images[1, 2], 16, side=GALLERY_SIDE)
    assert section.figure is None


def test_first_strips_are_shown_and_the_rest_are_counted():
    (section,) = traversals.build_traversal_sections([pictures(40, 30)])

    assert len(section.strips) == traversals.MOST_STRIPS
    assert {len(strip.pictures) for strip in section.strips} == {traversals.MOST_STEPS}
    assert "24 more are omitted" in section.note


def test_numbers_are_drawn_and_every_line_lists_first_and_last_value():
    lines = (
        TraversalLine("1 to 2", "amount", (0.0, 0.5, 1.0), (1.0, 20.0, 3.0)),
        TraversalLine("1 to 2", "shop", (0.0, 0.5, 1.0), ("north", "north", "south")),
        TraversalLine("1 to 2", "paid", (0.0, 0.5, 1.0), (True, False, False)),
    )

    (section,) = traversals.build_traversal_sections([Traversal(title="From 1 to 2", unit="share", lines=lines)])

    assert section.figure is not None
    assert "amount" in section.figure
    assert "shop" not in section.figure
    assert section.lines == [
        ("1 to 2", "amount", "1.00", "3.00"),
        ("1 to 2", "shop", "north", "south"),
        ("1 to 2", "paid", "true", "false"),
    ]


@pytest.mark.parametrize("values", [(1.0,), (1.0, None), ("a", "b"), (True, False), ()])
def test_lines_with_other_values_than_numbers_are_not_drawn(values):
    assert not traversals.is_drawable(TraversalLine("", "", tuple(range(len(values))), values))


def test_images_of_a_traversal_are_on_the_page(pages):
    assert pages["images"].count('alt="step ') == 6
    assert "Latent traversals" in pages["images"]


def test_two_traversals_draw_two_figures_with_distinct_ids(make_page):
    line = TraversalLine("1 to 2", "amount", (0.0, 1.0), (1.0, 3.0))
    traversal = Traversal(title="From 1 to 2", unit="share", lines=(line,))

    page = render(make_page(traversals=(traversal, traversal)))

    assert page.count("Along the traversal: amount") == 2


def test_strips_and_images_need_equal_lengths():
    with pytest.raises(ValueError, match=r"Traversal\.images has the wrong length: expected 2 rows, got 1"):
        Traversal(title="", unit="", strips=("a", "b"), positions=np.zeros((2, 3)), images=np.zeros((1, 3, 1, 2, 2)))
