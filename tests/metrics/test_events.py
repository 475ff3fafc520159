"""Events against brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aepipe.metrics.events import event_recall, runs

ROWS = st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=1, max_size=30)


def _events(anomalous: list[bool]) -> list[list[int]]:
    """Row by row: an event goes on while rows are anomalous."""
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
