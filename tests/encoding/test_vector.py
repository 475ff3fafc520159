import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.columns import VECTORS, batch_of, one_column

many = settings(max_examples=100)


def reason(array: pa.Array, tonight: pa.Array) -> list[str]:
    encoding = one_column(array, {"kind": "vector", "shape": [2]})
    return [encoding.invalid_reasons[at] for at in encoding.encode(batch_of(tonight)).invalid]


@many
@given(st.one_of(*VECTORS.values()))
def test_vectors_of_float32_and_small_integers_come_back_exactly(array: pa.Array) -> None:
    fixed = pa.types.is_fixed_size_list(array.type)
    encoding = one_column(array, "vector" if fixed else {"kind": "vector", "shape": [2]})

    decoded = encoding.decode(encoding.encode(batch_of(array)).arrays).column(0)

    assert decoded.to_pylist() == array.to_pylist()


def test_each_element_is_a_feature_with_its_own_statistics() -> None:
    values = np.random.default_rng(1).normal([0, 100], [1, 20], (500, 2))

    numbers = one_column(pa.array(values.tolist(), pa.list_(pa.float64(), 2))).layout.numbers

    assert [number.name for number in numbers] == ["x[0]", "x[1]"]
    assert [number.mean for number in numbers] == pytest.approx(values.mean(axis=0))
    assert [number.std for number in numbers] == pytest.approx(values.std(axis=0))


def test_a_list_of_another_length_is_invalid_and_a_null_or_empty_one_missing() -> None:
    two, three = [1.0, 2.0], [1.0, 2.0, 3.0]

    assert reason(pa.array([two]), pa.array([two, three, [], None])) == [
        "",
        "x has another length than 2",
        "x is missing, and never was in training",
        "x is missing, and never was in training",
    ]
    assert reason(pa.array([two, None]), pa.array([None, [1.0, None], []])) == ["", "", ""]


def test_a_missing_element_is_missing_alone() -> None:
    array = pa.array([[1.0, None], [3.0, 4.0]], pa.list_(pa.float32(), 2))
    encoding = one_column(array)

    encoded = encoding.encode(batch_of(array))

    assert np.array_equal(encoded.arrays["num"], [[1, np.nan], [3, 4]], equal_nan=True)
    assert encoding.decode(encoded.arrays).column(0).to_pylist() == array.to_pylist()


def test_an_infinite_element_makes_the_row_invalid() -> None:
    assert reason(pa.array([[1.0, 2.0]]), pa.array([[1.0, float("inf")]])) == [
        "x is infinite, or too large for float32"
    ]
