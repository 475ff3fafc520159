"""Scores of windows relative to the known steps of their series."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from aepipe.series.memory import FILE, OF_STEPS, Parts, SeriesMemory
from aepipe.series.nearest import Segment

WINDOW, DAY = 8, 24.0


def _wave(steps: int, *, seed: int = 0) -> NDArray[np.float64]:
    """Draw a daily wave with little noise, (T, 1)."""
    noise = 0.05 * np.random.default_rng(seed).normal(size=steps)
    return (np.sin(2 * np.pi * np.arange(steps) / DAY) + noise)[:, None]


def _model(segments: list[Segment]) -> list[NDArray[np.float64]]:
    """Score every window 1, as a model that finds all equally anomalous."""
    return [np.ones(segment.windows(WINDOW)) for segment in segments]


def _memory(**training: NDArray[np.float64]) -> SeriesMemory:
    segments = {name: [Segment.of(0, values)] for name, values in training.items()}
    scores = {name: _model(of_entity) for name, of_entity in segments.items()}
    return SeriesMemory.fit(segments, scores, window=WINDOW, day=DAY)


def _score(memory: SeriesMemory, values: NDArray[np.float64], *, first: int, entity: str = "a") -> NDArray[np.float64]:
    segments = [Segment.of(first, values)]
    return memory.score(entity, segments, _model(segments))[0]


def test_a_known_shape_at_the_wrong_time_of_day_scores_higher() -> None:
    memory = _memory(a=_wave(240))

    on_time, late = (_score(memory, _wave(40, seed=1), first=first) for first in (480, 492))

    assert on_time.max() < late.min()


def test_a_new_level_is_anomalous_until_it_has_lasted() -> None:
    memory = _memory(a=_wave(240))
    values = _wave(20 * WINDOW, seed=2)
    values[40:] += 4

    scores = _score(memory, values, first=480)

    before, during, after = scores[:30], scores[40:80], scores[-2 * WINDOW :]
    assert during.min() > after.max()
    assert np.median(after) < (np.median(before) + np.median(during)) / 2


def test_a_training_window_is_compared_with_others_only() -> None:
    training = _wave(240)
    training[100:104] = 9
    memory = _memory(a=training)

    scores = _score(memory, training, first=0)

    assert scores[97:103].min() > 2 * np.median(scores)


@pytest.mark.parametrize(("begin", "new"), [(0, 0), (110, 0), (110, 40)])
def test_a_training_window_is_not_compared_with_itself_where_numbers_count_rows(begin: int, new: int) -> None:
    """The rows of a training night are numbered from 1, with or without later steps after them."""
    values = _wave(240 + new, seed=5).astype(np.float32)  # as the stage gives them
    values[120:124] = 9
    training = [Segment.of(1, values[:240])]
    memory = SeriesMemory.fit({"a": training}, {"a": _model(training)}, window=WINDOW, day=None, is_aligned=False)
    numbered, counted = ([Segment.of(first, values[begin:])] for first in (1 + begin, 1))

    (expected,) = memory.score("a", numbered, _model(numbered), is_training=True)
    (found,) = memory.score("a", counted, _model(counted))

    np.testing.assert_allclose(found, expected, rtol=1e-12)
    match = memory.nearest("a", counted, 121 - begin)
    assert match is not None
    assert match.distance > 0.1


def test_constant_steps_and_steps_that_changed_are_compared_with_all_windows() -> None:
    for values, changed in ((np.ones((100, 1)), np.ones((100, 1))), (_wave(100), _wave(100) + 1e-3)):
        training = [Segment.of(1, values)]
        memory = SeriesMemory.fit({"a": training}, {"a": _model(training)}, window=WINDOW, day=None, is_aligned=False)
        later = [Segment.of(1, changed)]

        match = memory.nearest("a", later, 30)

        assert match is not None
        assert match.distance < 0.01


def test_an_unseen_entity_is_compared_with_all_entities() -> None:
    memory = _memory(a=_wave(240), b=_wave(240, seed=1) + 3)

    known, anomalous = (_score(memory, _wave(40, seed=2) + level, first=480, entity="new") for level in (3, -4))

    assert known.max() < anomalous.min()


def test_entities_without_a_window_and_empty_tables_are_accepted() -> None:
    for memory in (_memory(a=_wave(3)), SeriesMemory.fit({}, {}, window=WINDOW, day=None)):
        assert np.isfinite(_score(memory, _wave(20), first=0)).all()


@pytest.mark.parametrize("level", [0.0, 5.0])
def test_constant_series_have_finite_scores(level: float) -> None:
    memory = _memory(a=np.full((100, 1), level))

    scores = _score(memory, np.full((60, 1), level), first=200)

    assert np.isfinite(scores).all()
    assert _score(memory, np.full((60, 1), level + 1), first=200)[:10].min() > scores.max()


def test_files_hold_the_memory() -> None:
    memory = _memory(a=_wave(240), b=_wave(100, seed=3))

    opened = SeriesMemory.of(memory.files())

    assert opened.files() == memory.files()
    for entity in ("a", "b", "new"):
        values = _wave(50, seed=4)
        assert (
            _score(opened, values, first=300, entity=entity) == _score(memory, values, first=300, entity=entity)
        ).all()


@pytest.mark.parametrize("entity", ["a", "new"])
def test_the_nearest_known_window_has_the_distance_of_the_score(entity: str) -> None:
    memory = _memory(a=_wave(120), b=_wave(120, seed=1) + 2)
    values = _wave(80, seed=2) + np.repeat(np.random.default_rng(3).normal(size=(8, 1)), 10, axis=0) * 2
    segments = [Segment.of(300, values[:30]), Segment.of(335, values[35:])]

    parts = memory.parts(entity, segments, _model(segments))

    sides = set()
    for segment, of_segment in zip(segments, parts, strict=True):
        for at, expected in enumerate(of_segment.nearest.tolist()):
            found = memory.nearest(entity, segments, segment.first + at)
            assert found is not None
            assert np.hypot(found.distance, 0.02) == pytest.approx(expected, rel=1e-6)
            target = segment.values[:, at : at + WINDOW]
            assert np.sqrt(np.mean((target - found.values) ** 2)) <= found.distance + 1e-9
            sides.add(found.is_past)
    assert sides == {True, False}


def test_there_is_no_nearest_window_without_known_ones() -> None:
    memory = SeriesMemory.fit({}, {}, window=WINDOW, day=None)

    assert memory.nearest("a", [Segment.of(0, _wave(20))], 0) is None


@settings(max_examples=20)
@given(st.integers(0, 150), st.integers(0, 1_000))
def test_scores_do_not_depend_on_where_the_series_is_cut(cut: int, seed: int) -> None:
    memory = _memory(a=_wave(120))
    generator = np.random.default_rng(seed)
    values = _wave(400, seed=seed) + np.repeat(generator.normal(size=(10, 1)), 40, axis=0) * 3

    whole = _score(memory, values, first=200)
    later = _score(memory, values[cut:], first=200 + cut)

    settled = memory.history
    assert later[settled:] == pytest.approx(whole[cut + settled :], rel=1e-6, abs=1e-9)


def test_the_weights_of_a_network_of_single_steps_are_kept_in_the_bundle() -> None:
    usual = _memory(a=_wave(240))
    segments = {"a": [Segment.of(0, _wave(240))]}
    of_steps = SeriesMemory.fit(segments, {"a": _model(segments["a"])}, window=WINDOW, day=DAY, weights=OF_STEPS)

    again = SeriesMemory.of(of_steps.files())

    assert again.weights == OF_STEPS
    assert b"weights" not in usual.files()[FILE]  # as in bundles of earlier versions
    scales = of_steps.scales("a")
    parts = Parts(*(np.array([scale]) for scale in (scales.nearest, scales.model, scales.deviation)))
    assert parts.score(scales, again.weights).tolist() == pytest.approx([1.25 * np.log(2)])
    assert parts.score(scales, usual.weights).tolist() == pytest.approx([2 * np.log(2)])
