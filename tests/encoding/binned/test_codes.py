"""Every kind of column as codes: decoding returns the value of a code, and only values that training allows."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aepipe.encoding import Encoding, fit
from aepipe.encoding.binned.quantile_bins import LEAST_COUNT, MOST_ATOMS, MOST_BINS, fit_bins
from aepipe.layout import FIRST_VALUE, MISSING, RARE, UNSEEN
from tests.support.columns import (
    GENERATORS,
    batch_of,
    columns_of,
    comparable,
    kinds_with_generators,
    schema_of,
    spec_of,
)

few = settings(max_examples=3)
many = settings(few, max_examples=15)
TABULAR = ["number", "category", "datetime", "vector"]


def coded(array: pa.Array, kind: str) -> Encoding:
    schema = schema_of(pa.table({"x": array}), {"x": spec_of(kind, array)})
    return fit(schema, [batch_of(array)], as_codes=True)


def rows_of(array: pa.Array, rows: list[int]) -> pa.Array:
    return pa.concat_arrays([array.slice(row, 1) for row in rows])


def repeated(data: st.DataObject, array: pa.Array) -> pa.Array:
    """Draw rows of a column, some repeated often enough to become atoms."""
    more = data.draw(st.lists(st.integers(0, len(array) - 1), max_size=40))
    return rows_of(array, [*range(len(array)), *[0] * 6, *more])


def anywhere(encoding: Encoding, rows: int, seed: int) -> np.ndarray:
    draws: np.ndarray = np.random.default_rng(seed).random((rows, len(encoding.layout.categories)))
    return draws


@pytest.mark.parametrize(("kind", "name"), kinds_with_generators(TABULAR))
@few
@given(data=st.data())
def test_what_is_decoded_of_codes_has_their_codes_and_the_type_and_nulls_of_the_source(
    kind: str, name: str, data: st.DataObject
) -> None:
    array = repeated(data, data.draw(GENERATORS[kind][name]))
    encoding = coded(array, kind)

    encoded = encoding.encode(batch_of(array))
    again = encoding.decode(encoded.arrays, anywhere(encoding, len(array), data.draw(st.integers(0, 99))))

    assert list(encoded.arrays) == ["cat"]
    assert not encoded.invalid.any()
    again.column(0).validate(full=True)
    assert again.column(0).type == array.type
    missing = [value is None or value != value for value in comparable(array)]
    assert again.column(0).is_null().to_pylist() == missing
    codes, once_more = encoded.arrays["cat"], encoding.encode(again).arrays["cat"]
    if kind == "category":  # values with one code decode to the most frequent of them
        np.testing.assert_array_equal(once_more[codes >= FIRST_VALUE], codes[codes >= FIRST_VALUE])
    elif kind != "datetime" or codes.shape[1] == 1:
        np.testing.assert_array_equal(once_more, codes)


@pytest.mark.parametrize(("kind", "name"), kinds_with_generators(TABULAR))
@few
@given(data=st.data())
def test_an_order_of_codes_has_each_code_of_its_category_once(kind: str, name: str, data: st.DataObject) -> None:
    encoding = coded(repeated(data, data.draw(GENERATORS[kind][name])), kind)
    categories = encoding.layout.categories

    for order, category in zip(encoding.code_orders, categories, strict=True):
        assert order is None or kind != "category"
        if order is not None:
            assert sorted(order) == list(range(category.size))


@pytest.mark.parametrize("kind", TABULAR)
@many
@given(data=st.data())
def test_any_code_decodes_to_a_value_in_the_range_of_training(kind: str, data: st.DataObject) -> None:
    array = data.draw(columns_of(kind))
    encoding = coded(array, kind)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    codes = rng.integers(0, 40, (20, len(encoding.layout.categories))).astype(np.int32)

    decoded = encoding.decode({"cat": codes}, rng.random(codes.shape)).column(0)

    decoded.validate(full=True)
    if kind in ("number", "datetime") and not pa.types.is_boolean(array.type):  # both truth values have a code
        seen = [value for value in comparable(array) if value is not None and value == value]
        drawn = [value for value in comparable(decoded) if value is not None]
        assert not drawn or min(seen) <= min(drawn) <= max(drawn) <= max(seen)


@pytest.mark.parametrize("kind", TABULAR)
@many
@given(data=st.data())
def test_codes_do_not_depend_on_the_order_of_the_rows_or_on_the_batch_they_came_in(
    kind: str, data: st.DataObject
) -> None:
    array = repeated(data, data.draw(columns_of(kind)))
    order = data.draw(st.permutations(range(len(array))))
    encoding = coded(array, kind)

    shuffled = coded(rows_of(array, order), kind)
    whole = encoding.encode(batch_of(array)).arrays["cat"]
    pieces = [shuffled.encode(batch_of(array.slice(at, 5))).arrays["cat"] for at in range(0, len(array), 5)]

    assert shuffled.codecs == encoding.codecs or kind == "datetime"  # the zone's offset is the median row's
    if shuffled.codecs == encoding.codecs:
        np.testing.assert_array_equal(np.concatenate(pieces), whole)


@pytest.mark.parametrize("kind", TABULAR)
@many
@given(data=st.data())
def test_an_encoding_of_codes_survives_json_and_a_column_of_nulls(kind: str, data: st.DataObject) -> None:
    array = data.draw(columns_of(kind))
    encoding, empty = coded(array, kind), coded(pa.nulls(4, array.type), kind)

    again = Encoding.model_validate_json(encoding.model_dump_json(by_alias=True))

    np.testing.assert_array_equal(
        again.encode(batch_of(array)).arrays["cat"], encoding.encode(batch_of(array)).arrays["cat"]
    )
    decoded = empty.decode(empty.encode(batch_of(pa.nulls(4, array.type))).arrays).column(0)
    assert (decoded.type, decoded.null_count) == (array.type, 4)


@pytest.mark.parametrize(("kind", "name"), kinds_with_generators(TABULAR))
@few
@given(data=st.data())
def test_values_of_other_rows_change_what_codes_decode_to_and_no_code(
    kind: str, name: str, data: st.DataObject
) -> None:
    array = repeated(data, data.draw(GENERATORS[kind][name]))
    other = data.draw(GENERATORS[kind][name].filter(lambda each: each.type == array.type))
    encoding, rows = coded(array, kind), [batch_of(array), batch_of(other)]

    known = encoding.with_values(rows)
    codes = encoding.encode(rows[0]).arrays["cat"]
    decoded = known.decode({"cat": codes}, anywhere(encoding, len(codes), data.draw(st.integers(0, 99)))).column(0)

    for each in rows:
        np.testing.assert_array_equal(known.encode(each).arrays["cat"], encoding.encode(each).arrays["cat"])
    assert encoding.with_values(rows[:1]) == encoding
    assert Encoding.model_validate_json(known.model_dump_json(by_alias=True)) == known
    decoded.validate(full=True)
    if kind in ("number", "datetime"):
        seen = [value for each in (array, other) for value in comparable(each) if value is not None and value == value]
        drawn = [value for value in comparable(decoded) if value is not None and value == value]
        assert not drawn or min(seen) <= min(drawn) <= max(drawn) <= max(seen)


def brute_force(bins: Any, value: float) -> int:
    """Compute the code of a value by its definition."""
    if value in bins.atoms:
        return FIRST_VALUE + list(bins.atoms).index(value)
    below = [place for place, low in enumerate(bins.lows) if low <= value]
    return FIRST_VALUE + len(bins.atoms) + max(below, default=0)


@many
@given(st.lists(st.integers(-40, 40), min_size=1, max_size=300), st.booleans())
def test_codes_are_those_of_the_definition(values: list[int], as_floats: bool) -> None:
    array = np.array(values, np.float64 if as_floats else np.int64) / (4 if as_floats else 1)
    bins = fit_bins(array)

    found = bins.codes(array)

    assert found.tolist() == [brute_force(bins, value) for value in array.tolist()]
    assert all(array.tolist().count(atom) >= LEAST_COUNT for atom in bins.atoms)
    assert len(bins.lows) <= MOST_BINS


def test_frequent_values_are_atoms_and_the_others_fill_bins_evenly() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([np.zeros(5000), rng.lognormal(5, 2, 20_000)])

    bins = fit_bins(values)

    assert bins.atoms == (0.0,)
    counts = np.bincount(bins.codes(values[5000:]))[FIRST_VALUE + 1 :]
    assert len(counts) == MOST_BINS
    assert counts.min() > 0.9 * counts.max()


def test_a_code_without_a_value_decodes_to_the_median() -> None:
    bins = fit_bins(np.repeat(np.arange(5), [10, 1, 10, 30, 10]))

    assert bins.values(np.array([UNSEEN]), np.array([0.5])).tolist() == [3]


def test_codes_by_value_have_atoms_in_their_places_between_bins() -> None:
    values = np.concatenate([np.linspace(-1, 1, 1_001), np.full(300, 0.25), np.full(200, -0.5)])
    bins = fit_bins(values)
    assert bins.atoms == (-0.5, 0.25)

    order = np.array(bins.codes_by_value)

    assert sorted(order) == list(range(bins.size))
    assert order[:FIRST_VALUE].tolist() == list(range(FIRST_VALUE))
    middle = bins.values(order[FIRST_VALUE:].astype(np.int32), np.full(bins.size - FIRST_VALUE, 0.0))
    assert (np.diff(middle) > 0).all()


def test_of_a_column_with_many_values_only_spikes_are_atoms() -> None:
    values = np.concatenate([np.arange(3 * MOST_ATOMS).repeat(5), np.full(400, 77)])

    assert fit_bins(values).atoms == (77,)


def test_values_drawn_in_a_bin_are_uniform_on_the_grid_of_the_source() -> None:
    values = np.arange(1000, 9000, 250)  # each once: three bins
    bins = fit_bins(values)
    draws = np.random.default_rng(1).random(20_000)

    drawn = bins.values(np.full(20_000, FIRST_VALUE + 1, np.int32), draws)

    low, high = bins.lows[1], bins.highs[1]
    seen, counts = np.unique(drawn, return_counts=True)
    assert seen.tolist() == list(range(int(low), int(high) + 1, 250))
    expected = 20_000 / len(seen)
    assert np.abs(counts - expected).max() < 5 * expected**0.5


@pytest.mark.parametrize(
    "values",
    [
        np.array([2**63 - 1, 2**63 - 2, -(2**63)] * 5, np.int64),
        np.array([2**64 - 1, 2**64 - 2, 0] * 5, np.uint64),
        np.array([0.1, 0.1 + 2**-55, 1e300, -1e300] * 5, np.float64),
    ],
    ids=["int64", "uint64", "float64"],
)
def test_atoms_are_exact_to_the_last_bit(values: np.ndarray) -> None:
    bins = fit_bins(values)

    again = bins.values(bins.codes(values), np.full(len(values), 0.5))

    assert len(bins.atoms) == len(set(values.tolist()))
    np.testing.assert_array_equal(again, values)


@many
@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=60), st.floats(0, 1, exclude_max=True))
def test_integers_as_wide_as_there_are_stay_in_their_bins(values: list[int], place: float) -> None:
    array = np.array(values, np.uint64)
    bins = fit_bins(array)

    drawn = bins.values(bins.codes(array), np.full(len(array), place))

    np.testing.assert_array_equal(bins.codes(drawn), bins.codes(array))


def test_far_beyond_the_range_of_training_a_number_is_unseen_and_just_beyond_it_is_not() -> None:
    array = pa.array(np.linspace(0, 100, 400))
    encoding = coded(array, "number")

    encoded = encoding.encode(batch_of(pa.array([-5.0, 105.0, -6.0, 106.0, 1e9])))

    assert (encoded.arrays["cat"][:, 0] == UNSEEN).tolist() == [False, False, True, True, True]
    assert encoded.unseen == {"x": 3}


@pytest.mark.parametrize("step", [1, 10_000], ids=["by gather", "by search"])
def test_integers_beyond_the_range_of_training_are_unseen(step: int) -> None:
    bins = fit_bins(np.arange(400) * step)
    beyond = 399 * step // 20

    codes = bins.codes(np.array([-beyond, 399 * step + beyond, -beyond - 1, 399 * step + beyond + 1, 2**62, -(2**63)]))

    assert codes.tolist() == [FIRST_VALUE, FIRST_VALUE + len(bins.lows) - 1, *[UNSEEN] * 4]


def test_a_missing_number_is_a_code_where_training_had_one_and_a_reason_where_it_had_none() -> None:
    may = coded(pa.array([1.0, None, 2.0]), "number").encode(batch_of(pa.array([None, float("nan"), float("inf")])))
    never = coded(pa.array([1.0, 2.0]), "number")
    encoded = never.encode(batch_of(pa.array([None, 1.0])))

    assert may.arrays["cat"][:2, 0].tolist() == [MISSING, MISSING]
    assert may.invalid.tolist()[:2] == [0, 0]
    assert may.invalid[2] != 0
    assert never.invalid_reasons[encoded.invalid[0]] == "x is missing, and never was in training"


def office_hours() -> pa.Array:
    """Draw times on weekdays from 9 to 17 h, to the minute, over two years."""
    rng = np.random.default_rng(2)
    days = rng.integers(19_000, 19_730, 20_000)
    days = days[(days + 3) % 7 < 5]
    seconds = days * 86_400 + rng.integers(9 * 60, 17 * 60, len(days)) * 60
    return pa.array(seconds * 1_000_000, pa.int64()).cast(pa.timestamp("us"))


def test_moments_drawn_keep_weekdays_hours_and_whole_minutes() -> None:
    array = office_hours()
    encoding = coded(array, "datetime")
    codes = encoding.encode(batch_of(array)).arrays["cat"]
    mixed = np.stack([np.random.default_rng(at).permutation(codes[:, at]) for at in range(codes.shape[1])], axis=1)

    drawn = encoding.decode({"cat": mixed}, anywhere(encoding, len(codes), 3)).column(0)

    ticks = drawn.cast(pa.int64()).to_numpy() // 1_000_000
    weekdays, hours = (ticks // 86_400 + 3) % 7, ticks % 86_400 // 3600
    assert set(weekdays.tolist()) == set(range(5))
    assert set(hours.tolist()) == set(range(9, 17))
    assert not (ticks % 60).any()
    counts = np.bincount(hours)[9:]
    assert counts.min() > 0.9 * counts.max()


@pytest.mark.parametrize("share", [0.03, 0.1, 0.6])
@pytest.mark.parametrize("placeholder", ["9999-12-31T00:00:00", "1900-01-01T00:00:00"])
def test_a_placeholder_moment_is_decoded_as_itself_and_others_stay_in_their_range(
    placeholder: str, share: float
) -> None:
    rng = np.random.default_rng(0)
    moments = np.datetime64("2023-11-14T00:00:07") + rng.integers(0, 10**6, 4_000).astype("timedelta64[s]")
    is_placeholder = rng.random(4_000) < share
    moments[is_placeholder] = np.datetime64(placeholder)
    array = pa.array(moments, pa.timestamp("s"))
    encoding = coded(array, "datetime")

    codes = encoding.encode(batch_of(array)).arrays
    decoded = encoding.decode(codes, anywhere(encoding, len(array), 0)).column(0).to_numpy(zero_copy_only=False)

    usual = moments[~is_placeholder]
    assert (decoded[is_placeholder] == np.datetime64(placeholder)).all()
    assert (decoded[~is_placeholder] >= usual.min()).all()
    assert (decoded[~is_placeholder] <= usual.max()).all()


def test_weeks_have_an_order_unless_moments_have_codes_of_their_own() -> None:
    rng = np.random.default_rng(0)
    moments = np.datetime64("2023-01-01T00:00:07") + rng.integers(0, 10**8, 4_000).astype("timedelta64[s]")
    spiked = np.where(rng.random(4_000) < 0.3, np.datetime64("2020-01-01T00:00:00"), moments)

    plain, with_moments = (coded(pa.array(each, pa.timestamp("s")), "datetime") for each in (moments, spiked))

    assert [order is None for order in plain.code_orders] == [False, False, False]
    assert [order is None for order in with_moments.code_orders] == [True, False, False]


def test_few_dates_are_an_atom_each() -> None:
    firsts = pa.array(np.repeat(np.arange("2020-01", "2024-01", dtype="datetime64[M]"), 10).astype("datetime64[D]"))
    encoding = coded(firsts, "datetime")

    codes = encoding.encode(batch_of(firsts)).arrays

    assert [category.name for category in encoding.layout.categories] == ["x"]
    assert encoding.decode(codes, anywhere(encoding, len(firsts), 0)).column(0).equals(firsts)


def test_very_many_values_are_two_codes_of_the_square_root_of_their_number_each() -> None:
    names = [f"shop {number}" for number in range(5_000)]
    array = pa.array([*names, *names, None, "once", "only"])
    encoding = coded(array, "category")

    codes = encoding.encode(batch_of(array)).arrays["cat"]
    places = np.linspace(0, 1, len(array), endpoint=False)
    decoded = encoding.decode({"cat": codes}, np.stack([places, places], axis=1)).column(0)

    assert [category.size for category in encoding.layout.categories] == [FIRST_VALUE + 71, FIRST_VALUE + 71]
    assert decoded[:-2].equals(array[:-2])
    assert set(decoded[-2:].to_pylist()) <= {"once", "only"}
    assert codes[-3:].tolist() == [[MISSING, MISSING], [RARE, RARE], [RARE, RARE]]


def test_any_pair_of_levels_is_a_value_that_exists() -> None:
    names = [f"shop {number}" for number in range(2_000)] * 2
    encoding = coded(pa.array(names), "category")
    pairs = np.stack(np.meshgrid(np.arange(60), np.arange(60)), axis=-1).reshape(-1, 2).astype(np.int32)

    decoded = encoding.decode({"cat": pairs}).column(0)

    assert decoded.null_count == 0
    assert set(decoded.to_pylist()) == set(names)


def test_rare_values_share_a_code_and_come_back_as_any_of_them() -> None:
    rare = [f"r{number}" for number in range(50)]
    encoding = coded(pa.array([*rare, *["often"] * 9]), "category")

    drawn = encoding.decode({"cat": np.full((2_000, 1), RARE, np.int32)}, anywhere(encoding, 2_000, 0)).column(0)

    assert set(drawn.to_pylist()) == set(rare)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_draws_of_computed_decimals_are_floats_of_the_source(dtype: type) -> None:
    """Sums such as 0.1 + 0.2 are not the float nearest to 0.3, which the rounding of a draw returns."""
    generator = np.random.default_rng(0)
    values = (np.minimum(generator.geometric(0.01, 4_000), 400).astype(dtype) * dtype(0.1)).astype(dtype)
    known = np.unique(values)
    assert (np.round(known, 1).astype(dtype) != known).any()

    bins = fit_bins(values, decimals=1)
    repeats = np.repeat(values, 10)
    drawn = bins.values(bins.codes(repeats), generator.random(len(repeats)))

    often = known[[np.count_nonzero(values == value) >= 8 for value in known]]
    assert set(often) <= set(drawn.astype(dtype))
    assert {float(np.round(value, 1)) for value in often}.isdisjoint(set(drawn.tolist()) - set(known.astype(float)))
