from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aepipe.encoding import category
from aepipe.encoding.category import CategoryCodec
from aepipe.layout import FIRST_VALUE, MISSING, RARE, UNSEEN
from tests.support.columns import CATEGORIES, batch_of, comparable, encoding_of, one_column

many = settings(max_examples=60)


def codec_of(array: pa.Array) -> CategoryCodec:
    (codec,) = one_column(array, "category").codecs
    assert isinstance(codec, CategoryCodec)
    return codec


def codes(codec: CategoryCodec, array: pa.Array) -> list[int]:
    return codec.encode(array).codes[0].tolist()


@many
@given(st.one_of(*CATEGORIES.values()))
def test_frequent_values_come_back_and_rare_ones_as_the_most_frequent_of_them(array: pa.Array) -> None:
    encoding = one_column(array, "boolean" if pa.types.is_boolean(array.type) else "category")
    values = comparable(array)
    counts = pd.Series([str(value) for value in values if value is not None], dtype=object).value_counts()

    found = comparable(encoding.decode(encoding.encode(batch_of(array)).arrays).column(0))

    rare = {one for one, value in zip(found, values, strict=True) if value is not None and one != value}
    assert len(rare) <= 1
    for one, value in zip(found, values, strict=True):
        kept = value is None or counts[str(value)] > 1 or counts.max() == 1 or pa.types.is_boolean(array.type)
        assert one == value if kept else counts[str(one)] == 1


def test_codes_follow_the_frequency_and_ties_the_alphabet() -> None:
    words = np.random.default_rng(1).choice(list("abcdefgh"), 500, p=[0.3, 0.2, 0.2, 0.1, 0.05, 0.05, 0.05, 0.05])
    expected = (
        pd.Series(words).value_counts().reset_index(name="n").sort_values(["n", "index"], ascending=[False, True])
    )

    codec = codec_of(pa.array(words))

    assert list(codec.values) == expected["index"].tolist()
    assert codes(codec, pa.array(codec.values)) == list(range(FIRST_VALUE, FIRST_VALUE + 8))


def test_missing_unseen_and_rare_have_codes_of_their_own() -> None:
    codec = codec_of(pa.array(["a", "a", "b", "b", "c", None]))

    assert codec.rare == ("c",)
    assert codes(codec, pa.array([None, "z", "c", "a", "b"])) == [MISSING, UNSEEN, RARE, 3, 4]


def test_unseen_values_are_counted_by_column() -> None:
    table = pa.table({"x": ["a", "a"], "y": ["b", "b"], "z": [1.0, 2.0]})
    tonight = pa.table({"x": ["a", "new", "newer"], "y": ["b"] * 3, "z": [1.0] * 3})

    encoded = encoding_of(table).encode(tonight.to_batches()[0])

    assert encoded.unseen == {"x": 2}
    assert not encoded.invalid.any()


def test_a_missing_value_is_invalid_where_training_had_none() -> None:
    encoding = one_column(pa.array(["a", "a", "b", "b"]))

    encoded = encoding.encode(batch_of(pa.array(["b", None])))

    assert [encoding.invalid_reasons[at] for at in encoded.invalid] == ["", "x is missing, and never was in training"]
    assert encoded.arrays["cat"].tolist() == [[4], [3]]


def test_a_dictionary_may_hold_nulls_doubles_and_values_that_no_row_has() -> None:
    codec = codec_of(pa.array(["a", "a", "b", "b", None]))
    indices = pa.array([0, 1, None, 2, 3, 4], pa.int8())
    array = pa.DictionaryArray.from_arrays(indices, pa.array(["b", None, "a", "b", "new", "never"]))

    assert codes(codec, array) == [4, MISSING, MISSING, 3, 4, UNSEEN]
    assert codes(codec, array.slice(2, 3)) == [MISSING, 3, 4]
    assert codec.encode(array).unseen == 1


def test_a_new_dictionary_at_the_same_address_is_not_confused_with_the_last() -> None:
    codec = codec_of(pa.array(["a", "a", "b", "b"]))

    for word in "abababab":
        array = pa.DictionaryArray.from_arrays(pa.array([0], pa.int8()), pa.array([word]))
        assert codes(codec, array) == [3 + (word == "b")]
        del array


def test_few_rows_and_many_rows_are_looked_up_alike() -> None:
    words = [f"w{number}" for number in range(500)]
    codec = codec_of(pa.array(words * 2 + [None]))
    tonight = pa.array([*words[::-1], "new", None])

    at_once = codes(codec, tonight)
    one_by_one = [codes(codec, tonight.slice(at, 1))[0] for at in range(len(tonight))]

    assert at_once == one_by_one
    assert at_once[-2:] == [UNSEEN, MISSING]


def test_only_a_limited_number_of_values_have_their_own_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(category, "MOST_VALUES", 3)
    monkeypatch.setattr(category, "MOST_RARE", 2)

    codec = codec_of(pa.array([str(number) for number in range(7) for _ in range(9 - number)]))

    assert (codec.values, codec.rare, codec.category.size) == (("0", "1", "2"), ("3", "4"), FIRST_VALUE + 3)
    assert codes(codec, pa.array(["2", "3", "5"])) == [5, RARE, UNSEEN]


def test_values_that_all_come_once_are_all_kept() -> None:
    codec = codec_of(pa.array(["b", "a", None]))

    assert (codec.values, codec.rare, codec.category.size) == (("a", "b"), (), FIRST_VALUE + 2)


def test_a_column_of_nulls_has_room_for_one_value_and_decodes_to_nulls() -> None:
    encoding = one_column(pa.nulls(3, pa.string()))

    assert encoding.layout.categories[0].size == FIRST_VALUE + 1
    assert encoding.decode({"cat": np.array([[MISSING], [FIRST_VALUE]], np.int32)}).column(0).null_count == 2


def test_in_large_tables_a_value_needs_a_count_in_proportion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(category, "_ROWS_PER_COUNT", 100_000)
    array = pa.concat_arrays([pa.array(["often"] * 299_996), pa.array(["twice"] * 2), pa.array(["three"] * 3)])

    assert codec_of(array).values == ("often", "three")


@pytest.mark.parametrize(
    ("may_be_missing", "rare", "expected"),
    [(True, True, "c"), (True, False, None), (False, True, "c"), (False, False, "a")],
)
def test_a_code_without_a_value_becomes_a_rare_one_null_or_the_most_frequent(
    may_be_missing: bool, rare: bool, expected: str | None
) -> None:
    values = ["a", "a", "a", "b", "b"] + ["c"] * rare + [None] * may_be_missing
    encoding = one_column(pa.array(values))

    decoded = encoding.decode({"cat": np.array([[UNSEEN], [RARE], [4], [99]], np.int32)})

    assert decoded.column(0).to_pylist() == [expected, expected, "b", "b"]


def test_booleans_have_both_codes_even_if_training_saw_one() -> None:
    encoding = one_column(pa.array([True, True]))

    encoded = encoding.encode(batch_of(pa.array([False, True])))

    assert encoded.arrays["cat"].tolist() == [[3], [4]]
    assert encoded.unseen == {}


def test_numbers_as_categories_are_matched_by_value() -> None:
    codec = codec_of(pa.array([0.0, -0.0, 1.5, 1.5, float("nan"), None], pa.float64()))

    assert codec.values == ("0", "1.5")
    assert codes(codec, pa.array([-0.0, 1.5, float("nan")], pa.float32())) == [3, 4, MISSING]


@pytest.mark.parametrize("kind", [pa.decimal128(9, 2), pa.decimal256(50, 3)])
def test_decimals_as_categories_come_back_exactly(kind: pa.DataType) -> None:
    array = pa.array([Decimal(value).scaleb(-2) for value in range(-999, 999, 7)], kind)  # -5.52 is inexact in float64
    encoding = one_column(array, {"kind": "category"})

    decoded = encoding.decode(encoding.encode(batch_of(array)).arrays)

    assert decoded.column("x").to_pylist() == array.to_pylist()


def test_the_index_type_of_a_source_dictionary_that_all_values_outgrow_is_widened() -> None:
    words = pa.array([f"w{number}" for number in range(200)] * 2)
    schema_of_files = pa.dictionary(pa.int8(), pa.string())
    halves = [words.slice(start, 100).dictionary_encode().cast(schema_of_files) for start in (0, 100, 200, 300)]
    table = pa.table({"x": pa.chunked_array(halves)})

    encoding = encoding_of(table, {"x": "category"})
    cat = np.arange(FIRST_VALUE, FIRST_VALUE + 200, dtype=np.int32)[:, None]
    wide, narrow = encoding.decode({"cat": cat}).column(0), encoding.decode({"cat": cat[:50]}).column(0)

    assert len(set(wide.to_pylist())) == 200
    assert wide.type == pa.dictionary(pa.int32(), pa.string())
    assert narrow.type == schema_of_files
