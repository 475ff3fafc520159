"""Copies, closeness and coverage compared with brute force, and on memorized rows."""

from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aepipe.quality.alignment import Columns, Rows
from aepipe.quality.coverage import coverage, expected_neighbourhoods, neighbourhoods
from aepipe.quality.distance_to_closest import closeness, exchange_deviation
from aepipe.quality.exact_copies import RowSet, copies, row_codes
from aepipe.quality.frechet import frechet_distance
from aepipe.quality.nearest_neighbours import nearest, scaled

VALUES = st.tuples(
    st.sampled_from([None, 1, 2]),
    st.sampled_from([None, "a", "b"]),
    st.sampled_from([0.5, float("inf"), -0.0, 0.0]),
    st.sampled_from([None, [], [[1.0, 2.0]], [[2.0, 1.0]], [[1.0, 2.0], [3.0, 4.0]]]),
)


def table(rows: list[tuple]) -> pa.Table:
    kinds = [pa.int16(), pa.dictionary(pa.int8(), pa.string()), pa.float32(), pa.list_(pa.list_(pa.float64(), 2))]
    columns = zip(*rows, strict=True) if rows else [[]] * len(kinds)
    return pa.table(
        {f"c{at}": pa.array(list(column), kind) for at, (column, kind) in enumerate(zip(columns, kinds, strict=True))}
    )


@given(st.lists(VALUES, max_size=8), st.lists(VALUES, max_size=8))
def test_rows_have_equal_codes_if_all_values_are_equal(first: list[tuple], second: list[tuple]) -> None:
    codes = np.concatenate(row_codes([table(first), table(second)]))

    both = first + second
    for one, other in combinations(range(len(both)), 2):
        assert (codes[one] == codes[other]) == (both[one] == both[other])


@given(st.lists(VALUES, max_size=8), st.lists(VALUES, max_size=8))
def test_a_set_of_rows_contains_the_rows_that_are_equal_in_all_values(known: list[tuple], asked: list[tuple]) -> None:
    assert RowSet(table(known)).contains(table(asked)).tolist() == [row in known for row in asked]


def test_a_set_of_rows_compares_times_booleans_and_text_of_batches_by_value() -> None:
    rng = np.random.default_rng(0)

    def mixed_types(rows: int) -> pa.Table:
        nulls = rng.random(rows) < 0.2
        return pa.table(
            {
                "at": pa.array(rng.integers(0, 4, rows), pa.timestamp("us"), mask=nulls),
                "day": pa.array(rng.integers(0, 3, rows).astype(np.int32), pa.date32()),
                "took": pa.array(rng.integers(0, 2, rows), pa.duration("s")),
                "paid": pa.array(rng.random(rows) < 0.5, mask=nulls[::-1]),
                "town": rng.choice(["a", "b"], rows),
                "price": pa.array(rng.integers(0, 2, rows).astype(np.float64)).cast(pa.decimal128(10, 2)),
            }
        )

    known, asked = mixed_types(60), mixed_types(300)
    first, second = row_codes([known, asked])

    found = RowSet(known).contains(asked)

    assert np.array_equal(found, np.isin(second, first))
    assert 0.1 < found.mean() < 0.9


def test_copies_may_be_as_frequent_as_among_held_out_rows() -> None:
    train, held_out = pa.table({"x": list(range(90)) + [7] * 10}), pa.table({"x": [7] * 5 + [100] * 95})

    ordinary = copies(train, held_out, pa.table({"x": [7] * 9 + [200] * 91}))
    by_heart = copies(train, held_out, pa.table({"x": list(range(50)) + [200] * 50}))

    assert (ordinary.share, ordinary.held_out) == (0.09, 0.05)
    assert ordinary.is_within
    assert by_heart.share == 0.5
    assert not by_heart.is_within


def mixed(count: int, seed: int, *, shift: float = 0.0) -> Rows:
    rng = np.random.default_rng(seed)
    numbers = shift + rng.standard_normal((count, 3))
    numbers[rng.random((count, 3)) < 0.1] = np.nan
    return Rows(numbers, rng.integers(0, 3, (count, 2)).astype(np.int32))


def test_nearest_row_equals_double_loop() -> None:
    rows, others = scaled(mixed(30, 0), (mixed(30, 0), mixed(40, 1)))

    found = nearest(rows, others)

    for at in range(len(rows)):
        far = np.abs(rows.numbers[at] - others.numbers).sum(1) + (rows.codes[at] != others.codes).sum(1)
        assert found.index[at] == far.argmin()
        assert found.distance[at] == pytest.approx(far.min())


def test_memorized_rows_are_closer_to_training_rows_and_new_rows_are_not() -> None:
    train, held_out = mixed(700, 0), mixed(200, 1)
    noisy = Rows(train.numbers + 0.01, train.codes)

    assert closeness(train, held_out, mixed(1_000, 2), seed=0).is_within(0.05)
    found = closeness(train, held_out, noisy, seed=0)
    assert found.held_out_rows == 200
    assert found.share > 0.6  # 200 of 700 memorised rows are examined
    assert not found.is_within(0.05)


def test_deviation_of_share_equals_that_over_all_splits_in_half() -> None:
    weights = np.array([0.4, 0.1, 0.2, 0.0, 0.05, 0.25])

    sums = [weights[list(half)].sum() for half in combinations(range(6), 3)]

    assert exchange_deviation(weights) == pytest.approx(np.std(sums))


def test_coverage_of_same_distribution_is_as_expected_and_lost_mode_is_detected() -> None:
    real, same = mixed(1_500, 0), mixed(1_500, 1)
    half = same.take(np.flatnonzero(same.numbers[:, 0] > 0))

    assert neighbourhoods(real, same) == pytest.approx(expected_neighbourhoods(1_500, 1_500), abs=0.02)
    assert neighbourhoods(real.take(slice(0, len(half))), half) < 0.75
    assert np.isnan(neighbourhoods(real.take(slice(0, 5)), same))


def test_coverage_counts_reproduced_values_and_ranges() -> None:
    columns = Columns(("x", "c"), ("kind",), (4,))
    real = Rows(np.array([[0.0, 5.0], [10.0, 5.0], [np.nan, 5.0]]), np.array([[1], [2], [3]], np.int32))
    drawn = Rows(np.array([[2.0, 5.0], [9.0, 6.0]]), np.array([[1], [0]], np.int32))

    found = coverage(columns, train=real, held_out=real, synthetic=drawn, seed=0)

    assert found.values == {"kind": pytest.approx(1 / 3)}
    assert found.ranges["x"] == pytest.approx(0.7)
    assert np.isnan(found.ranges["c"])


def test_frechet_distance_of_axis_aligned_normals_equals_closed_form() -> None:
    corners = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    first, second = corners * [2.0, 1.0], corners * [5.0, 3.0] + [1.0, 0.0]

    expected = 1.0 + 4 / 3 * ((5 - 2) ** 2 + (3 - 1) ** 2)  # diagonal: the squared difference of the deviations

    assert frechet_distance(first, second) == pytest.approx(expected)
    assert frechet_distance(first, first) == pytest.approx(0.0, abs=1e-9)
