"""p-values against brute force, exchangeability and the beta-binomial distribution."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy.stats import betabinom

from aepipe.calibration.conformal import KEPT, Calibration, rows_needed
from aepipe.errors import CalibrationInvalid


def _counted(held_out: NDArray[np.floating], score: float) -> float:
    """Compute the p-value by its definition, counting the higher scores."""
    return (1 + int(np.sum(held_out >= score))) / (len(held_out) + 1)


def _generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(st.lists(st.integers(0, 6), min_size=19, max_size=40), st.lists(st.floats(-1, 8), max_size=20))
def test_p_values_are_those_of_the_definition_whatever_the_ties(held_out: list[int], scores: list[float]) -> None:
    if len(set(held_out)) == 1:
        held_out[0] += 1
    found = Calibration.fit(np.array(held_out, dtype=np.float32), alpha=0.05).p_values(np.array(scores))

    assert found.tolist() == [_counted(np.array(held_out), score) for score in scores]


def test_each_of_n_plus_1_exchangeable_rows_has_another_of_the_n_plus_1_p_values() -> None:
    scores = _generator().normal(size=20)

    left_out = [
        float(Calibration.fit(np.delete(scores, row), alpha=0.05).p_values(scores[row : row + 1])[0])
        for row in range(20)
    ]

    assert sorted(left_out) == [k / 20 for k in range(1, 21)]


@pytest.mark.parametrize(("alpha", "n"), [(0.05, 19), (0.05, 150), (0.01, 99), (0.1, 500)])
def test_false_alarms_of_fresh_rows_follow_the_beta_binomial_law(alpha: float, n: int) -> None:
    trials, fresh = 400, 1_000
    flaggable = math.floor(alpha * (n + 1) + 1e-9)
    law = betabinom(fresh, flaggable, n + 1 - flaggable)
    generator = _generator(n)

    alarms = np.array([_alarms(generator, n, fresh, alpha) for _ in range(trials)])

    low, high = law.ppf([0.005, 0.995])
    inside = np.mean((alarms >= low) & (alarms <= high))
    assert inside >= 0.97
    assert abs(alarms.mean() - law.mean()) < 4 * law.std() / math.sqrt(trials)


def _alarms(generator: np.random.Generator, n: int, fresh: int, alpha: float) -> int:
    calibration = Calibration.fit(generator.gamma(2.0, size=n), alpha=alpha)
    return int(calibration.is_anomaly(calibration.p_values(generator.gamma(2.0, size=fresh))).sum())


def test_ties_never_raise_the_share_of_false_alarms_above_alpha() -> None:
    generator = _generator(3)

    shares = [
        Calibration.fit(generator.poisson(2.0, 99), alpha=0.05).p_values(generator.poisson(2.0, 1_000)) <= 0.05
        for _ in range(200)
    ]

    assert np.mean(shares) <= 0.05


@given(
    st.lists(st.floats(0, 4, width=16), min_size=19, max_size=60).filter(lambda found: len(set(found)) > 1),
    st.sampled_from([0.05, 0.1, 0.07, 1 / 19, 0.5]),
)
def test_a_row_is_flagged_exactly_where_its_score_exceeds_the_threshold(held_out: list[float], alpha: float) -> None:
    calibration = Calibration.fit(np.array(held_out, dtype=np.float32), alpha=alpha)
    near = np.array([*held_out, *np.nextafter(held_out, np.inf), *np.nextafter(held_out, -np.inf), -1.0, 5.0])

    flagged = calibration.is_anomaly(calibration.p_values(near))

    assert np.array_equal(flagged, near > calibration.threshold)
    assert flagged.any()


def test_a_missing_score_has_no_p_value_and_infinite_ones_have_the_extremes() -> None:
    calibration = Calibration.fit(np.arange(19.0), alpha=0.05)

    found = calibration.p_values(np.array([np.nan, np.inf, -np.inf, 9.0], dtype=np.float32))

    assert np.isnan(found[0])
    assert found[1:].tolist() == [1 / 20, 1.0, 11 / 20]
    assert calibration.is_anomaly(found).tolist() == [False, True, False, False]


def test_no_rows_have_no_p_values() -> None:
    assert Calibration.fit(np.arange(19.0), alpha=0.05).p_values(np.empty(0, dtype=np.float32)).shape == (0,)


@pytest.mark.parametrize("alpha", [0.5, 0.3, 0.1, 0.07, 0.05, 0.03, 0.01, 1 / 49, 1 / 3, 0.001])
def test_one_row_fewer_than_alpha_needs_is_refused(alpha: float) -> None:
    needed = rows_needed(alpha)

    enough = Calibration.fit(np.arange(float(max(needed, 2))), alpha=alpha)
    assert enough.is_anomaly(enough.p_values(np.array([np.inf]))).all()
    with pytest.raises(CalibrationInvalid, match=rf"expected at least {needed}, got {needed - 1}\. "):
        Calibration.fit(np.arange(needed - 1.0), alpha=alpha)


def test_the_sentence_for_too_few_rows_names_an_alpha_that_they_support() -> None:
    with pytest.raises(
        CalibrationInvalid,
        match=r"^alpha 0\.01 has too few calibration rows: expected at least 99, got 50\. Set alpha >= 0\.0197",
    ):
        Calibration.fit(np.arange(50.0), alpha=0.01)
    assert Calibration.fit(np.arange(50.0), alpha=0.0197).n == 50


def test_equal_scores_flag_only_a_greater_score() -> None:
    calibration = Calibration.fit(np.full(99, 2.5), alpha=0.01)

    p_values = calibration.p_values(np.array([2.5, 2.5 + 1e-6, 2.6, 1.0]))

    np.testing.assert_allclose(p_values, [1.0, 1.0, 0.01, 1.0])


@given(
    values=st.lists(st.sampled_from([-40.0, -0.3, 0.0, 0.7, 2.5, 900.0]), min_size=60, max_size=200),
    alpha=st.floats(0.02, 0.5),
    noise=st.floats(-1e-6, 1e-6),
)
def test_rounding_does_not_split_tied_scores(values: list[float], alpha: float, noise: float) -> None:
    scores = np.array(values)
    calibration = Calibration.fit(scores * (1 + noise), alpha=alpha)
    queries = np.array([-40.0, -0.3, 0.0, 0.7, 2.5, 900.0, 901.0])

    p_values = calibration.p_values(queries)

    counted = (1 + (scores[None, :] >= queries[:, None]).sum(1)) / (len(scores) + 1)
    np.testing.assert_allclose(p_values, counted)
    np.testing.assert_array_equal(queries > calibration.threshold, p_values <= alpha)


def test_scores_without_ties_have_no_resolution_and_keep_their_file_form() -> None:
    calibration = Calibration.fit(np.random.default_rng(0).normal(size=500), alpha=0.01)

    assert calibration.resolution == 0
    assert b"resolution" not in calibration.to_json()


@pytest.mark.parametrize(
    ("scores", "alpha", "sentence"),
    [
        (np.array([*range(99), np.nan, np.inf]), 0.01, r"^2 of 101 calibration scores are not finite\. Leave out"),
        (
            np.empty(0),
            0.01,
            r"^alpha 0\.01 has too few calibration rows: expected at least 99, got 0\. Give more rows\.$",
        ),
        (np.arange(99.0), 1.0, r"^alpha is invalid: expected a share between 0 and 1, got 1\.0"),
        (np.arange(99.0), 0.0, r"^alpha is invalid: expected a share between 0 and 1, got 0\.0"),
        (np.arange(99.0), -0.1, r"^alpha is invalid: expected a share between 0 and 1, got -0\.1"),
        (np.arange(99.0), math.nan, r"^alpha is invalid: expected a share between 0 and 1, got nan"),
    ],
)
def test_unusable_scores_or_alpha_are_rejected(scores: NDArray[np.float64], alpha: float, sentence: str) -> None:
    with pytest.raises(CalibrationInvalid, match=sentence):
        Calibration.fit(scores, alpha=alpha)


def test_of_many_scores_the_highest_half_is_kept_and_p_errs_upwards_by_little() -> None:
    held_out = _generator(5).normal(size=70_000)
    calibration = Calibration.fit(held_out, alpha=0.01)
    scores = np.concatenate([_generator(6).normal(size=2_000), held_out[:2_000], [-9.0, 9.0]])

    found = calibration.model_copy(update={"tail": None}).p_values(scores)

    exact = np.array([_counted(held_out, score) for score in scores])
    tail = exact <= KEPT / 2 / len(held_out)
    assert len(calibration.scores) == KEPT
    assert calibration.n == 70_000
    assert tail.sum() > 300
    assert np.array_equal(found[tail], exact[tail])
    assert np.all(found >= exact)
    assert np.max(found - exact) < 2 * 60_000 / (KEPT / 2) / 70_001


def test_the_file_form_is_read_back_as_the_same_calibration() -> None:
    for n in (99, KEPT + 1):
        calibration = Calibration.fit(_generator().normal(size=n).astype(np.float32), alpha=0.02)

        again = Calibration.model_validate_json(calibration.to_json())

        assert again == calibration
        assert again.to_json() == calibration.to_json()


def test_the_digest_depends_on_the_calibration_and_not_on_the_order_of_rows() -> None:
    scores = _generator().normal(size=200)
    first = Calibration.fit(scores, alpha=0.05)

    assert Calibration.fit(scores[::-1], alpha=0.05).digest == first.digest
    assert Calibration.fit(scores, alpha=0.06).digest != first.digest
    assert Calibration.fit(scores[1:], alpha=0.05).digest != first.digest
    assert first.with_alpha(0.06) == Calibration.fit(scores, alpha=0.06)
    assert first.with_alpha(0.06).digest == Calibration.fit(scores, alpha=0.06).digest


def test_calibrations_are_equal_where_their_contents_are() -> None:
    first, same, other = (Calibration.fit(np.arange(20.0), alpha=alpha) for alpha in (0.05, 0.05, 0.06))

    assert first == same
    assert hash(first) == hash(same)
    assert first != other
    assert first != "calibration"


@pytest.mark.parametrize(
    "change",
    [{"scores": (2.0, 1.0)}, {"n": 3}, {"ranks": (1, 1)}, {"ranks": (1, 2, 3)}, {"alpha": 1.5}, {"scores": ()}],
)
def test_a_file_that_contradicts_itself_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Calibration.model_validate({"alpha": 0.5, "n": 2, "scores": (1.0, 2.0)} | change)
