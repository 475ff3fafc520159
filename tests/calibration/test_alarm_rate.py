"""Tail of the number of flagged rows, against scipy's beta-binomial and binomial distributions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from aepipe.calibration.alarm_rate import FACTOR, is_far_above, tail_probability
from aepipe.calibration.conformal import Calibration


@settings(max_examples=300)
@given(st.integers(1, 5_000), st.integers(1, 20_000), st.floats(1e-3, 0.5), st.data())
def test_tail_equals_the_beta_binomial_of_scipy(rows: int, calibrated: int, alpha: float, data: st.DataObject) -> None:
    flagged = data.draw(st.integers(0, rows))
    law = stats.betabinom(rows, alpha * (calibrated + 1), (1 - alpha) * (calibrated + 1))

    found = tail_probability(flagged, rows, alpha=alpha, calibration_rows=calibrated)

    assert found == pytest.approx(law.sf(flagged - 1), rel=1e-5, abs=1e-10)


@pytest.mark.parametrize(("flagged", "rows"), [(15, 1_000), (40, 1_000), (1_200, 100_000)])
def test_many_calibration_rows_give_the_binomial(flagged: int, rows: int) -> None:
    found = tail_probability(flagged, rows, alpha=0.01, calibration_rows=10**9)

    assert found == pytest.approx(stats.binom(rows, 0.01).sf(flagged - 1), rel=0.01)


def test_nights_without_a_change_are_not_far_above() -> None:
    generator = np.random.default_rng(0)
    alarms = 0
    for _ in range(300):
        calibration = Calibration.fit(generator.normal(size=150), alpha=0.05)
        flagged = calibration.is_anomaly(calibration.p_values(generator.normal(size=400))).sum()
        alarms += is_far_above(int(flagged), 400, alpha=0.05, calibration_rows=150)

    assert alarms == 0


@pytest.mark.parametrize(
    ("flagged", "rows", "alpha", "expected"),
    [
        (972, 2_326, 0.01, True),
        (110, 2_326, 0.01, True),
        (33, 2_326, 0.01, False),
        (int(FACTOR * 10_000), 1_000_000, 0.01, False),
        (31_000, 1_000_000, 0.01, True),
        (4, 4, 0.01, False),
        (19, 19, 0.01, False),
        (20, 20, 0.01, True),
        (100, 100, 0.5, True),
        (60, 100, 0.5, False),
    ],
)
def test_far_above_needs_rows_a_multiple_and_significance(
    flagged: int, rows: int, alpha: float, expected: bool
) -> None:
    assert is_far_above(flagged, rows, alpha=alpha, calibration_rows=10_000) == expected
