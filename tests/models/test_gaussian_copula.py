"""Gaussian copula of codes, compared with closed forms."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from aepipe.models.gaussian_copula import draw_by_copula


def correlated(rows: int, correlation: float, codes: int) -> NDArray[np.int32]:
    """Draw two columns of normal variables, as codes of equal shares."""
    normal = np.random.default_rng(0).multivariate_normal([0, 0], [[1, correlation], [correlation, 1]], rows)
    return (normal.argsort(0).argsort(0) * codes // rows).astype(np.int32)


def rank_correlation(codes: NDArray[np.int32]) -> float:
    return float(np.corrcoef(codes, rowvar=False)[0, 1])


def test_draws_have_the_shares_and_the_rank_correlation_of_the_rows() -> None:
    rows = correlated(20_000, -0.8, 50)

    drawn = draw_by_copula(rows, [range(50)] * 2, rows=20_000, seed=1)

    assert drawn.dtype == np.int32
    assert np.abs(np.bincount(drawn[:, 0], minlength=50) / 20_000 - 0.02).max() < 0.005
    assert rank_correlation(drawn) == pytest.approx(6 / math.pi * math.asin(-0.8 / 2), abs=0.02)


def test_codes_are_ranked_by_the_values_that_they_stand_for() -> None:
    rows = correlated(5_000, 0.9, 20)
    order = np.random.default_rng(3).permutation(20)  # order[k]: code of the k-th smallest value
    renamed = order[rows].astype(np.int32)

    drawn = draw_by_copula(renamed, [order.tolist()] * 2, rows=5_000, seed=1)

    assert rank_correlation(order.argsort()[drawn].astype(np.int32)) == pytest.approx(rank_correlation(rows), abs=0.03)
    assert abs(rank_correlation(drawn)) < 0.5


def test_values_without_an_order_are_ranked_by_frequency_and_no_code_is_new() -> None:
    generator = np.random.default_rng(0)
    kind = generator.choice([1, 7, 3], 2_000, p=[0.2, 0.5, 0.3])
    size = np.where(kind == 7, 4, np.where(kind == 3, 5, 6))
    rows = np.column_stack([kind, size]).astype(np.int32)

    drawn = draw_by_copula(rows, [None, range(8)], rows=4_000, seed=2)

    assert set(drawn[:, 0]) == {1, 3, 7}
    assert (np.bincount(drawn[:, 0])[[1, 3, 7]] / 4_000).round(1).tolist() == [0.2, 0.3, 0.5]
    assert (drawn[drawn[:, 0] == 7, 1] == 4).mean() > 0.7  # 0.5 if the columns were independent


def test_constant_columns_and_more_columns_than_rows_are_drawn() -> None:
    rows = np.random.default_rng(0).integers(3, 9, (10, 40)).astype(np.int32)
    rows[:, 5] = 4

    drawn = draw_by_copula(rows, [None] * 40, rows=100, seed=0)

    assert (drawn[:, 5] == 4).all()
    assert np.array_equal(drawn, draw_by_copula(rows, [None] * 40, rows=100, seed=0))
