import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aepipe.calibration.open_set import OpenSet, cheapest_confidence, usual_confidence
from aepipe.config.cost_table import Costs


def _cost_of(least: float, confidence: np.ndarray, right: np.ndarray, known: np.ndarray, costs: Costs) -> float:
    """Compute the expected cost per row of a least confidence, row by row."""
    of_known, of_others = [], []
    for sure, is_right, is_known in zip(confidence, right, known, strict=True):
        is_named = sure >= least
        if is_known:
            of_known.append(costs.false_alarm * (is_right and not is_named) + costs.miss * (is_named and not is_right))
        else:
            of_others.append(costs.miss * is_named)
    base = costs.base_rate if of_others else 0.0
    return (1 - base) * (np.mean(of_known) if of_known else 0.0) + base * (np.mean(of_others) if of_others else 0.0)


CONFIDENCES = st.sampled_from([0.2, 0.5, 0.6, 0.9, 1.0])
KINDS = st.sampled_from(["right", "wrong", "unknown"])


@given(
    rows=st.lists(
        st.tuples(st.sampled_from([0.2, 0.5, 0.6, 0.9, 1.0]), st.sampled_from(["right", "wrong", "unknown"])),
        min_size=1,
    ),
    miss=st.sampled_from([0.0, 0.5, 1.0, 7.0]),
    base_rate=st.sampled_from([0.05, 0.5, 0.9]),
)
def test_no_other_confidence_costs_less(rows: list[tuple[float, str]], miss: float, base_rate: float) -> None:
    confidence = np.array([sure for sure, _ in rows])
    right, known = (np.array([kind in kinds for _, kind in rows]) for kinds in (["right"], ["right", "wrong"]))
    costs = Costs(false_alarm=1.0, miss=miss, base_rate=base_rate)

    least = cheapest_confidence(confidence, right, known, costs)

    of = {at: _cost_of(at, confidence, right, known, costs) for at in (0.0, 0.2, 0.5, 0.6, 0.9, 1.0, 1.1)}
    assert _cost_of(least, confidence, right, known, costs) == pytest.approx(min(of.values()))


def test_right_answers_fall_below_the_usual_confidence_as_often_as_alpha_says() -> None:
    generator = np.random.default_rng(0)
    kept, fresh = generator.random((2_000, 99)), generator.random((2_000, 200))

    below = [(new < usual_confidence(old, old >= 0, alpha=0.1)).mean() for old, new in zip(kept, fresh, strict=True)]

    assert np.mean(below) == pytest.approx(0.1, abs=0.003)


def test_wrong_answers_have_no_say_in_the_usual_confidence() -> None:
    confidence = np.r_[np.linspace(0.5, 1, 99), np.zeros(500)]

    assert usual_confidence(confidence, confidence > 0, alpha=0.1) == confidence[9]
    assert usual_confidence(confidence[:5], confidence[:5] > 0, alpha=0.1) == 0


def test_below_the_least_confidence_a_row_is_unknown() -> None:
    found = OpenSet(column="kind", names=("bag", "boot"), least_confidence=0.7, sentence="")

    codes = found.codes(np.array([0, 1, 1], np.int32), np.array([0.8, 0.7, 0.69]))

    assert [found.answers[code] for code in codes] == ["bag", "boot", "unknown"]
