import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aepipe.tables.arrow_arrays import (
    array_of,
    bytes_of,
    dtype_of,
    nulls_of,
    numpy_of,
    plain_values,
    restored,
    texts_of,
    values_of,
)
from aepipe.tables.arrow_types import plain
from tests.support.columns import CATEGORIES, DATETIMES, NUMBERS, comparable

many = settings(max_examples=200)
columns = st.one_of(*NUMBERS.values(), *CATEGORIES.values(), *DATETIMES.values())


@many
@given(columns, st.integers(0, 20), st.integers(0, 20))
def test_values_and_nulls_of_any_slice_are_those_that_arrow_lists(array: pa.Array, first: int, rows: int) -> None:
    part = plain_values(array).slice(first, rows)
    if pa.types.is_decimal(part.type) or pa.types.is_string(part.type):
        return

    nulls = nulls_of(part)
    found = [value.item() for value in values_of(part)]

    expected = comparable(part)
    assert (nulls.tolist() if nulls is not None else [False] * len(part)) == [value is None for value in expected]
    assert all(value is None or one == value or value != value for one, value in zip(found, expected, strict=True))
    again = array_of(values_of(part), part.type, nulls)
    again.validate(full=True)
    assert str(again.to_pylist() if not pa.types.is_temporal(part.type) else comparable(again)) == str(expected)


@many
@given(columns)
def test_a_plain_array_goes_back_to_the_layout_it_came_in(array: pa.Array) -> None:
    values = plain_values(array)

    again = restored(values, array.type)

    again.validate(full=True)
    assert values.type == plain(array.type)
    assert again.type == array.type
    assert str(comparable(again)) == str(comparable(array))


@pytest.mark.parametrize(
    "array",
    [
        pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0" * 16, None], pa.binary(16))),
        pa.compute.run_end_encode(pa.array(["a", "a", None, "b"])),
        pa.DictionaryArray.from_arrays(pa.array([1, 0, None], pa.int8()), pa.array(["a", "b"], pa.string_view())),
        pa.DictionaryArray.from_arrays(pa.array([1, 0]), pa.array(["lo", "hi"]), ordered=True),
    ],
    ids=lambda array: str(array.type),
)
def test_wrapped_arrays_are_unwrapped_and_wrapped_again(array: pa.Array) -> None:
    again = restored(plain_values(array), array.type)

    assert again.type == array.type
    assert again.to_pylist() == array.to_pylist()


@settings(max_examples=100)
@given(st.lists(st.one_of(st.none(), st.binary(max_size=4))))
def test_bytes_and_texts_are_laid_end_to_end(contents: list[bytes | None]) -> None:
    array = bytes_of(contents)

    array.validate(full=True)
    assert array.to_pylist() == contents
    words = [str(content) for content in contents]
    assert texts_of(words).equals(pa.array(words, pa.string()))


def test_a_dtype_is_that_of_pyarrows_own_conversion() -> None:
    for kind in (pa.bool_(), pa.int8(), pa.uint64(), pa.float16(), pa.float32(), pa.float64()):
        assert dtype_of(kind) == kind.to_pandas_dtype()
    assert dtype_of(pa.date32()) == dtype_of(pa.time32("ms")) == np.int32
    assert dtype_of(pa.date64()) == dtype_of(pa.time64("ns")) == dtype_of(pa.timestamp("s", tz="UTC")) == np.int64


def test_encoding_a_table_does_not_import_pandas() -> None:
    code = """
import sys
from pathlib import Path
import pyarrow as pa
from aepipe.tables.arrow_arrays import array_of, bytes_of, texts_of
from aepipe.config.job import parse_job
from aepipe.encoding import fit
from aepipe.tables.schema_check import infer
import numpy as np

rows = np.arange(64) % 4
shops = texts_of([f"s{row}" for row in rows])
table = pa.table({
    "x": array_of(rows + 0.5, pa.float32()),
    "n": array_of(rows, pa.int64(), rows == 3),
    "shop": shops,
    "kind": shops.dictionary_encode(),
    "on": array_of(rows > 1, pa.bool_()),
    "at": array_of(rows * 4000, pa.timestamp("s", tz="UTC")),
    "v": pa.FixedSizeListArray.from_arrays(array_of(np.repeat(rows, 2), pa.float32()), 2),
    "amount": array_of(rows, pa.int64()).cast(pa.decimal128(22, 2)),
})
job = parse_job({"name": "test", "data": {"path": "x"}}, source=Path("job.toml"))
encoding = fit(infer(table.schema, job, table), table.to_batches())
decoded = encoding.decode(encoding.encode(table.to_batches()[0]).arrays)
assert decoded.num_rows == 64
image = pa.table({"p": bytes_of([bytes(range(12))] * 3)})
job = parse_job({"name": "t", "data": {"path": "x"}, "columns": {"p": {"shape": [3, 2, 2]}}}, source=Path("j.toml"))
encoding = fit(infer(image.schema, job, image), image.to_batches())
encoding.decode(encoding.encode(image.to_batches()[0]).arrays)
print(sorted({"pandas", "torch", "PIL"} & set(sys.modules)))
"""

    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (finished.stdout.strip(), finished.stderr) == ("[]", "")


@pytest.mark.parametrize(
    "values",
    [
        pa.chunked_array([[1.5, 2.5], [3.5]]),
        pa.chunked_array([pa.array([1.5, None], pa.float32()), pa.array([2.5], pa.float32())]),
        pa.chunked_array([[1, None, 3], [4]]),
        pa.chunked_array([pa.array([1, 2, 3], pa.uint8()).slice(1)]),
        pa.chunked_array([[True, False, True]]).slice(1),
        pa.chunked_array([[True, None]]),
        pa.chunked_array([], pa.float32()),
        pa.chunked_array([["a", None]]),
        pa.chunked_array([pa.array([1, 2], pa.timestamp("us"))]),
    ],
    ids=str,
)
def test_values_are_those_that_arrow_converts(values: pa.ChunkedArray) -> None:
    found, expected = numpy_of(values), values.to_numpy()

    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


def test_values_of_one_array_are_those_that_arrow_converts() -> None:
    for values in (pa.array([1, None]), pa.array([True, False]), pa.array([0.5]), pa.array(["a"])):
        np.testing.assert_array_equal(numpy_of(values), values.to_numpy(zero_copy_only=False))
