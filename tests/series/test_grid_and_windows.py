"""Grid and windows against a brute-force construction row by row."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from aepipe.series.grid import Grid, build_grid, filled
from aepipe.series.step_size import find_period, find_window, modal_step, phases, ranks_in_series, step_numbers
from aepipe.series.windows import point_scores, window_starts, windows_at

many = settings(max_examples=60)

_ROWS = st.lists(
    st.tuples(
        st.integers(0, 2),  # entity
        st.integers(-5, 30),  # step
        st.sampled_from([None, 1.0, 2.0, 3.0]),
    ),
    max_size=40,
)

UNKNOWN = {"segment_entity": np.zeros(0, np.int64), "segment_number": np.zeros(0, np.int64)}


def _grid(rows: list[tuple[int, int, float | None]], gap: int = 1) -> Grid:
    values = np.array([[np.nan if value is None else value] for *_, value in rows], np.float32).reshape(-1, 1)
    entity = np.array([entity for entity, *_ in rows], np.int64)
    index = np.array([step for _, step, _ in rows], np.int64)
    return build_grid(entity, index, values, order=index, longest_gap=gap)


def _brute_force(rows: list[tuple[int, int, float | None]], gap: int) -> list[list[float]]:
    """Return the segments as lists of values."""
    segments: list[list[float]] = []
    for entity in sorted({entity for entity, *_ in rows}):
        of_step = {step: value for own, step, value in rows if own == entity and value is not None}
        before: int | None = None
        for step in sorted(of_step):
            if before is None or step - before - 1 > gap:
                segments.append([])
            else:
                segments[-1] += [np.nan] * (step - before - 1)
            segments[-1].append(of_step[step])
            before = step
    return segments


@given(rows=_ROWS, gap=st.integers(0, 3))
@many
def test_grid_holds_the_last_value_of_each_step_and_splits_at_gaps(rows: list[Any], gap: int) -> None:
    grid = _grid(rows, gap)

    expected = _brute_force(rows, gap)
    assert grid.segment_lengths.tolist() == [len(segment) for segment in expected]
    assert_array_equal(grid.values[:, 0], np.array([value for segment in expected for value in segment], np.float32))
    present = [(entity, step) for entity, step, value in rows if value is not None]
    assert grid.duplicates == len(present) - len(set(present))
    last = {(entity, step): value for entity, step, value in rows if value is not None}
    for at, (entity, step, value) in enumerate(rows):
        if value is None:
            assert grid.row_step[at] == -1
        else:
            assert grid.values[grid.row_step[at], 0] == last[entity, step]


@given(rows=_ROWS, window=st.integers(1, 6))
@many
def test_windows_and_point_scores_equal_loops(rows: list[Any], window: int) -> None:
    grid = _grid(rows)

    starts = window_starts(grid, window)

    expected = [
        begin + at
        for begin, length in zip(grid.segment_starts, grid.segment_lengths, strict=True)
        for at in range(length - window + 1)
    ]
    assert starts.tolist() == expected
    assert_array_equal(
        windows_at(grid.values, starts, window)[:, 0],
        np.array([grid.values[start : start + window, 0] for start in starts]).reshape(-1, window),
    )
    scores = np.random.default_rng(0).normal(size=len(starts))
    scores[::5] = np.nan
    last = np.arange(grid.steps) + np.arange(grid.steps) % 3
    for limit in (None, last):
        found = point_scores(scores, starts, steps=grid.steps, window=window, last=limit)
        for step in range(grid.steps):
            covering = [
                (score, start)
                for start, score in zip(starts, scores, strict=True)
                if start <= step < start + window
                and np.isfinite(score)
                and (limit is None or start + window - 1 <= limit[step])
            ]
            assert found.windows[step] == len(covering)
            if covering:
                assert_allclose(found.score[step], np.mean([score for score, _ in covering]))
                assert found.highest[step] == max(covering)[1]
            else:
                assert np.isnan(found.score[step])
                assert found.highest[step] == -1


def test_a_missing_value_is_filled_from_at_most_the_longest_gap_before() -> None:
    values = np.array([[np.nan, 1], [2, np.nan], [np.nan, np.nan], [3, np.nan]], np.float32)
    grid = Grid(values, np.array([0]), np.zeros(0, np.int64), duplicates=0, **UNKNOWN)

    assert filled(grid, longest_gap=2).tolist() == [[0, 1], [2, 1], [2, 1], [3, 0]]
    assert filled(grid, longest_gap=1).tolist() == [[0, 1], [2, 1], [2, 0], [3, 0]]


def test_a_segment_is_not_filled_from_the_one_before() -> None:
    grid = Grid(
        np.array([[1, 5], [2, np.nan]], np.float32), np.array([0, 1]), np.zeros(0, np.int64), duplicates=0, **UNKNOWN
    )

    assert filled(grid, longest_gap=3).tolist() == [[1, 5], [2, 0]]


def test_rows_of_one_step_are_ranked_by_their_time() -> None:
    index, values = np.array([4, 4, 4]), np.array([[1], [2], [3]], np.float32)

    grid = build_grid(np.zeros(3, np.int64), index, values, order=np.array([30, 50, 40]), longest_gap=0)

    assert grid.values.tolist() == [[2]]
    assert grid.duplicates == 2


def test_modal_step_is_found_in_jittered_times_of_two_series() -> None:
    rng = np.random.default_rng(0)
    time = np.concatenate([np.arange(200) * 300, 130 + np.arange(200) * 300])
    time[rng.choice(400, 40, replace=False)] += rng.integers(-30, 30, 40)
    entity = np.repeat([0, 1], 200)

    assert modal_step(entity, time) == 300
    share = phases(entity, time, 300, entities=2)
    assert_allclose(np.minimum(share, 1 - share)[0], 0, atol=0.01)
    assert_allclose(share[1], 130 / 300, atol=0.01)
    numbers = step_numbers(time, 300, share[entity])
    assert_array_equal(numbers[:200] - numbers[0], np.arange(200))
    assert_array_equal(numbers[200:] - numbers[200], np.arange(200))


def test_no_step_is_usual_among_random_times() -> None:
    time = np.cumsum(np.random.default_rng(0).exponential(1_000_000, 500)).astype(np.int64)

    assert modal_step(np.zeros(500, np.int64), time) is None


def test_ranks_count_distinct_times_of_each_series() -> None:
    entity, time = np.array([0, 1, 0, 0, 1, 0]), np.array([5, 9, 5, 2, 1, 7])
    used = np.array([True, True, True, True, True, False])

    assert ranks_in_series(entity, time, used).tolist() == [2, 2, 2, 1, 1, 0]
    assert ranks_in_series(entity, None, used).tolist() == [1, 1, 2, 3, 2, 0]


@pytest.mark.parametrize(("period", "window"), [(24, 96), (7, 98), (90, 90), (288, 100), (150, 150)])
def test_window_is_a_multiple_of_the_period_near_100(period: int, window: int) -> None:
    time = np.arange(4_000)
    noise = np.random.default_rng(0).normal(0, 0.2, len(time))
    values = (np.sin(2 * np.pi * time / period) + noise).astype(np.float32)[:, None]
    grid = Grid(values, np.array([0]), time, duplicates=0, **UNKNOWN)

    assert find_period(grid) == pytest.approx(period, abs=1)
    assert find_window(grid) == pytest.approx(window, abs=4)


def test_noise_has_no_period_and_a_short_series_a_short_window() -> None:
    values = np.random.default_rng(0).normal(size=(1_000, 1)).astype(np.float32)
    grid = Grid(values, np.array([0]), np.arange(1_000), duplicates=0, **UNKNOWN)

    assert find_period(grid) is None
    assert find_window(grid) == 100
    assert find_window(Grid(values[:120], np.array([0]), np.arange(120), duplicates=0, **UNKNOWN)) == 24
