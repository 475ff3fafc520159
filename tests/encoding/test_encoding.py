"""Every kind of column in every type: decoding an encoding returns type, order and nulls of the source."""

import importlib
import pkgutil
from typing import get_args

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aepipe.encoding import Encoded, Encoding, __path__, fit
from aepipe.encoding.base import Codec
from aepipe.encoding.table import AnyCodec
from aepipe.errors import OptionInvalid, SchemaMismatch
from aepipe.layout import Layout
from tests.support.columns import (
    GENERATORS,
    batch_of,
    columns_of,
    comparable,
    encoding_of,
    kinds_with_generators,
    one_column,
    schema_of,
    spec_of,
)

few = settings(max_examples=10)
many = settings(few, max_examples=50)
TABULAR = ["number", "category", "datetime", "vector"]


def encodings(kind: str, array: pa.Array) -> Encoding:
    return one_column(array, spec_of(kind, array))


def same(one: Encoded, other: Encoded) -> bool:
    tensors = zip(one.arrays.values(), other.arrays.values(), strict=True)
    return all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in tensors) and np.array_equal(
        one.invalid, other.invalid
    )


@pytest.mark.parametrize(("kind", "name"), kinds_with_generators())
@few
@given(data=st.data())
def test_a_decoded_column_has_the_type_the_rows_and_the_nulls_of_its_source(
    kind: str, name: str, data: st.DataObject
) -> None:
    array = data.draw(GENERATORS[kind][name])
    encoding = encodings(kind, array)

    encoded = encoding.encode(batch_of(array))
    decoded = encoding.decode(encoded.arrays).column(0)

    decoded.validate(full=True)
    assert decoded.type == array.type
    assert len(decoded) == len(array)
    missing = [value is None or value != value for value in comparable(array)]
    assert decoded.is_null().to_pylist() == missing
    assert not encoded.invalid.any()


def test_every_encoder_of_the_folder_can_be_written_into_a_bundle() -> None:
    walked = pkgutil.walk_packages(__path__, "aepipe.encoding.")
    modules = [importlib.import_module(found.name) for found in walked]
    found = {each for module in modules for each in vars(module).values() if isinstance(each, type)}

    codecs = {each for each in found if issubclass(each, Codec) and each is not Codec}

    assert codecs == set(get_args(AnyCodec))


@pytest.mark.parametrize("kind", GENERATORS)
@many
@given(data=st.data())
def test_tensors_have_the_shapes_and_types_that_the_layout_promises(kind: str, data: st.DataObject) -> None:
    array = data.draw(columns_of(kind))
    encoding = encodings(kind, array)

    encoded = encoding.encode(batch_of(array))

    assert list(encoded.arrays) == [port.name for port in encoding.layout.ports]
    for port in encoding.layout.ports:
        tensor = encoded.arrays[port.name]
        assert (tensor.shape, str(tensor.dtype)) == ((len(array), *port.row_shape), port.dtype)
        assert tensor.flags.c_contiguous
        assert tensor.flags.writeable
    assert encoded.invalid.dtype == np.int16


@pytest.mark.parametrize("kind", GENERATORS)
@many
@given(data=st.data())
def test_a_slice_encodes_as_the_slice_of_the_whole(kind: str, data: st.DataObject) -> None:
    array = data.draw(columns_of(kind))
    first = data.draw(st.integers(0, len(array)))
    rows = slice(first, data.draw(st.integers(first, len(array))))
    encoding = encodings(kind, array)

    whole = encoding.encode(batch_of(array))
    part = encoding.encode(batch_of(array).slice(rows.start, rows.stop - rows.start))

    expected = {port: tensor[rows] for port, tensor in whole.arrays.items()}
    assert same(part, Encoded(expected, whole.invalid[rows], {}, {}))


@pytest.mark.parametrize("kind", GENERATORS)
@many
@given(data=st.data())
def test_batches_of_training_rows_may_be_cut_anywhere(kind: str, data: st.DataObject) -> None:
    array = data.draw(columns_of(kind))
    cut = data.draw(st.integers(0, len(array)))
    schema = schema_of(pa.table({"x": array}), {"x": spec_of(kind, array)})

    whole = fit(schema, [batch_of(array)])
    pieces = fit(schema, [batch_of(array.slice(0, cut)), batch_of(array.slice(cut))])

    assert pieces == whole


@pytest.mark.parametrize("kind", GENERATORS)
@many
@given(data=st.data())
def test_an_encoding_survives_json(kind: str, data: st.DataObject) -> None:
    array = data.draw(columns_of(kind))
    encoding = encodings(kind, array)

    again = Encoding.model_validate_json(encoding.model_dump_json(by_alias=True))

    assert again == encoding
    assert again.schema.arrow == encoding.schema.arrow
    assert same(again.encode(batch_of(array)), encoding.encode(batch_of(array)))


@pytest.mark.parametrize("kind", GENERATORS)
@many
@given(data=st.data())
def test_no_rows_in_no_rows_out(kind: str, data: st.DataObject) -> None:
    array = data.draw(columns_of(kind))
    encoding = encodings(kind, array)

    encoded = encoding.encode(batch_of(array.slice(len(array))))
    decoded = encoding.decode(encoded.arrays)

    assert [len(tensor) for tensor in encoded.arrays.values()] == [0] * len(encoding.layout.ports)
    assert decoded.num_rows == 0
    assert decoded.schema.types == [array.type]


@pytest.mark.parametrize("kind", TABULAR)
@many
@given(data=st.data())
def test_whatever_a_network_says_decodes_to_values_within_the_range_of_training(kind: str, data: st.DataObject) -> None:
    array = data.draw(columns_of(kind))
    encoding = encodings(kind, array)
    noise = np.random.default_rng(data.draw(st.integers(0, 99)))
    num = noise.choice([-1e30, -1.0, 0.0, 0.4, 1e30, np.nan], (20, len(encoding.layout.numbers))).astype(np.float32)
    cat = noise.integers(0, 40, (20, len(encoding.layout.categories))).astype(np.int32)

    decoded = encoding.decode({"num": num, "cat": cat}).column(0)

    decoded.validate(full=True)
    assert decoded.type == array.type
    seen = [value for value in comparable(array) if value is not None and value == value]
    drawn = [value for value in comparable(decoded) if value is not None]
    if kind == "category":
        assert set(drawn) <= ({True, False} if pa.types.is_boolean(array.type) else set(seen))
    elif kind != "vector" and drawn:
        assert min(seen) <= min(drawn)
        assert max(drawn) <= max(seen)


@pytest.mark.parametrize("kind", TABULAR)
@many
@given(data=st.data())
def test_a_column_of_nulls_only_is_encoded_and_decoded(kind: str, data: st.DataObject) -> None:
    array = data.draw(columns_of(kind))
    nulls = pa.nulls(5, array.type)
    encoding = encodings(kind, nulls)

    encoded = encoding.encode(batch_of(nulls))

    assert not encoded.invalid.any()
    assert encoding.decode(encoded.arrays).column(0).null_count == 5


@pytest.mark.parametrize("kind", TABULAR)
@many
@given(data=st.data())
def test_a_file_whose_column_is_all_null_and_so_has_no_type_is_a_file_of_missing_values(
    kind: str, data: st.DataObject
) -> None:
    array = data.draw(columns_of(kind))
    encoding = encodings(kind, array)

    typed = encoding.encode(batch_of(pa.nulls(3, array.type)))
    untyped = encoding.encode(batch_of(pa.nulls(3)))

    assert same(typed, untyped)


def mixed() -> pa.Table:
    return pa.table(
        {
            "id": [f"r{i}" for i in range(6)],
            "amount": pa.array([1.5, 2.5, None, 4.0, 1.5, 0.0]),
            "shop": ["a", "b", "a", None, "b", "a"],
            "opened": pa.array([0, 86400, 7 * 86400, 10, 20, 30], pa.timestamp("s")),
            "embedding": pa.array([[1.0, 2.0]] * 6, pa.list_(pa.float32(), 2)),
            "count": pa.array(range(6), pa.int64()),
            "fraud": [True, False, False, True, False, True],
        }
    )


def test_features_lie_in_the_order_of_the_columns_and_reasons_name_the_columns() -> None:
    encoding = encoding_of(mixed(), keys=["id"], labels=["fraud"])

    layout = encoding.layout

    assert layout.columns == ("amount", "shop", "opened", "embedding", "count")
    names = [number.name for number in layout.numbers]
    assert names == ["amount", "opened.week", "opened.time", "embedding[0]", "embedding[1]", "count"]
    assert [category.name for category in layout.categories] == ["shop", "opened.weekday"]
    assert [layout.columns[number.column] for number in layout.numbers] == [
        "amount", "opened", "opened", "embedding", "embedding", "count",
    ]  # fmt: skip
    assert [layout.columns[category.column] for category in layout.categories] == ["shop", "opened"]
    assert encoding.columns_read == ("amount", "shop", "opened", "embedding", "count", "id", "fraud")


def test_columns_may_come_in_another_order_with_others_among_them() -> None:
    table = mixed()
    encoding = encoding_of(table, keys=["id"], labels=["fraud"])
    shuffled = table.select(["count", "embedding", "opened", "shop", "amount"]).append_column("new", table["id"])

    expected = encoding.encode(table.to_batches()[0])
    found = encoding.encode(shuffled.to_batches()[0])

    assert same(found, expected)


def test_a_whole_table_is_decoded() -> None:
    table = mixed()
    encoding = encoding_of(table, keys=["id"], labels=["fraud"])

    decoded = encoding.decode(encoding.encode(table.to_batches()[0]).arrays)

    modelled = table.select(list(encoding.layout.columns))
    assert decoded.schema == modelled.schema
    assert decoded.to_pylist() == modelled.to_pylist()


def test_batches_of_other_types_change_places_without_confusion() -> None:
    table = pa.table({"x": pa.array([1.0, 2.0, 3.0]), "c": ["a", "b", "a"]})
    encoding = encoding_of(table)
    narrow = pa.table({"x": pa.array([1, 2, 3], pa.int8()), "c": pa.array(["a", "b", "a"]).dictionary_encode()})

    batches = [table.to_batches()[0], narrow.to_batches()[0]] * 2
    found = [encoding.encode(batch) for batch in batches]

    assert all(same(one, found[0]) for one in found)


def test_dictionaries_that_differ_from_batch_to_batch_give_the_same_codes() -> None:
    encoding = one_column(pa.array(["a", "b", "a", "c", "c", "c", "b"]))
    one = pa.array(["b", "a", "c"]).dictionary_encode()
    other = pa.array(["c", "b", "a"]).dictionary_encode().take(pa.array([1, 2, 0]))

    first, second = encoding.encode(batch_of(one)), encoding.encode(batch_of(other))

    assert one.dictionary != other.dictionary
    assert same(first, second)


def test_a_column_that_is_gone_and_one_that_changed_are_named_together() -> None:
    encoding = encoding_of(mixed(), keys=["id"], labels=["fraud"])
    batch = pa.table({"shop": [1, 2], "opened": pa.array([0, 1], pa.timestamp("s")), "count": [1, 2]}).to_batches()[0]

    with pytest.raises(SchemaMismatch) as caught:
        encoding.encode(batch)

    assert str(caught.value) == (
        "the batch has no column 'amount' (double), which the model was trained on: restore it, or change the job and"
        " retrain; has column 'shop' as int64, but the model was trained on string: write it as string, or retrain;"
        " has no column 'embedding' (fixed_size_list<item: float>[2]), which the model was trained on: restore it, or"
        " change the job and retrain"
    )


def test_training_needs_a_row() -> None:
    table = pa.table({"x": pa.array([], pa.float64())})

    with pytest.raises(OptionInvalid, match=r"no row is left to train on\. Widen \[train\] from, to or where"):
        encoding_of(table)


def test_a_row_keeps_the_first_of_several_reasons_and_finite_tensors() -> None:
    table = pa.table({"a": [1.0, 2.0, 3.0], "b": [1.0, 2.0, 3.0], "c": ["x", "x", "x"], "d": [1.0, 2.0, 3.0]})
    encoding = encoding_of(table)
    broken = pa.table(
        {
            "a": [1.0, float("nan"), 1.0, 1.0],
            "b": [None, float("inf"), 2.0, float("-inf")],
            "c": [None, "x", None, "x"],
            "d": [1.0, None, float("inf"), 1e300],
        }
    )

    encoded = encoding.encode(broken.to_batches()[0])

    assert [encoding.invalid_reasons[reason] for reason in encoded.invalid] == [
        "b is missing, and never was in training",
        "a is missing, and never was in training",
        "c is missing, and never was in training",
        "b is infinite, or too large for float32",
    ]
    assert np.isfinite(encoded.arrays["num"]).all()
    assert (encoded.arrays["cat"] > 0).all()


def test_a_condition_is_encoded_as_its_type_asks() -> None:
    table = pa.table({"y": [0, 1], "x": [1.0, 2.0], "shop": ["a", "a"], "day": pa.array([1, 2], pa.date32())})

    layout = encoding_of(table, {"shop": "condition", "day": "condition", "x": "condition"}).layout

    assert isinstance(layout, Layout)
    assert layout.columns == ("y",)
    assert layout.conditions == ("x", "shop", "day")
    assert [number.name for number in layout.given_numbers] == ["x", "day.week"]
    assert [category.name for category in layout.given_categories] == ["shop", "day.weekday"]
