"""Membership inference: found on memorised rows, quiet on rows of the same distribution."""

import numpy as np
import pytest

from aepipe.quality.alignment import Columns, Rows
from aepipe.quality.membership import found_at, membership

COLUMNS = Columns(("a", "b", "c", "d"), ("kind",), (4,))
NAMES = {"distance ratio", "density ratio", "neighbourhood", "classifier"}


def rows(count: int, seed: int) -> Rows:
    rng = np.random.default_rng(seed)
    return Rows(rng.standard_normal((count, 4)), rng.integers(1, 4, (count, 1)).astype(np.int32))


def copied(train: Rows, count: int, *, noise: float) -> Rows:
    rng = np.random.default_rng(9)
    chosen = train.take(rng.integers(0, len(train), count))
    return Rows(chosen.numbers + noise * rng.standard_normal(chosen.numbers.shape), chosen.codes)


@pytest.mark.slow
def test_memorised_rows_are_found_and_new_rows_are_not() -> None:
    train, held_out = rows(800, 0), rows(600, 1)

    found = membership(COLUMNS, train, held_out, copied(train, 1_500, noise=0.05), seed=0)
    quiet = membership(COLUMNS, train, held_out, rows(1_500, 2), seed=0)

    assert found is not None
    assert quiet is not None
    assert {attack.name for attack in found.attacks} == NAMES
    assert found.auroc.low > 0.8
    assert found.found.low > 0.3
    aurocs = {attack.name: attack.auroc.low for attack in found.attacks}
    assert min(aurocs[name] for name in NAMES - {"classifier"}) > 0.6
    assert quiet.auroc.low < 0.52
    assert quiet.found.low < 0.02
    assert (found.targets, found.reference, found.synthetic) == (300, 300, 1_500)


@pytest.mark.slow
def test_few_memorised_rows_are_found_at_few_false_positives_only() -> None:
    train, held_out = rows(1_000, 0), rows(1_600, 1)
    fresh, copies = rows(900, 2), train.take(slice(0, 100))
    mixed = Rows(np.concatenate([fresh.numbers, copies.numbers]), np.concatenate([fresh.codes, copies.codes]))

    found = membership(COLUMNS, train, held_out, mixed, seed=0)

    assert found is not None
    assert found.auroc.low < 0.6
    assert found.found.low > 0.03


def test_audit_needs_fifty_rows_of_each_kind() -> None:
    assert membership(COLUMNS, rows(200, 0), rows(98, 1), rows(200, 2), seed=0) is None
    assert membership(COLUMNS, rows(200, 0), rows(200, 1), rows(49, 2), seed=0) is None


def test_share_found_allows_one_percent_of_non_members() -> None:
    scores = np.concatenate([np.arange(100.0) + 950, np.arange(1_000.0)])  # ten of 1,000 non-members exceed 989
    is_member = np.arange(1_100) < 100

    found = found_at(is_member, scores, np.random.default_rng(0))

    assert found.value == 0.6  # 990 to 1,049
    assert found.low <= 0.6 <= found.high
    assert found_at(is_member, np.zeros(1_100), np.random.default_rng(0)).high == 0.0
