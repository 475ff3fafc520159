from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aepipe.encoding import Encoding
from aepipe.encoding.number import NumberCodec
from aepipe.encoding.number_statistics import is_far, usable
from tests.support.columns import NUMBERS, batch_of, comparable, encoding_of, one_column

many = settings(max_examples=150)


def codec_of(encoding: Encoding) -> NumberCodec:
    (codec,) = encoding.codecs
    assert isinstance(codec, NumberCodec)
    return codec


def num(encoding: Encoding, array: pa.Array) -> np.ndarray:
    return encoding.encode(batch_of(array)).arrays["num"][:, 0]


def back(encoding: Encoding, array: pa.Array) -> list[object]:
    return comparable(encoding.decode(encoding.encode(batch_of(array)).arrays).column(0))


def reason(encoding: Encoding, array: pa.Array) -> list[str]:
    return [encoding.invalid_reasons[at] for at in encoding.encode(batch_of(array)).invalid]


@many
@given(st.one_of(*NUMBERS.values()))
@example(pa.array([0, 0, 0, 1, 1e12 + 65_536], pa.float32()))
def test_a_number_comes_back_within_float32_of_its_distance_from_the_offset(array: pa.Array) -> None:
    encoding = one_column(array, "number")
    offset = codec_of(encoding).offset
    floats = np.array([np.nan if value is None else float(value) for value in comparable(array)])

    for found, value, is_usable in zip(back(encoding, array), comparable(array), usable(floats), strict=True):
        if value is None or value != value:
            assert found is None
        elif not is_usable:  # far from the others, and limited to their range
            assert float(floats[usable(floats)].min()) <= found <= float(floats[usable(floats)].max())
        else:
            distance = abs(Decimal(value) - Decimal(offset))
            allowed = distance * Decimal(2) ** -23 + abs(Decimal(value)) * Decimal(2) ** -51 + Decimal(2) ** -149
            half_a_unit = Decimal("0.5") if array.type.id in {pa.int64().id, pa.duration("s").id} else Decimal(0)
            assert abs(Decimal(found) - Decimal(value)) <= allowed + half_a_unit, (found, value)


@many
@given(st.data())
def test_integers_that_lie_within_two_to_the_24_come_back_exactly(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from([pa.int64(), pa.uint64(), pa.int32()]))
    edge = np.iinfo(str(kind))
    middle = data.draw(st.integers(int(edge.min) + 2**24, int(edge.max) - 2**24))
    near = st.integers(middle - 2**24, middle + 2**24)
    array = pa.array(data.draw(st.lists(st.one_of(near, st.none()), min_size=1)), kind)

    assert back(one_column(array), array) == array.to_pylist()


def test_mean_spread_and_range_are_numpys_over_the_values_that_are_there() -> None:
    values = np.random.default_rng(1).normal(5, 3, 1000)
    array = pa.array(np.where(np.arange(1000) % 7, values, np.nan))

    number = one_column(array).layout.numbers[0]

    kept = values[np.arange(1000) % 7 != 0]
    assert (number.transform, number.center, number.scale) == ("linear", 0, 1)
    assert (number.mean, number.std) == pytest.approx((np.mean(kept), np.std(kept)), rel=1e-12)
    assert (number.low, number.high) == (kept.min(), kept.max())
    assert number.may_be_missing


def test_the_logarithm_is_taken_of_heavy_tails_and_scaled_by_the_quartiles() -> None:
    values = np.random.default_rng(1).lognormal(0, 2, 5000)

    number = one_column(pa.array(values)).layout.numbers[0]

    low, middle, high = np.percentile(values, [25, 50, 75])
    scaled = (values - middle) / ((high - low) / 2)
    bent = np.sign(scaled) * np.log(1 + np.abs(scaled))
    assert number.transform == "log"
    assert (number.center, number.scale) == pytest.approx((middle, (high - low) / 2))
    assert (number.mean, number.std) == pytest.approx((bent.mean(), bent.std()))


@pytest.mark.parametrize(("spec", "transform"), [("log", "log"), ("linear", "linear"), ("auto", "linear")])
def test_the_job_may_name_the_transform(spec: str, transform: str) -> None:
    values = pa.array(np.random.default_rng(1).exponential(1, 1000))

    encoding = one_column(values, {"transform": spec})

    assert encoding.layout.numbers[0].transform == transform


def test_a_mostly_zero_column_with_a_long_tail_is_scaled_by_its_deviation() -> None:
    values = np.zeros(5000)
    values[:20] = 99_999

    number = one_column(pa.array(values)).layout.numbers[0]

    assert (number.transform, number.center) == ("log", 0)
    assert number.scale == pytest.approx(values.std())


def test_a_constant_column_has_a_spread_of_one() -> None:
    number = one_column(pa.array([0.1] * 9)).layout.numbers[0]

    assert (number.mean, number.std, number.low, number.high) == (0.1, 1, 0.1, 0.1)


def test_small_spread_of_large_values_survives_float32() -> None:
    values = 1e9 + np.random.default_rng(1).random(500)

    encoding = one_column(pa.array(values))

    assert codec_of(encoding).offset == pytest.approx(1e9, abs=1)
    assert np.allclose(num(encoding, pa.array(values)), values - codec_of(encoding).offset, rtol=0, atol=1e-7)
    assert encoding.layout.numbers[0].std == pytest.approx(values.std(), rel=1e-6)


def test_float32_columns_need_no_offset() -> None:
    assert codec_of(one_column(pa.array([1e9, 1e9 + 64], pa.float32()))).offset == 0


def test_unsigned_integers_above_two_to_the_53_keep_their_differences() -> None:
    array = pa.array([2**64 - 1, 2**64 - 2, 2**64 - 4, None], pa.uint64())

    encoding = one_column(array)

    assert np.diff(num(encoding, array)[:3]).tolist() == [-1, -2]
    assert back(encoding, array) == array.to_pylist()


def test_a_value_far_from_a_great_offset_does_not_wrap_around() -> None:
    encoding = one_column(pa.array([2**62, 2**62 + 1], pa.int64()))

    assert num(encoding, pa.array([-(2**63), 2**63 - 1], pa.int64())) == pytest.approx([-(2**63) - 2**62, 2**62])


def test_floats_are_rounded_as_the_training_values_were() -> None:
    array = pa.array([0.1, 19.99, 5.0, 1234.56])

    assert codec_of(one_column(array)).decimals == 2
    assert back(one_column(array), array) == [0.1, 19.99, 5.0, 1234.56]


def test_whole_floats_stay_whole_when_a_network_says_otherwise() -> None:
    encoding = one_column(pa.array([1.0, 2.0, None, 7.0]))

    decoded = encoding.decode({"num": np.array([[1.4], [6.6], [99.0], [np.nan]], np.float32)})

    assert decoded.column(0).to_pylist() == [1, 7, 7, None]


def test_columns_without_missing_training_values_are_never_drawn_missing() -> None:
    encoding = one_column(pa.array([1, 2, 6], pa.int64()))

    assert encoding.decode({"num": np.array([[np.nan]], np.float32)}).column(0).to_pylist() == [3]


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64()])
def test_infinity_is_invalid_even_if_training_had_it_and_never_enters_the_statistics(kind: pa.DataType) -> None:
    array = pa.array(np.array([1, 2, np.inf, -np.inf, 3], np.float16)).cast(kind)

    encoding = one_column(array)

    fine, broken = "", "x is infinite, or too large for float32"
    assert reason(encoding, array) == [fine, fine, broken, broken, fine]
    assert (encoding.layout.numbers[0].mean, encoding.layout.numbers[0].high) == (2, 3)
    assert num(encoding, array).tolist() == [1, 2, 2, 2, 3]


def test_a_number_that_float32_cannot_hold_is_invalid() -> None:
    encoding = one_column(pa.array([1.0, 2.0]))

    assert reason(encoding, pa.array([1e39, 3e38])) == ["x is infinite, or too large for float32", ""]


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_null_and_nan_are_missing_and_allowed_only_where_training_had_some(missing: float | None) -> None:
    never, sometimes = pa.array([1.0, 3.0]), pa.array([1.0, None])
    tonight = pa.array([missing, 1.0], from_pandas=False)

    strict, lenient = one_column(never), one_column(sometimes)

    assert reason(strict, tonight) == ["x is missing, and never was in training", ""]
    assert num(strict, tonight).tolist() == [2, 1]
    assert reason(lenient, tonight) == ["", ""]
    assert np.isnan(num(lenient, tonight)[0])


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (pa.float64(), pa.int8()),
        (pa.float64(), pa.uint64()),
        (pa.float64(), pa.float32()),
        (pa.float32(), pa.float16()),
        (pa.float32(), pa.int64()),
        (pa.int64(), pa.uint32()),
        (pa.int64(), pa.int16()),
        (pa.float64(), pa.decimal128(9, 2)),
        (pa.decimal128(12, 3), pa.decimal128(9, 2)),
        (pa.decimal128(12, 3), pa.int16()),
        (pa.float64(), pa.dictionary(pa.int8(), pa.float32())),
    ],
)
def test_narrower_numbers_encode_as_the_trained_type_does(wanted: pa.DataType, found: pa.DataType) -> None:
    values = pa.array([3, 4, None, 100], pa.int8())
    narrow = values.cast(found.value_type).dictionary_encode() if pa.types.is_dictionary(found) else values.cast(found)

    encoding = one_column(values.cast(wanted))

    assert np.array_equal(num(encoding, narrow), [3, 4, np.nan, 100], equal_nan=True)


def test_durations_are_read_in_the_unit_of_training() -> None:
    encoding = one_column(pa.array([1000, 2000], pa.duration("ms")))

    assert num(encoding, pa.array([3], pa.duration("s"))).tolist() == [3000]


def test_many_float_columns_are_encoded_like_single_ones() -> None:
    generator = np.random.default_rng(1)
    kinds = {"f32": pa.float32(), "f64": pa.float64(), "far": pa.float64()}
    table = pa.table(
        {
            name: pa.array(generator.normal(1e7 * (name == "far"), 1, 300), mask=generator.random(300) < 0.1).cast(kind)
            for name, kind in kinds.items()
        }
    )

    together = encoding_of(table).encode(table.slice(17).to_batches()[0]).arrays["num"]

    for at, name in enumerate(kinds):
        alone = one_column(table[name].combine_chunks(), name=name)
        codec = codec_of(alone)
        (expected,) = codec.encode(table[name].combine_chunks().slice(17)).numbers
        assert np.array_equal(together[:, at], expected.astype(np.float32), equal_nan=True)


def test_limits_beyond_float32_are_compared_without_a_warning() -> None:
    values = np.array([1e31, 2e31, 3e38], np.float32)

    assert is_far(values, 2e31, 1e31).tolist() == [False, False, False]
    assert is_far(values, 2e31, 1e27).tolist() == [False, False, True]
