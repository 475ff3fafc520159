"""Loss against time: every contender learns, and the page states the cost."""

import functools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import time_to_quality
from benchmarks.time_to_quality import OURS, PLAIN, SMALL, Case, Curve, Point, kept_lines, lines, measure, section


def write(folder: Path, rows: int) -> None:
    rng = np.random.default_rng(0)
    hidden = rng.standard_normal((rows, 1))
    values = hidden * (1.0, -2.0, 0.5) + 0.1 * rng.standard_normal((rows, 3))
    folder.mkdir()
    pq.write_table(pa.table({name: values[:, at] for at, name in enumerate("abc")}), folder / "part-0.parquet")


@pytest.mark.slow
def test_each_training_lowers_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_to_quality, "_ROWS_BETWEEN_POINTS", 512)

    count, curves = measure("small", Case(functools.partial(write, rows=1_000), ""))

    assert count == pytest.approx(700, abs=30)
    assert set(curves) == {OURS, SMALL, PLAIN}
    for curve in curves.values():
        losses, seconds = [point.loss for point in curve], [point.seconds for point in curve]
        assert losses == sorted(losses, reverse=True)
        assert seconds == sorted(seconds)
        assert losses[-1] < losses[0]
    assert curves[PLAIN][-1].seconds >= 4 * curves[OURS][-1].seconds


def test_a_line_shows_losses_at_shares_of_the_time_of_the_default() -> None:
    curves: dict[str, Curve] = {
        OURS: (Point(1, 5.0), Point(5, 2.0), Point(10, 1.0)),
        SMALL: (Point(4, 6.0), Point(40, 1.5)),
        PLAIN: (Point(10, 9.0), Point(40, 3.0)),
    }

    assert list(lines("t", 1_000, curves)) == [
        ("t, 1,000 rows", OURS, "5.000", "5.000", "2.000", "1.000", "1.000 after 10 s", "10 s"),
        ("", SMALL, "", "", "6.000", "6.000", "1.500 after 40 s", "40 s"),
        ("", PLAIN, "", "", "", "9.000", "3.000 after 40 s", "not reached"),
    ]


def test_the_lines_of_tables_that_are_not_measured_again_stay() -> None:
    curve: Curve = (Point(1, 5.0), Point(10, 1.0))
    found = {
        "adult": list(lines("adult", 1_000, {OURS: curve, PLAIN: curve[:1]})),
        "digits": list(lines("digits", 1_200, {OURS: curve, SMALL: curve, PLAIN: curve})),
    }

    assert kept_lines(section(found)) == found
