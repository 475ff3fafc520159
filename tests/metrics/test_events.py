"""Events against brute force."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aepipe.errors import EvaluationInvalid
from aepipe.metrics.events import episode_recall, event_recall, point_adjusted_f1, runs

ROWS = st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=1, max_size=30)


def _events(anomalous: list[bool]) -> list[list[int]]:
    """Find events row by row: an event lasts while rows are anomalous."""
    events: list[list[int]] = []
    before = False
    for row, now in enumerate(anomalous):
        if now and before:
            events[-1].append(row)
        elif now:
            events.append([row])
        before = now
    return events


@given(st.lists(st.booleans(), max_size=30))
def test_runs_are_the_stretches_that_a_reader_row_by_row_finds(anomalous: list[bool]) -> None:
    assert [list(range(30))[run] for run in runs(anomalous)] == _events(anomalous)


@given(ROWS, st.integers(0, 30))
def test_no_threshold_within_the_budget_finds_more_events(rows: list[tuple[bool, int]], budget: int) -> None:
    anomalous, scores = [row[0] for row in rows], [float(row[1]) for row in rows]

    found = event_recall(anomalous, scores, false_alarms=budget)

    best = 0
    for threshold in (-np.inf, *scores):
        alarms = [score > threshold for score in scores]
        if sum(alarm and not truth for alarm, truth in zip(alarms, anomalous, strict=True)) <= budget:
            best = max(best, sum(any(alarms[row] for row in event) for event in _events(anomalous)))
    assert (found.found, found.events) == (best, len(_events(anomalous)))
    above = [score > found.threshold for score in scores]
    assert sum(alarm and not truth for alarm, truth in zip(above, anomalous, strict=True)) <= budget


def test_a_long_event_counts_once_and_one_alarm_finds_it() -> None:
    anomalous = [False, True, True, True, True, False, False, True, False]
    scores = [0, 9, 0, 0, 0, 5, 1, 4, 2]

    none, one = (event_recall(anomalous, scores, false_alarms=budget) for budget in (0, 1))

    assert (none.events, none.found, none.recall) == (2, 1, 0.5)
    assert one.found == 2
    assert one.threshold == 2


def test_an_event_without_a_score_is_not_found() -> None:
    assert event_recall([True, False], [-np.inf, -np.inf], false_alarms=5).found == 0


def test_without_events_nothing_is_missed_and_nothing_is_found() -> None:
    assert event_recall([False, False], [1.0, 2.0], false_alarms=1).recall == pytest.approx(0.0)


def _false_episodes(anomalous: list[bool], flagged: list[bool], series: list[int], longest: int) -> int:
    """Count false episodes point by point: an episode lasts while points of one series are flagged."""
    episodes: list[list[int]] = []
    for point, now in enumerate(flagged):
        goes_on = point > 0 and flagged[point - 1] and series[point - 1] == series[point]
        if now and goes_on:
            episodes[-1].append(point)
        elif now:
            episodes.append([point])
    cost = 0
    for episode in episodes:
        normal = sum(not anomalous[point] for point in episode)
        cost += math.ceil(normal / longest) if normal == len(episode) else normal // (2 * longest)
    return cost


@given(ROWS, st.integers(0, 6), st.integers(0, 30), st.integers(1, 4))
def test_episodes_stay_within_the_budget_down_to_the_lowest_threshold(
    rows: list[tuple[bool, int]], budget: int, border: int, longest: int
) -> None:
    anomalous, scores = [row[0] for row in rows], [float(row[1]) for row in rows]
    series = [int(point >= border) for point in range(len(rows))]

    found = episode_recall(anomalous, scores, false_episodes=budget, series=series, longest=longest)

    lowest = np.inf
    for threshold in (*sorted({*scores}, reverse=True), -np.inf):
        flagged = [score > threshold for score in scores]
        if _false_episodes(anomalous, flagged, series, longest) > budget:
            break
        lowest = threshold
    assert [score > found.threshold for score in scores] == [score > lowest for score in scores]


def test_one_long_false_episode_costs_no_more_than_a_short_one() -> None:
    anomalous = np.arange(600) // 10 == 4
    scores = np.where(np.arange(600) < 20, 5.0, 0.0) + np.where(np.arange(600) == 43, 3.0, 0.0)

    found = episode_recall(anomalous, scores, false_episodes=1)

    assert (found.events, found.found, found.recall) == (1, 1, 1.0)
    assert (found.delays, found.median_delay) == ((3,), 3.0)
    assert episode_recall(anomalous, scores, false_episodes=0).delays == (None,)


def test_flagging_everything_exceeds_the_budget() -> None:
    anomalous = np.arange(3_000) // 10 == 4

    assert episode_recall(anomalous, np.ones(3_000), false_episodes=10).found == 0
    assert episode_recall(anomalous, np.ones(3_000), false_episodes=15).found == 1


def test_an_event_ends_where_another_series_starts_and_points_without_a_score_are_not_flagged() -> None:
    anomalous = [False, True, True, False]
    scores = [np.nan, 3.0, np.nan, 0.0]

    one, two = (episode_recall(anomalous, scores, false_episodes=9, series=of) for of in (None, [0, 0, 1, 1]))

    assert one.delays == (0,)
    assert two.delays == (0, None)


def test_point_adjusted_f1_is_refused_with_the_reason() -> None:
    with pytest.raises(EvaluationInvalid, match=r"one flagged point counts for its whole event.*Use vus_pr"):
        point_adjusted_f1([0, 1], [0.1, 0.2])
