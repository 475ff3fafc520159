"""Charts of series: positions of scores and alarms, and a page that allows the zoom script."""

import base64
import hashlib
import re
from datetime import UTC, datetime

import numpy as np
import pytest

from aepipe.report.page_model import Header, ReportPage, Scores
from aepipe.report.render import render
from aepipe.report.series import HEIGHT, MOST_POINTS, SCRIPT, WIDTH, SeriesEvent, SeriesLine


def _line(**changes: object) -> SeriesLine:
    values = {
        "entity": "pump <1>",
        "time": np.array([0, 10, 20, 40]),
        "score": np.array([0.0, 1.0, np.nan, 4.0], np.float32),
        "flagged": np.array([False, False, False, True]),
        "threshold": 2.0,
        "events": (SeriesEvent("a", "b", "c", "4", 1, "load"),),
        "count": 1,
    }
    return SeriesLine(**(values | changes))  # type: ignore[arg-type]


def test_points_lie_at_their_time_and_score() -> None:
    line = _line()

    assert line.path == f"M0.0 {HEIGHT:.1f} L250.0 {0.75 * HEIGHT:.1f} L{WIDTH:.1f} 0.0"
    assert line.marks == [f"{WIDTH:.1f}"]
    assert line.level == f"{HEIGHT / 2:.1f}"


def test_a_long_series_keeps_its_highest_scores() -> None:
    score = np.zeros(50_000, np.float32)
    score[31_337] = 9

    line = _line(time=np.arange(50_000), score=score, flagged=np.zeros(50_000, np.bool_))

    assert line.path.count("L") < MOST_POINTS
    assert " 0.0" in line.path


@pytest.mark.parametrize("score", [np.full(4, np.nan, np.float32), np.zeros(4, np.float32)])
def test_series_without_scores_or_of_zeros_are_drawn(score: np.ndarray) -> None:
    assert "nan" not in _line(score=score, threshold=0.0).path


def test_the_page_escapes_names_and_allows_its_script() -> None:
    header = Header(job="machines", model_version="machines/1", created_at=datetime(2026, 1, 1, tzinfo=UTC))

    page = render(ReportPage(header=header, series=(_line(),), scores=Scores(np.array([1.0]))))

    assert "pump &lt;1&gt;: 1 event, highest score 4" in page
    for script in re.findall(r"<script>(.*?)</script>", page, re.DOTALL):
        assert script.endswith(SCRIPT)
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert digest in page.split("<title>")[0]
