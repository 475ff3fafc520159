"""Adaptive alpha against a plain implementation of its rule, on streams with known rates."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from aepipe.calibration.adaptive import HIGHEST, STEP, Adaptive, State, buffer_rows
from aepipe.calibration.conformal import KEPT, Calibration


def apply_rule(scores: list[float], alpha: float, state: State) -> tuple[list[bool], float, list[float]]:
    """Apply the rule score by score: return flags, the last alpha and the scores kept."""
    buffer, at, flags = list(state.scores), state.alpha, []
    for score in scores:
        p = (1 + sum(other >= score for other in buffer)) / (len(buffer) + 1)
        flags.append(p <= at)
        at = min(max(at + STEP * alpha * (alpha - flags[-1]), 0.0), HIGHEST * alpha, 1.0)
        buffer = [*buffer, score][-buffer_rows(alpha) :]
    return flags, at, buffer


@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=60),
    st.lists(st.integers(0, 40), max_size=80),
    st.sampled_from([0.5, 0.25, 0.125]),
)
def test_flags_are_those_of_counting_in_the_buffer(first: list[int], scores: list[int], alpha: float) -> None:
    state = State(alpha=alpha, scores=tuple(map(float, first)))
    adaptive = Adaptive(alpha, state)

    found = adaptive.flags(np.array(scores, float))

    flags, at, buffer = apply_rule([float(score) for score in scores], alpha, state)
    assert found.tolist() == flags
    assert adaptive.state == State(alpha=at, scores=tuple(buffer))


@given(st.integers(0, 1_500), st.integers(0, 1_500))
def test_where_a_stream_is_cut_into_nights_changes_nothing(one: int, other: int) -> None:
    scores = np.random.default_rng(0).normal(size=1_500)
    state = State.of(Calibration.fit(np.random.default_rng(1).normal(size=700), alpha=0.01))
    whole = Adaptive(0.01, state)
    expected = whole.flags(scores)
    found = []

    for part in np.split(scores, sorted((one, other))):
        adaptive = Adaptive(0.01, State.model_validate_json(state.model_dump_json()))
        found.append(adaptive.flags(part))
        state = adaptive.state

    assert np.array_equal(np.concatenate(found), expected)
    assert state == whole.state


def stream(kind: str) -> NDArray[np.float64]:
    generator = np.random.default_rng(2)
    scores = generator.normal(size=20_000)
    if kind == "shifted":
        return scores + 5
    if kind == "drifting":
        return scores + np.linspace(0, 30, len(scores))
    if kind == "wider":
        return scores * 4
    return scores


@pytest.mark.parametrize("kind", ["calm", "shifted", "drifting", "wider"])
def test_the_flagged_share_returns_to_alpha_where_a_fixed_threshold_flags_most_rows(kind: str) -> None:
    calibration = Calibration.fit(np.random.default_rng(1).normal(size=2_000), alpha=0.01)
    scores = stream(kind)

    share = Adaptive(0.01, State.of(calibration)).flags(scores).mean()

    assert 0.009 <= share <= 0.0125
    if kind != "calm":
        assert calibration.is_anomaly(calibration.p_values(scores)).mean() > 0.2


def test_alpha_stays_within_its_bounds_and_a_flat_stretch_stores_up_no_alarms() -> None:
    calibration = Calibration.fit(np.arange(99.0), alpha=0.01)
    adaptive = Adaptive(0.01, State.of(calibration))

    assert not adaptive.flags(np.zeros(50_000)).any()
    assert adaptive.state.alpha == pytest.approx(0.1)
    assert adaptive.flags(np.arange(1.0, 200.0)).sum() < 20


def test_missing_scores_are_not_flagged_and_leave_the_state_as_it_is() -> None:
    state = State.of(Calibration.fit(np.arange(99.0), alpha=0.01))
    adaptive = Adaptive(0.01, state)

    assert adaptive.flags(np.array([np.nan, np.inf, -np.inf])).tolist() == [False] * 3
    assert adaptive.state == state


@pytest.mark.parametrize("rows", [99, 5_000, KEPT + 30_000])
def test_a_stream_starts_with_quantiles_of_the_calibration(rows: int) -> None:
    held_out = np.random.default_rng(3).normal(size=rows)
    calibration = Calibration.fit(held_out, alpha=0.01)

    state = State.of(calibration)

    assert len(state.scores) == min(rows, 500)
    assert max(state.scores) == held_out.max()
    np.testing.assert_allclose(
        np.quantile(state.scores, [0.25, 0.5, 0.9]), np.quantile(held_out, [0.25, 0.5, 0.9]), atol=0.05
    )


def test_a_block_spends_its_flags_on_the_peak_of_an_incident() -> None:
    rng = np.random.default_rng(0)
    state = State(alpha=0.05, scores=tuple(rng.normal(size=500).tolist()))
    block = np.concatenate([rng.normal(size=40), np.linspace(4, 9, 30), np.linspace(9, 4, 30), rng.normal(size=40)])

    in_turn, together = Adaptive(0.01, state).flags(block), Adaptive(0.01, state).flags_of_block(block)

    highest = np.argsort(-block)[:4]
    assert together[highest].all()
    assert not in_turn[highest].any()
    assert abs(int(together.sum()) - int(in_turn.sum())) <= 1


def test_blocks_keep_the_flag_rate_at_alpha_under_drift() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=20_000) + np.linspace(0, 20, 20_000)
    adaptive = Adaptive(0.01, State(alpha=0.01, scores=tuple(rng.normal(size=500).tolist())))

    flags = np.concatenate([adaptive.flags_of_block(block) for block in np.split(scores, 200)])

    assert 0.008 <= flags.mean() <= 0.013
