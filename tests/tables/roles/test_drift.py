"""Share of later values outside the range of earlier ones, against brute force."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aepipe.tables.roles.drift import NOTEWORTHY, Ranges, find_drift


def groups_of(values: list[list[float]]) -> list[pa.Table]:
    return [pa.table({"x": pa.array(each, pa.float64())}) for each in values]


@settings(max_examples=200)
@given(st.lists(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=6), min_size=2, max_size=6))
def test_share_outside_equals_brute_force(values: list[list[float]]) -> None:
    rows = sum(map(len, values))
    common = {
        value
        for each in values
        for value in each
        if sum(value in other for other in values) >= 2 and sum(other.count(value) for other in values) >= 0.02 * rows
    }
    found = [([value for value in each if value not in common], len(each)) for each in values]
    kept = [(own, n) for own, n in found if own]
    shares = []
    for index in range(1, len(kept)):
        before = [value for own, _ in kept[:index] for value in own]
        own, n = kept[index]
        shares.append(sum(not min(before) <= value <= max(before) for value in own) / n)

    measured = find_drift(groups_of(values))

    assert [drift.outside for drift in measured] == pytest.approx(
        [np.mean(shares)] if shares and np.mean(shares) >= NOTEWORTHY else []
    )


def test_column_that_returns_to_earlier_values_does_not_drift() -> None:
    sampled = groups_of([[0.0] * 9, [2.0] * 9, [5.0] * 9])
    whole_weeks = [Ranges({"x": (float(day % 7), float(day % 7))}) for day in range(60)]

    assert find_drift(sampled)
    assert not find_drift(sampled, whole_weeks)
    assert find_drift(sampled, [Ranges({"x": (day, day + 0.5)}) for day in map(float, range(60))])


def test_one_group_shows_no_drift() -> None:
    assert find_drift(groups_of([[1.0, 2.0]])) == ()


def test_texts_drift_when_they_are_new_and_repeat() -> None:
    versions = [pa.table({"v": [f"1.{day}"] * 50, "who": [f"{day}-{row}" for row in range(50)]}) for day in range(4)]

    assert [(drift.column, drift.outside, drift.is_counter) for drift in find_drift(versions)] == [("v", 1.0, True)]
