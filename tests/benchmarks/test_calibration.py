"""Counts of the calibration benchmark, on rows with known results."""

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis as scipy_mahalanobis
from scipy.stats import betabinom

from benchmarks.calibration import band, mahalanobis, measure, section
from benchmarks.page import table


def test_the_band_holds_99_per_cent_of_the_law() -> None:
    low, high = band(99, 1_000, 0.01)

    law = betabinom(1_000, 1, 99)
    assert low == 0
    assert law.cdf(high - 1) < 0.995 <= law.cdf(high)


def test_the_score_orders_rows_as_scipy_s_mahalanobis_distance_and_survives_constant_columns() -> None:
    rows = np.random.default_rng(0).normal(size=(200, 3)) @ np.array([[1.0, 2, 0], [0, 1, 0], [0, 0, 5]])
    precision = np.linalg.inv(np.cov(rows, rowvar=False))

    found = mahalanobis(np.column_stack([rows, np.full(200, 7.0)]))(np.column_stack([rows, np.full(200, 7.0)]))

    expected = [scipy_mahalanobis(row, rows.mean(axis=0), precision) for row in rows]
    assert np.ptp(found / expected) < 1e-9


def test_cases_of_exchangeable_rows_lie_within_their_bands() -> None:
    rows = np.random.default_rng(1).normal(size=(4_000, 4))

    cases = [measure("normal", rows, seed) for seed in range(20)]

    assert {(case.calibration, case.fresh) for case in cases} == {(400, 2_000)}
    assert sum(case.is_inside for case in cases) >= 19
    assert "| normal | 400 |" in section(cases)


@pytest.mark.parametrize("rows", [[], [(1, "a")]])
def test_a_table_has_a_line_a_row(rows) -> None:
    assert len(list(table(("n", "name"), rows))) == 2 + len(rows)
