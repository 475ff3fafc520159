"""Conditions: columns that are given with a row and not modelled."""

from datetime import datetime

import numpy as np
import pyarrow as pa
import pytest
import torch

from aepipe.encoding import Encoding
from aepipe.errors import SchemaMismatch
from aepipe.layout import FIRST_VALUE, MISSING, UNSEEN
from aepipe.models.layers.preprocessing import GIVEN_SCALE, Preprocessing
from tests.support.columns import encoding_of, schema_of

DAYS = pa.array([datetime(2026, 1, day, 12) for day in (1, 2, 3, 4, 5, 6)], pa.timestamp("us"))
COLUMNS = {
    "number": pa.array([1.0, 2.5, 2.5, 4.0, 5.5, 7.0]),
    "integer": pa.array([1, 2, 3, 4, 5, 6], pa.int16()),
    "text": pa.array(["red", "blue", "red", "red", "blue", "blue"]),
    "dictionary": pa.array(["red", "blue", "red", "red", "blue", "blue"]).dictionary_encode(),
    "boolean": pa.array([True, False, True, True, False, False]),
    "datetime": DAYS,
}


def table_with(given: pa.Array) -> pa.Table:
    return pa.table({"x": pa.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]), "given": given})


def fitted(given: pa.Array) -> Encoding:
    return encoding_of(table_with(given), {"given": "condition"})


def batch(given: pa.Array) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"x": np.arange(len(given), dtype=float), "given": given})


@pytest.mark.parametrize("name", COLUMNS)
def test_a_condition_is_decoded_exactly(name: str) -> None:
    encoding = fitted(COLUMNS[name])

    encoded = encoding.encode(batch(COLUMNS[name]))
    decoded = encoding.decode(encoded.arrays)

    assert not encoded.invalid.any()
    assert decoded.schema.names == ["x", "given"]
    assert decoded["given"].type == COLUMNS[name].type
    assert decoded["given"].to_pylist() == COLUMNS[name].to_pylist()


@pytest.mark.parametrize("name", COLUMNS)
def test_a_condition_is_given_and_not_modelled(name: str) -> None:
    layout = fitted(COLUMNS[name]).layout

    assert layout.columns == ("x",)
    assert layout.conditions == ("given",)
    assert layout.features == 1
    assert layout.given > 0
    assert [port.name for port in layout.rebuilt_ports] == ["num"]
    assert {port.name for port in layout.given_ports} <= {"given_num", "given_cat"}
    assert layout.encoded_ports == layout.seen_ports + layout.given_ports


@pytest.mark.parametrize("name", COLUMNS)
def test_the_tensors_and_the_vector_have_the_shapes_that_the_layout_says(name: str) -> None:
    encoding = fitted(COLUMNS[name])

    arrays = encoding.encode(batch(COLUMNS[name])).arrays
    row = Preprocessing(encoding.layout)({port: torch.from_numpy(array) for port, array in arrays.items()})

    assert list(arrays) == [port.name for port in encoding.layout.ports]
    for port in encoding.layout.ports:
        assert (arrays[port.name].shape[1:], str(arrays[port.name].dtype)) == (port.row_shape, port.dtype)
    assert row.given.shape == (6, encoding.layout.given)


@pytest.mark.parametrize("name", COLUMNS)
def test_conditions_are_encoded_like_within_their_row(name: str) -> None:
    encoding = fitted(COLUMNS[name])

    alone = encoding.encode_given(batch(COLUMNS[name]).select(["given"]))

    within_row = encoding.encode(batch(COLUMNS[name])).arrays
    assert list(alone) == [port.name for port in encoding.layout.given_ports]
    for port, array in alone.items():
        np.testing.assert_array_equal(array, within_row[port])


def test_a_number_is_standardised_and_a_category_one_hot_both_scaled() -> None:
    table = table_with(COLUMNS["number"]).append_column("colour", COLUMNS["text"])
    encoding = encoding_of(table, {"given": "condition", "colour": "condition"})
    tensors = {name: torch.from_numpy(array) for name, array in encoding.encode(table.to_batches()[0]).arrays.items()}

    given = Preprocessing(encoding.layout)(tensors).given.numpy() / GIVEN_SCALE

    values = COLUMNS["number"].to_numpy()
    np.testing.assert_allclose(given[:, 0], (values - values.mean()) / values.std(), rtol=1e-5)
    # blue and red are seen equally often: alphabetical order
    expected = [FIRST_VALUE + (colour == "red") for colour in COLUMNS["text"].to_pylist()]
    np.testing.assert_array_equal(given[:, 1:].argmax(1), expected)
    np.testing.assert_array_equal(given[:, 1:].sum(1), 1)


def test_nulls_that_training_had_are_conditions_of_their_own() -> None:
    numbers, texts = pa.array([1.0, None, 3.0, 4.0, None, 6.0]), pa.array(["a", None, "a", "b", None, "b"])
    table = table_with(numbers).append_column("colour", texts)
    encoding = encoding_of(table, {"given": "condition", "colour": "condition"})

    encoded = encoding.encode(table.to_batches()[0])
    row = Preprocessing(encoding.layout)({name: torch.from_numpy(array) for name, array in encoded.arrays.items()})

    missing = numbers.is_null().to_pylist()
    assert not encoded.invalid.any()
    assert (row.given[:, 1] == GIVEN_SCALE).tolist() == missing
    assert (row.given[missing, 0] == 0).all()
    assert (encoded.arrays["given_cat"][:, 0] == MISSING).tolist() == missing
    assert encoding.decode(encoded.arrays)["colour"].to_pylist() == texts.to_pylist()
    assert encoding.decode(encoded.arrays)["given"].to_pylist() == numbers.to_pylist()


@pytest.mark.parametrize("name", COLUMNS)
def test_a_null_that_training_never_had_makes_the_row_invalid_and_says_why(name: str) -> None:
    encoding = fitted(COLUMNS[name])
    gap = pa.array([COLUMNS[name][0].as_py(), None], COLUMNS[name].type)

    encoded = encoding.encode(batch(gap))

    reasons = [encoding.invalid_reasons[code] for code in encoded.invalid]
    assert reasons == ["", "given is missing, and never was in training"]
    assert all(np.isfinite(array).all() for array in encoded.arrays.values())


def test_of_a_fault_in_the_row_and_one_in_the_condition_the_row_s_is_named() -> None:
    encoding = fitted(COLUMNS["number"])
    faulty = pa.RecordBatch.from_pydict({"x": pa.array([None, 1.0], pa.float64()), "given": pa.nulls(2, pa.float64())})

    encoded = encoding.encode(faulty)

    reasons = [encoding.invalid_reasons[code] for code in encoded.invalid]
    assert reasons == [f"{name} is missing, and never was in training" for name in ("x", "given")]


def test_a_value_that_training_never_saw_is_counted_and_fine() -> None:
    encoding = fitted(COLUMNS["text"])

    encoded = encoding.encode(batch(pa.array(["green", "red"])))

    assert encoded.arrays["given_cat"][:, 0].tolist() == [UNSEEN, FIRST_VALUE + 1]
    assert encoded.unseen == {"given": 1}
    assert not encoded.invalid.any()


def test_conditions_may_accompany_an_image() -> None:
    scans = pa.array([bytes([value] * 4) for value in range(6)], pa.binary())
    table = pa.table({"kind": COLUMNS["text"], "scan": scans, "age": COLUMNS["number"]})
    spec = {"scan": {"kind": "image", "shape": [1, 2, 2]}, "kind": "condition", "age": "condition"}
    encoding = encoding_of(table, spec)

    encoded = encoding.encode(table.to_batches()[0])
    decoded = encoding.decode(encoded.arrays)

    assert list(encoded.arrays) == ["image", "given_num", "given_cat"]
    assert encoding.layout.columns == ("scan",)
    assert encoding.layout.conditions == ("kind", "age")
    assert decoded.schema.names == ["kind", "scan", "age"]
    assert decoded.to_pydict() == table.to_pydict()


def test_an_encoding_with_conditions_survives_json() -> None:
    encoding = fitted(COLUMNS["dictionary"])

    again = Encoding.model_validate_json(encoding.model_dump_json(by_alias=True))

    assert again == encoding
    assert again.layout == encoding.layout


def test_a_table_of_nothing_but_conditions_is_refused() -> None:
    table = pa.table({"given": COLUMNS["text"], "other": COLUMNS["number"]})

    with pytest.raises(SchemaMismatch, match="has no column to model: every column is a key, a label, a condition"):
        schema_of(table, {"given": "condition", "other": "condition"})


def test_an_image_or_a_vector_is_refused_as_a_condition() -> None:
    vectors = pa.array([[1.0, 2.0]] * 6, pa.list_(pa.float64(), 2))

    with pytest.raises(SchemaMismatch, match="given"):
        schema_of(table_with(vectors), {"given": "condition"})
