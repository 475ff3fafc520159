"""Truncated tables of the benchmark, and cross-conformal alarms of other detectors against their distribution."""

import numpy as np
import pytest

from benchmarks import detection_baselines
from benchmarks.detection_tables import Table
from benchmarks.small_tables import cut, of_peer


def some(normal: int, anomalies: int) -> Table:
    rows = np.arange(normal + anomalies, dtype=np.float64)[:, None]
    return Table(rows, np.arange(len(rows)) >= normal)


def test_a_cut_learns_from_normal_rows_alone_and_tests_on_others() -> None:
    split = cut(some(1_000, 50), 150, seed=3)

    assert len(np.unique(split.train)) == 150
    assert split.train.max() < 1_000
    assert not np.isin(split.test, split.train).any()
    assert (split.is_anomaly == (split.test[:, 0] >= 1_000)).all()
    assert len(split.test) == 900


def test_every_row_calibrates_and_chance_has_the_false_alarms_of_its_law() -> None:
    """With n calibration rows a new row is flagged with probability floor(alpha (n + 1)) / (n + 1)."""
    random = next(each for each in detection_baselines.detectors() if each.name == "random")
    table = some(500, 20)

    found = [of_peer(random, cut(table, 150, seed), seed) for seed in range(100)]

    assert {each.calibration_rows for each in found} == {150}
    assert np.mean([each.false_alarms / each.normal_rows for each in found]) == pytest.approx(1 / 151, abs=0.003)


def test_a_band_is_left_by_many_false_alarms_alone() -> None:
    random = next(each for each in detection_baselines.detectors() if each.name == "random")
    found = of_peer(random, cut(some(500, 20), 150, 0), 0)

    assert found._replace(false_alarms=0).is_in_band
    assert not found._replace(false_alarms=found.normal_rows // 10).is_in_band
