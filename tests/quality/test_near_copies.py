"""Near copies compared with brute force, on copies with noise and on sets of real rows."""

import numpy as np
import pytest

from aepipe.quality.alignment import Rows
from aepipe.quality.near_copies import NearCopies, near_copies


def purchases(count: int, seed: int) -> Rows:
    """Generate a price in cents, an age in years, a time in seconds since 1970 and two categories."""
    rng = np.random.default_rng(seed)
    price = np.round(rng.lognormal(4, 1, count), 2)
    price[rng.random(count) < 0.1] = np.nan
    age = rng.integers(18, 90, count).astype(np.float64)
    time = 1.7e9 + rng.integers(0, 86_400 * 300, count)
    return Rows(np.column_stack([price, age, time]), rng.integers(1, 4, (count, 2)).astype(np.int32))


def with_copies(train: Rows, fresh: Rows, share: float, *, factor: float) -> Rows:
    """Replace a share of fresh rows by training rows; their numbers, except the time, are scaled by a factor."""
    count = int(share * len(fresh))
    numbers = np.concatenate([train.numbers[:count] * [factor, factor, 1.0], fresh.numbers[count:]])
    return Rows(numbers, np.concatenate([train.codes[:count], fresh.codes[count:]]))


@pytest.mark.parametrize("factor", [1.0, 1.001, 0.998])
def test_five_percent_of_near_copies_are_found(factor: float) -> None:
    train, held_out, fresh = purchases(3_000, 0), purchases(500, 1), purchases(1_000, 2)

    found = near_copies(train, held_out, with_copies(train, fresh, 0.05, factor=factor), seed=0)

    assert not found.is_within
    assert 0.05 <= found.share - found.real * 0.95 < 0.06


def test_sets_of_real_rows_have_as_many_near_copies_as_real_rows() -> None:
    found = [
        near_copies(purchases(800, 3 * at), purchases(100, 3 * at + 1), purchases(300, 3 * at + 2), seed=at)
        for at in range(50)
    ]

    assert all(each.is_within for each in found)


def test_repeated_real_rows_raise_the_bound_and_rows_do_not_count_themselves() -> None:
    unique, repeated = purchases(400, 0), purchases(400, 0).take(np.repeat(np.arange(200), 2))

    one = near_copies(unique, purchases(50, 1), unique.take(slice(0, 40)), seed=0)
    two = near_copies(repeated, purchases(50, 1), repeated.take(slice(0, 40)), seed=0)

    assert (one.share, one.is_within) == (1.0, False)
    assert one.real < 0.05
    assert two.real > 0.8


def test_shares_equal_a_double_loop() -> None:
    rng = np.random.default_rng(0)
    sides = [
        Rows(rng.integers(-20, 20, (n, 2)).astype(np.float64), rng.integers(0, 2, (n, 1)).astype(np.int32))
        for n in (60, 30, 80)
    ]
    train, held_out, drawn = sides

    found = near_copies(train, held_out, drawn, seed=0)

    low, high = np.quantile(train.numbers, [0.25, 0.75], axis=0)
    tolerance = np.maximum(0.5, 0.01 * (high - low) / 1.349)  # half a step: integers, whose share of a value is less
    assert found.share == share_of(drawn, train, tolerance * found.tolerance, itself=False)
    real = share_of(held_out, train, tolerance * found.tolerance, itself=False) * 30
    real += share_of(train, train, tolerance * found.tolerance, itself=True) * 60
    assert found.real == pytest.approx(real / 90)


def share_of(rows: Rows, train: Rows, tolerance: np.ndarray, *, itself: bool) -> float:
    """Return the share of rows with a training row within the tolerance, by comparing every pair."""
    near = [
        any(
            (at != other or not itself)
            and np.array_equal(rows.codes[at], train.codes[other])
            and bool((np.abs(rows.numbers[at] - train.numbers[other]) <= tolerance).all())
            for other in range(len(train))
        )
        for at in range(len(rows))
    ]
    return float(np.mean(near))


def test_rows_with_another_category_or_gap_are_not_copies() -> None:
    train = purchases(200, 0)
    other = Rows(train.numbers, np.where(train.codes == 1, 9, train.codes))
    gaps = Rows(np.where(np.isnan(train.numbers), 1.0, train.numbers), train.codes)

    changed = (train.codes == 1).any(axis=1)
    missing = np.isnan(train.numbers).any(axis=1)
    for rows in (other.take(np.flatnonzero(changed)), gaps.take(np.flatnonzero(missing))):
        found = near_copies(train, purchases(50, 1), rows, seed=0)
        assert isinstance(found, NearCopies)
        assert found.share < 0.05
