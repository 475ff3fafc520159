"""Cells that training rows rule out: ranges, new categories, dependencies, and the columns that get no addition."""

import numpy as np
import pytest
import torch

from aepipe.heads.cell_predictor import CellRows
from aepipe.heads.impossible_cells import (
    EXCEPTIONS,
    IMPOSSIBLE_SCORE,
    ImpossibleCells,
    _new_codes,
    find_dependencies,
    limits,
)
from aepipe.layout import FIRST_VALUE, MISSING, RARE, UNSEEN, Category, Layout, Number

LAYOUT = Layout(
    columns=("amount", "opened", "city", "country", "kind"),
    numbers=(Number(name="amount", column=0), Number(name="opened.week", column=1)),
    categories=tuple(
        Category(name=name, column=2 + at, size=FIRST_VALUE + size)
        for at, (name, size) in enumerate({"city": 40, "country": 4, "kind": 3}.items())
    ),
)
"""The city determines the country; the kind is drawn by chance."""


def _rows(rows: int, seed: int) -> CellRows:
    generator = np.random.default_rng(seed)
    city = generator.integers(0, 40, rows)
    codes = np.stack([city, city % 4, generator.integers(0, 3, rows)], 1) + FIRST_VALUE
    dense = torch.from_numpy(generator.normal(size=(rows, 2)).astype(np.float32))
    return CellRows(dense, torch.ones_like(dense), torch.from_numpy(codes))


def _learned(train: CellRows, dev: CellRows) -> ImpossibleCells:
    impossible = ImpossibleCells(LAYOUT)
    impossible.learn(LAYOUT, train, dev)
    return impossible


def test_rows_like_the_training_rows_hardly_ever_get_an_addition() -> None:
    impossible, rows = _learned(_rows(2_000, 0), _rows(300, 1)), _rows(2_000, 2)

    assert impossible.numbers(rows.dense).any(1).sum() <= 1
    assert not impossible.categories(rows.codes).any()


def test_a_number_far_outside_of_its_range_gets_the_addition_and_parts_of_a_date_do_not() -> None:
    impossible = _learned(_rows(2_000, 0), _rows(300, 1))

    found = impossible.numbers(torch.tensor([[8.0, 0.0], [-8.0, 0.0], [0.0, 8.0]]))

    assert found.tolist() == [[IMPOSSIBLE_SCORE, 0], [IMPOSSIBLE_SCORE, 0], [0, 0]]


def test_a_city_in_another_country_gets_the_addition_at_the_country() -> None:
    impossible = _learned(_rows(2_000, 0), _rows(300, 1))
    codes = torch.tensor([[5, (5 - FIRST_VALUE + 1) % 4, 0]]) + torch.tensor([[0, FIRST_VALUE, FIRST_VALUE]])

    found = impossible.categories(codes)

    assert found.tolist() == [[0, 0, 0, IMPOSSIBLE_SCORE, 0]]


@pytest.mark.parametrize("code", [RARE, UNSEEN])
def test_a_city_without_a_known_country_breaks_nothing(code: int) -> None:
    impossible = _learned(_rows(2_000, 0), _rows(300, 1))

    found = impossible.categories(torch.tensor([[code, FIRST_VALUE, FIRST_VALUE]]))

    assert found[0, 3] == 0
    assert found[0, 2] == (IMPOSSIBLE_SCORE if code == UNSEEN else 0)


def test_what_dev_rows_have_gets_no_addition() -> None:
    train, dev = _rows(2_000, 0), _rows(300, 1)
    dev.dense[0, 0] = 9.0
    dev.codes[1] = torch.tensor([FIRST_VALUE, FIRST_VALUE + 1, UNSEEN])

    impossible = _learned(train, dev)

    assert not impossible.numbers(torch.tensor([[9.0, 0.0]])).any()
    assert not impossible.categories(torch.tensor([[FIRST_VALUE, FIRST_VALUE + 1, UNSEEN]])).any()
    assert impossible.categories(torch.tensor([[UNSEEN, FIRST_VALUE, FIRST_VALUE]]))[0, 2] == IMPOSSIBLE_SCORE


def test_only_categories_that_another_one_determines_depend_on_it() -> None:
    codes = _rows(2_000, 0).codes.numpy()
    sizes = [category.size for category in LAYOUT.categories]

    (found,) = find_dependencies(codes, sizes)

    assert (found.source, found.target) == (0, 1)
    assert (found.values[FIRST_VALUE:] == np.arange(40) % 4 + FIRST_VALUE).all()
    assert (found.values[:FIRST_VALUE] == -1).all()


def test_a_category_that_nearly_always_has_one_value_depends_on_nothing() -> None:
    codes = np.stack([np.arange(1_000) % 40, (np.arange(1_000) % 40 == 0).astype(int)], 1) + FIRST_VALUE

    assert find_dependencies(codes, [43, 5]) == []


def test_rules_that_the_training_rows_themselves_break_too_often_are_left_out() -> None:
    train, dev = _rows(1_200, 0), _rows(300, 1)
    train.dense[0, 0], train.dense[1, 0] = 12.0, -15.0  # each far beyond all other rows
    train.codes[:, 2] = torch.where(train.codes[:, 2] == FIRST_VALUE + 2, FIRST_VALUE, train.codes[:, 2])
    train.codes[2, 2] = FIRST_VALUE + 2  # the only row of its kind: new to all others

    impossible = _learned(train, dev)

    # one of 1,200 rows is within the share: the new kind is, the range with two exceptions is not
    assert not torch.isfinite(impossible.high[0]) and not torch.isfinite(impossible.low[0])
    assert impossible.of_unseen[:, [2, 4]].sum(0).tolist() == [IMPOSSIBLE_SCORE, IMPOSSIBLE_SCORE]


def test_the_exceptions_of_a_category_are_the_values_that_a_fifth_of_the_rows_has_alone() -> None:
    """Compare with random divisions: each row is in one of five parts, and new if the other parts lack its value."""
    codes = np.repeat(np.arange(7), [1, 1, 2, 3, 3, 20, 40]) + FIRST_VALUE
    generator, found = np.random.default_rng(0), []
    for _ in range(10_000):
        parts = generator.integers(0, 5, len(codes))
        found.append(sum(not (codes[parts != parts[at]] == codes[at]).any() for at in range(10)))

    assert _new_codes(codes) == pytest.approx(np.mean(found), abs=0.06)
    assert _new_codes(np.array([RARE, RARE, MISSING, FIRST_VALUE])) == 3.0


def test_columns_with_new_values_now_and_then_are_left_out_and_others_are_not() -> None:
    """Ten columns of a long tail: without a limit, about 2 % of new rows would have a value that training lacks."""
    layout = Layout(
        columns=tuple(f"c{at}" for at in range(20)),
        categories=tuple(Category(name=f"c{at}", column=at, size=FIRST_VALUE + 400) for at in range(20)),
    )

    def rows(count: int, seed: int) -> CellRows:
        generator = np.random.default_rng(seed)
        tails, few = np.minimum(generator.zipf(3.2, size=(count, 10)), 400) - 1, generator.integers(0, 9, (count, 10))
        return CellRows(
            torch.zeros(count, 0), torch.zeros(count, 0), torch.from_numpy(np.hstack([tails, few]) + FIRST_VALUE)
        )

    train, fresh = rows(2_000, 0), rows(20_000, 1)
    is_known = np.stack([np.isin(fresh.codes[:, at], train.codes[:, at]) for at in range(20)], 1)
    seen = torch.where(torch.from_numpy(is_known), fresh.codes, UNSEEN)
    impossible = ImpossibleCells(layout)

    impossible.learn(layout, train, rows(20, 2))

    assert (seen == UNSEEN).any(1).float().mean() > 0.01
    assert (impossible.of_unseen[10:] > 0).sum() == 10
    assert (impossible.categories(seen) > 0).any(1).float().mean() < 3 * EXCEPTIONS  # the luckiest of the ten is kept


def test_the_range_of_a_heavy_tail_is_wide() -> None:
    exponential = np.random.default_rng(0).exponential(size=(200, 500))

    beyond = [fresh.max() > limits(known)[1] for known, fresh in zip(exponential[::2], exponential[1::2], strict=True)]

    assert np.mean(beyond) <= 0.1
