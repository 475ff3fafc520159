"""Sums of counts and seconds over threads."""

import pytest

from aepipe.batch.run_stats import STAGES, RunStats


def test_io_overhead_is_total_time_over_io_time() -> None:
    stats = RunStats(rows=1)
    stats.add(RunStats(rows=2, seconds=dict(zip(STAGES, (0.1, 0.4, 0.3, 2.0, 0.4, 0.1), strict=True))))

    assert stats.rows == 3
    assert stats.io_overhead == pytest.approx(3.3 / 1.0)


def test_io_overhead_without_any_time_is_one() -> None:
    assert RunStats().io_overhead == 1.0
