"""Quantile functions inside bins: moments and tails of real and heavy-tailed numbers survive their codes."""

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer, load_wine

from aepipe.encoding.binned.number import decimals
from aepipe.encoding.binned.quantile_bins import Bins, fit_bins
from aepipe.layout import FIRST_VALUE, UNSEEN


def through_codes(values: np.ndarray, *, learned: slice = slice(None), copies: int = 20) -> np.ndarray:
    """Encode and decode values, with uniforms that are evenly spread within each code: no sampling noise.

    The codes are fitted to `learned` and used for all values.
    """
    bins = fit_bins(values[learned], decimals=decimals(values[learned], 1e-9))
    bins = bins.with_values(values, decimals=decimals(values, 1e-9))
    codes = np.sort(np.repeat(bins.codes(values), copies))
    codes = codes[codes != UNSEEN]
    _, starts, counts = np.unique(codes, return_index=True, return_counts=True)
    ranks = np.arange(len(codes)) - np.repeat(starts, counts)
    return bins.values(codes, (ranks + 0.5) / np.repeat(counts, counts)).astype(np.float64)


def amounts() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    spread = generator.lognormal(8, 1.3, 30_000)
    return {
        "cents": np.round(generator.lognormal(7, 2, 30_000), 2),
        "power law": generator.pareto(2.5, 30_000) * 100,
        "whole amounts, often zero": np.where(generator.random(30_000) < 0.2, 0, np.rint(spread)).astype(np.int64),
        "debts": -np.round(spread),
        "one outlier": np.append(generator.normal(50, 5, 20_000), 5_000.0),
        "two clusters": np.concatenate([generator.normal(0, 1, 9_000), generator.normal(1e6, 10, 1_000)]),
        **_columns(load_wine()),
        **_columns(load_breast_cancer()),
    }


def _columns(table: Any) -> dict[str, np.ndarray]:
    return dict(zip(map(str, table.feature_names), table.data.T, strict=True))


@pytest.mark.parametrize("name", list(amounts()))
def test_moments_and_tails_survive_their_codes(name: str) -> None:
    values = amounts()[name]

    drawn = through_codes(values)

    assert drawn.mean() == pytest.approx(values.mean(), rel=0.02)
    assert drawn.std() == pytest.approx(values.std(), rel=0.05)
    for quantile, share in ((0.99, 0.05), (0.999, 0.10)) if len(values) > 5_000 else ():
        assert np.quantile(drawn, quantile) == pytest.approx(np.quantile(values, quantile), rel=share)
    assert drawn.min() >= values.min() and drawn.max() <= values.max()


@pytest.mark.parametrize("name", list(amounts()))
def test_moments_and_tails_are_those_of_all_rows_though_two_thirds_set_the_codes(name: str) -> None:
    values = np.sort(np.random.default_rng(5).permutation(amounts()[name]))
    values = np.concatenate([values[1::3], values[::3], values[2::3]])  # the greatest values set no code
    learned = slice(0, 2 * (len(values) // 3))

    drawn = through_codes(values, learned=learned)

    assert drawn.mean() == pytest.approx(values.mean(), rel=0.02)
    assert drawn.std() == pytest.approx(values.std(), rel=0.05)
    for quantile, share in ((0.99, 0.05), (0.999, 0.10)) if len(values) > 5_000 else ():
        assert np.quantile(drawn, quantile) == pytest.approx(np.quantile(values, quantile), rel=share)
    assert drawn.min() >= values.min() and drawn.max() <= values.max()


@given(
    st.lists(st.integers(-60, 60), min_size=1, max_size=200),
    st.lists(st.integers(-60, 60), max_size=100),
    st.floats(0, 1, exclude_max=True),
)
def test_other_rows_change_no_code_and_draws_stay_between_the_neighbouring_codes(
    learned: list[int], others: list[int], uniform: float
) -> None:
    bins, every = fit_bins(np.array(learned)), np.array([*learned, *others])
    anything = np.arange(-80, 81)

    known = bins.with_values(every)
    drawn = known.values(codes := np.unique(bins.codes(np.array(learned))), np.full(len(codes), uniform))

    assert np.array_equal(known.codes(anything), bins.codes(anything))
    found = known.codes(drawn)
    assert np.array_equal(found[found != UNSEEN], codes[found != UNSEEN])
    assert every.min() <= drawn.min() and drawn.max() <= every.max()
    assert bins.with_values(np.array(learned)) == bins
    wide, usual = known.widened().codes(every), known.codes(every)
    assert np.array_equal(wide[usual != UNSEEN], usual[usual != UNSEEN])
    assert (wide[known.is_near(every)] != UNSEEN).all() or not bins.lows


@pytest.mark.parametrize(("late_rows", "are_taken"), [(20, True), (400, False)])
def test_a_bin_accepts_a_few_values_beyond_it_but_not_a_column_that_has_shifted(
    late_rows: int, are_taken: bool
) -> None:
    early, late = np.linspace(0, 100, 6_400), np.linspace(101, 300, late_rows)
    bins = fit_bins(early)

    known = bins.with_values(np.append(early, late))
    drawn = known.values(np.full(1_000, bins.size - 1, np.int32), np.linspace(0, 1, 1_000, endpoint=False))

    assert (drawn.max() > 299) == are_taken
    assert (drawn.max() <= 100) == (not are_taken)
    assert (drawn > 100).mean() == pytest.approx(late_rows / (late_rows + 100) if are_taken else 0, abs=0.02)


def test_an_outlier_joins_a_bin_of_a_single_row() -> None:
    bins = fit_bins(np.append(np.zeros(500), 5.0))

    known = bins.with_values(np.append(np.zeros(700), [5.0, 9.0]))
    drawn = known.values(np.full(4, bins.size - 1, np.int32), np.array([0.0, 0.4, 0.6, 0.9]))

    assert drawn.tolist() == [5, 5, 9, 9]
    assert known.codes(np.array([0.0, 5.0, 9.0, 20.0]))[2:].tolist() == [UNSEEN, UNSEEN]
    assert known.widened().codes(np.array([5.0, 9.0, 20.0])).tolist() == [bins.size - 1, bins.size - 1, UNSEEN]


def test_an_outlier_of_one_row_is_drawn_as_often_as_it_occurs_and_nothing_between() -> None:
    values = np.append(np.random.default_rng(0).normal(50, 5, 5_000), 900.0)

    drawn = through_codes(values, copies=100)

    assert (drawn == 900).sum() == pytest.approx(100, abs=2)
    assert (drawn > 80).sum() == (drawn == 900).sum()


def test_often_repeated_values_of_a_bin_are_drawn_as_they_are_and_as_often() -> None:
    prices = np.round(np.random.default_rng(3).lognormal(3, 1, 20_000)) - 0.01

    drawn = through_codes(prices)

    common = {price: rows for price, rows in zip(*np.unique(prices, return_counts=True), strict=True) if rows >= 20}
    found = dict(zip(*np.unique(drawn, return_counts=True), strict=True))
    for price, rows in common.items():
        assert found[price] / 20 == pytest.approx(rows, rel=0.3)
    assert np.mean(np.isin(drawn, prices)) > 0.98  # rare prices of the tail are interpolated


@pytest.mark.parametrize(
    ("below", "unit"),
    [(10_000, 1.0), (400, 1.0), (10_000, np.sqrt(7))],
    ids=["whole", "whole, next to each other", "without decimals"],
)
def test_values_of_a_few_rows_among_single_ones_are_drawn_as_often_as_they_occur(below: int, unit: float) -> None:
    generator = np.random.default_rng(4)
    whole = generator.choice(below, 300, replace=False)
    rows = np.append(generator.integers(2, 11, 100), np.ones(200, np.int64))
    values = generator.permutation(np.repeat(whole, rows)) * unit

    drawn = through_codes(values, copies=100)

    shares = np.array([(drawn == value * unit).mean() for value in whole[:100]])
    is_close = np.isclose(shares * len(values), rows[:100], rtol=0.02, atol=0.1)
    assert is_close.mean() > 0.92  # next to an atom, draws that meet it become the value after it
    if unit != 1:
        assert np.mean(np.isin(drawn, whole[100:] * unit)) < 0.05  # a value of one row is not copied


def test_bins_without_knots_are_uniform_as_in_encodings_without_them() -> None:
    values = np.random.default_rng(0).lognormal(7, 2, 5_000)
    bins = fit_bins(values)
    without = bins.model_dump(mode="json")
    del without["knots"]
    old = Bins.model_validate(without)
    codes, uniform = np.full(3, FIRST_VALUE + 5, np.int32), np.array([0.0, 0.5, 0.999])

    drawn = old.values(codes, uniform)

    assert drawn == pytest.approx(old.lows[5] * (1 - uniform) + old.highs[5] * uniform)
    assert np.array_equal(old.codes(values), bins.codes(values))
    assert Bins.model_validate_json(bins.model_dump_json()) == bins


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=2, max_size=300), st.floats(0, 1, exclude_max=True))
@example([2**63 - 21, 2**63 - 2], 0.0)
@example([-(2**63) + 1, -(2**63) + 20], 0.0)
def test_drawn_integers_of_any_size_have_the_code_that_they_are_drawn_for(values: list[int], uniform: float) -> None:
    bins = fit_bins(np.array(values))
    codes = np.unique(bins.codes(np.array(values)))

    drawn = bins.values(codes, np.full(len(codes), uniform))

    assert np.array_equal(bins.codes(drawn), codes)


def test_later_quantiles_are_never_smaller() -> None:
    bins = fit_bins(np.random.default_rng(1).lognormal(7, 2, 5_000))
    uniform = np.linspace(0, 1, 2_000, endpoint=False)
    for code in range(FIRST_VALUE, bins.size):
        drawn = bins.values(np.full(len(uniform), code, np.int32), uniform)
        assert (np.diff(drawn) >= 0).all()


@pytest.mark.parametrize(("rows_per_rare_value", "is_drawn_between"), [(60, False), (1, True)])
def test_of_a_column_with_few_values_no_value_between_them_is_drawn(
    rows_per_rare_value: int, is_drawn_between: bool
) -> None:
    rare = np.array([0.13, 0.29, 0.31, 0.87])  # one row each
    values = np.append(np.repeat([0.0, 0.5], 2 * rows_per_rare_value), rare)
    bins = fit_bins(values, decimals=2)

    drawn = bins.values(bins.codes(np.repeat(rare, 2_000)), np.random.default_rng(0).random(8_000))

    shares = np.array([(drawn == value).mean() for value in rare])
    assert (shares.sum() < 0.9) == is_drawn_between
    assert is_drawn_between or shares == pytest.approx(0.25, abs=0.03)
