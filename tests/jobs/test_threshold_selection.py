"""Calibration of scores that depend on each other, such as the points of a series."""

from pathlib import Path

import numpy as np
import pytest

from aepipe.config.job import parse_job
from aepipe.jobs import threshold_selection as threshold

JOB = parse_job({"name": "t", "data": {"path": "rows"}}, source=Path("job.toml"))


@pytest.mark.parametrize(("rows", "has_tail"), [(29_000, False), (31_000, True)])
def test_overlapping_points_extrapolate_only_from_enough_windows(rows: int, has_tail: bool) -> None:
    scores = np.random.default_rng(0).normal(size=rows)

    found = threshold.calibrate(JOB, scores, threshold.Evidence(900.0), window=100)

    lowest = float(found.p_values(np.array([1e6], np.float32))[0])
    assert (lowest < 1 / (rows + 1)) is has_tail
    assert found.is_extrapolated(np.array([1e6], np.float32)).tolist() == [has_tail]


def test_independent_rows_extrapolate_from_three_hundred() -> None:
    scores = np.random.default_rng(0).normal(size=300)

    found = threshold.calibrate(JOB, scores, threshold.Evidence(900.0))

    assert found.p_values(np.array([1e6], np.float32))[0] < 1 / 301
