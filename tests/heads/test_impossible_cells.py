"""Cells that training rows rule out: ranges, new categories, dependencies, and the columns that get no addition."""

import numpy as np
import pytest
import torch

from aepipe.heads.cell_predictor import CellRows
from aepipe.heads.impossible_cells import IMPOSSIBLE_SCORE, ImpossibleCells, find_dependencies, limits
from aepipe.layout import FIRST_VALUE, RARE, UNSEEN, Category, Layout, Number

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


def test_the_range_of_a_heavy_tail_is_wide() -> None:
    exponential = np.random.default_rng(0).exponential(size=(200, 500))

    beyond = [fresh.max() > limits(known)[1] for known, fresh in zip(exponential[::2], exponential[1::2], strict=True)]

    assert np.mean(beyond) <= 0.1
