"""The tail against SciPy's distribution and fit, and p-values in the tail."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import expon, genpareto

from aepipe.calibration.conformal import Calibration
from aepipe.calibration.pareto_tail import FEWEST, Tail, generalised_pareto


@pytest.mark.parametrize("shape", [-0.3, 0.0, 0.2, 0.5, 1.0])
def test_the_estimate_is_that_of_maximum_likelihood_within_its_error(shape: float) -> None:
    excess = np.sort(genpareto.rvs(shape, scale=2.0, size=1_000, random_state=1))

    found, scale = generalised_pareto(excess)

    best, _, best_scale = genpareto.fit(excess, floc=0)
    assert found == pytest.approx(best, abs=0.02)
    assert scale == pytest.approx(best_scale, rel=0.01)


@pytest.mark.parametrize("shape", [0.0, 0.3, 2.0])
def test_beyond_its_start_the_tail_is_the_law_of_scipy(shape: float) -> None:
    tail, scores = Tail(start=5.0, shape=shape, scale=0.7), np.linspace(5, 40, 50)

    np.testing.assert_allclose(tail.survival(scores), genpareto.sf(scores, shape, loc=5.0, scale=0.7), rtol=1e-9)


def test_the_tail_above_the_highest_score_is_the_fitted_one_given_that_it_is_exceeded() -> None:
    scores = np.sort(genpareto.rvs(0.4, size=1_000, random_state=2))
    tail = Tail.fit(scores)
    threshold = scores[-101]
    shape, scale = generalised_pareto(scores[-100:] - threshold)
    survival = scores[-1] + np.array([0.5, 3.0, 100.0])

    expected = genpareto.sf(survival, shape, threshold, scale) / genpareto.sf(scores[-1], shape, threshold, scale)

    assert tail is not None
    np.testing.assert_allclose(tail.survival(survival), expected, rtol=1e-9)


def test_scores_with_an_end_get_an_exponential_tail_which_has_none() -> None:
    scores = np.sort(np.random.default_rng(0).uniform(size=2_000))

    tail = Tail.fit(scores)

    assert tail is not None
    assert tail.shape == 0
    assert tail.scale == pytest.approx(np.mean(scores[-200:] - scores[-201]))
    assert tail.survival(np.array([1e9, np.inf])).min() > 0


@pytest.mark.parametrize(
    "scores", [np.arange(299.0), np.full(5_000, 1.0), np.repeat(np.arange(20.0), 100), np.arange(2.0)]
)
def test_too_few_rows_or_too_many_ties_have_no_tail(scores: np.ndarray) -> None:
    assert Tail.fit(np.sort(scores)) is None


def test_extrapolated_p_values_are_right_within_a_factor_where_the_law_is_known() -> None:
    generator = np.random.default_rng(3)
    survival = expon.isf([1e-4, 1e-5])

    found = [Calibration.fit(generator.exponential(size=1_000), alpha=0.01).p_values(survival) for _ in range(200)]

    ratios = np.median(found, axis=0) / [1e-4, 1e-5]
    assert np.all((ratios > 0.5) & (ratios < 6.0)), ratios


@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=300, max_size=400, unique=True),
    st.lists(st.floats(width=32, allow_nan=False), min_size=2, max_size=30),
)
@pytest.mark.slow
def test_p_falls_with_the_score_joins_the_counted_one_and_is_never_zero(
    held_out: list[float], far: list[float]
) -> None:
    calibration = Calibration.fit(np.array(held_out), alpha=0.05)
    highest, least = max(held_out), 1 / (len(held_out) + 1)
    scores = np.sort(np.array([*held_out, *far, np.nextafter(highest, np.inf)]))

    found = calibration.p_values(scores)

    assert calibration.tail is not None
    assert np.all(np.diff(found) <= 0)
    assert found.min() > 0
    assert np.array_equal(calibration.is_extrapolated(scores), scores > highest)
    assert np.all(found[scores > highest] <= least)
    assert calibration.p_values(np.array([np.nextafter(highest, np.inf)]))[0] == pytest.approx(least, rel=1e-3)


@pytest.mark.parametrize("alpha", [1 / 401, 0.01, 0.3])
def test_the_tail_changes_no_flag(alpha: float) -> None:
    generator = np.random.default_rng(4)
    calibration = Calibration.fit(generator.standard_t(3, size=400), alpha=alpha)
    scores = np.concatenate([generator.standard_t(2, size=5_000), calibration.scores, [np.inf, np.nan]])
    without = calibration.model_copy(update={"tail": None})

    flagged = calibration.is_anomaly(calibration.p_values(scores))

    assert calibration.tail is not None
    assert np.array_equal(flagged, without.is_anomaly(without.p_values(scores)))
    assert np.array_equal(flagged, scores > calibration.threshold)


def test_a_file_whose_tail_starts_elsewhere_is_refused() -> None:
    found = Calibration.fit(np.arange(10.0 * FEWEST), alpha=0.05).model_dump()

    with pytest.raises(ValidationError, match="the tail starts at 7, the highest score is 299"):
        Calibration.model_validate(found | {"tail": found["tail"] | {"start": 7.0}})
