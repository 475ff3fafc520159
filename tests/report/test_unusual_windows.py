"""Charts of the most unusual windows: values to positions, gaps, and the cards on the page."""

import re
from datetime import UTC, datetime

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from aepipe.jobs.report.series_data import MOST_WINDOWS, most_unusual_points
from aepipe.report.page_model import Header, ReportPage, Scores
from aepipe.report.render import render
from aepipe.report.unusual_windows import HEIGHT, MOST_CHANNELS, WIDTH, UnusualWindow, WindowChannel
from tests.report.test_series import _line


def _channel(name: str = "load", **changes: np.ndarray | None) -> WindowChannel:
    values = {"read": np.array([0.0, 4.0, 2.0]), "known": np.array([1.0, 1.0, 2.0])}
    return WindowChannel(name=name, **(values | changes))


def _window(**changes: object) -> UnusualWindow:
    values = {
        "entity": "pump <1>",
        "partition": "dt=2026-01-07",
        "first": "2026-01-07 10:00",
        "last": "2026-01-07 12:00",
        "score": 4.5,
        "p_value": 0.001,
        "flagged": True,
        "channels": (_channel(),),
        "main": (0.25, 0.5),
        "known": ("2026-01-03 10:00", "2026-01-03 12:00"),
        "distance": 1.25,
    }
    return UnusualWindow(**(values | changes))  # type: ignore[arg-type]


def _page(*windows: UnusualWindow) -> str:
    header = Header(job="machines", model_version="machines/1", created_at=datetime(2026, 1, 1, tzinfo=UTC))
    return render(ReportPage(header=header, series=(_line(),), windows=windows, scores=Scores(np.array([1.0]))))


def test_both_lines_share_one_scale() -> None:
    channel = _channel()

    assert channel.bounds == (0.0, 4.0)
    assert channel.path == f"M0.0 {HEIGHT:.1f} L{WIDTH / 2:.1f} 0.0 L{WIDTH:.1f} {HEIGHT / 2:.1f}"
    assert channel.known_path == (
        f"M0.0 {0.75 * HEIGHT:.1f} L{WIDTH / 2:.1f} {0.75 * HEIGHT:.1f} L{WIDTH:.1f} {HEIGHT / 2:.1f}"
    )


def test_a_missing_value_interrupts_the_line_and_a_constant_lies_in_the_middle() -> None:
    broken = _channel(read=np.array([np.nan, 1.0, np.nan, 3.0, 3.0]), known=None)
    constant = _channel(read=np.full(3, 7.0), known=None)

    assert re.findall("[ML]", broken.path) == ["M", "M", "L"]
    assert broken.known_path == ""
    assert set(re.findall(r" ([\d.]+)(?: |$)", constant.path)) == {f"{HEIGHT / 2:.1f}"}
    assert _channel(read=np.full(3, np.nan), known=None).path == ""


def test_a_card_names_both_windows_and_draws_them() -> None:
    page = _page(_window())

    card = page.split("Most unusual windows")[1].split("</article>")[0]
    assert "pump &lt;1&gt;" in card
    assert "2026-01-07 10:00 to 2026-01-07 12:00" in card
    assert "Nearest known window: 2026-01-03 10:00 to 2026-01-03 12:00, training rows, 1.25 standard deviations" in card
    assert card.count("<path") == 2
    assert '<rect x="75.0" width="75.0"' in card
    assert "<script" not in card


def test_a_window_without_a_known_one_and_one_of_many_channels_are_cards_too() -> None:
    alone = _window(channels=(_channel(known=None),), distance=None, known=("", ""))
    many = _window(channels=tuple(_channel(f"c{number}") for number in range(9)), is_past=True, known=("", ""))

    first, second = _page(alone, many).split("Most unusual windows")[1].split("</article>")[:2]

    assert "No known window to compare with." in first
    assert first.count("<path") == 1
    assert second.count("<svg") == MOST_CHANNELS
    assert "recent past, 1.25 standard deviations apart. 4 of 9 channels are drawn." in " ".join(second.split())


def test_a_page_without_windows_has_no_heading_of_them() -> None:
    assert "Most unusual windows" not in _page()


@pytest.mark.parametrize("seed", range(5))
def test_most_unusual_points_are_the_highest_and_apart(seed: int) -> None:
    rng = np.random.default_rng(seed)
    entity, time = rng.integers(0, 3, 200), rng.permutation(200)
    score = np.where(rng.random(200) < 0.2, np.nan, rng.normal(size=200))

    found = most_unusual_points(entity, time, score, apart=5)

    left, expected = {at for at in range(200) if np.isfinite(score[at])}, []
    place = {}
    for code in range(3):
        mine = np.flatnonzero(entity == code)
        place |= {int(at): rank for rank, at in enumerate(mine[np.argsort(time[mine])])}
    while left and len(expected) < MOST_WINDOWS:
        best = max(left, key=lambda at: score[at])
        expected.append(best)
        left = {at for at in left if entity[at] != entity[best] or abs(place[at] - place[best]) >= 5}
    assert_array_equal(found, expected)


def test_points_without_any_score_give_no_window() -> None:
    assert most_unusual_points(np.zeros(3, np.int64), np.arange(3), np.full(3, np.nan), apart=2) == []
    assert most_unusual_points(np.zeros(0, np.int64), np.arange(0), np.zeros(0), apart=2) == []
