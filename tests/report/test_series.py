"""Charts of series: positions of scores and alarms, and a page that allows the zoom script."""

import base64
import hashlib
import json
import re
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest

from aepipe.report.page_model import Header, ReportPage, Scores
from aepipe.report.render import render
from aepipe.report.series import HEIGHT, MOST_MARKS, MOST_POINTS, SCRIPT, WIDTH, SeriesEvent, SeriesLine


def _line(**changes: object) -> SeriesLine:
    values = {
        "entity": "pump <1>",
        "time": np.array([0, 10, 20, 40]),
        "score": np.array([0.0, 1.0, np.nan, 4.0], np.float32),
        "flagged": np.array([False, False, False, True]),
        "threshold": 2.0,
        "moments": pa.array([0, 10, 20, 40], pa.timestamp("s")),
        "partitions": pa.array(["dt=1970-01-01"] * 4),
        "events": (SeriesEvent("a", "b", "c", "4", 1, "load"),),
        "count": 1,
    }
    return SeriesLine(**(values | changes))  # type: ignore[arg-type]


def test_points_lie_at_their_time_and_score() -> None:
    line = _line()

    assert line.path == f"M0.0 {HEIGHT:.1f} L250.0 {0.75 * HEIGHT:.1f} L{WIDTH:.1f} 0.0"
    assert line.alarms == [f"{WIDTH:.1f}"]
    assert line.level == f"{HEIGHT / 2:.1f}"


def test_marks_name_time_partition_and_exact_score() -> None:
    assert json.loads(_line().marks) == [
        [0.0, HEIGHT, "1970-01-01 00:00:00, dt=1970-01-01: score 0", ""],
        [WIDTH / 4, 0.75 * HEIGHT, "1970-01-01 00:00:10, dt=1970-01-01: score 1.00", ""],
        [WIDTH, 0.0, "1970-01-01 00:00:40, dt=1970-01-01: score 4.00, alarm", ""],
    ]


def test_a_long_series_keeps_its_highest_scores() -> None:
    score = np.zeros(50_000, np.float32)
    score[31_337] = 9

    moments, partitions = pa.array(np.arange(50_000)), pa.array(["a"] * 50_000)
    line = _line(
        time=np.arange(50_000),
        score=score,
        flagged=np.zeros(50_000, np.bool_),
        moments=moments,
        partitions=partitions,
    )

    assert line.path.count("L") < MOST_POINTS
    assert " 0.0" in line.path
    marks = json.loads(line.marks)
    assert len(marks) <= MOST_MARKS
    assert [text for _, y, text, _ in marks if y == 0] == ["31337, a: score 9.00"]


@pytest.mark.parametrize("score", [np.full(4, np.nan, np.float32), np.zeros(4, np.float32)])
def test_series_without_scores_or_of_zeros_are_drawn(score: np.ndarray) -> None:
    assert "nan" not in _line(score=score, threshold=0.0).path


def test_the_page_escapes_names_and_allows_its_script() -> None:
    header = Header(job="machines", model_version="machines/1", created_at=datetime(2026, 1, 1, tzinfo=UTC))

    page = render(ReportPage(header=header, series=(_line(),), scores=Scores(np.array([1.0]))))

    assert "pump &lt;1&gt;</bdi>: 1 event, highest score 4" in page
    for script in re.findall(r"<script>(.*?)</script>", page, re.DOTALL):
        assert script.endswith(SCRIPT)
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert digest in page.split("<title>")[0]
