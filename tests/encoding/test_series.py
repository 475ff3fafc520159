"""Windows of a time series: any list type and length, encoded and decoded."""

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aepipe.encoding import Encoding
from aepipe.errors import OptionInvalid
from aepipe.layout import Port
from tests.support.columns import batch_of, one_column, schema_of

many = settings(max_examples=40)

_FLOATS = st.floats(-1000, 1000, width=32).map(lambda value: round(value, 2))
_SHORTS = st.integers(-(2**15), 2**15 - 1)
_LARGE = st.integers(2**40, 2**40 + 1000)


def _windows(values: st.SearchStrategy[Any], *, least: int = 1, most: int = 5) -> st.SearchStrategy[list[Any]]:
    """Return a strategy of windows whose first value is present; others may be missing."""
    rest = st.lists(st.one_of(values, values, st.none()), min_size=least - 1, max_size=most - 1)
    window = st.tuples(values, rest).map(lambda pair: [pair[0], *pair[1]])
    return st.lists(window, min_size=1, max_size=6)


def _steps_of(values: st.SearchStrategy[Any], channels: int) -> st.SearchStrategy[Any]:
    return st.lists(values, min_size=channels, max_size=channels)


FLAT: dict[str, tuple[pa.DataType, st.SearchStrategy[list[Any]]]] = {
    "list of float32": (pa.list_(pa.float32()), _windows(_FLOATS.map(np.float32))),
    "large list of float64": (pa.large_list(pa.float64()), _windows(_FLOATS)),
    "list of int16": (pa.list_(pa.int16()), _windows(_SHORTS)),
    "list of large int64": (pa.list_(pa.int64()), _windows(_LARGE)),
    "list of durations": (pa.list_(pa.duration("ms")), _windows(st.integers(0, 10**6))),
    "fixed list of float32": (pa.list_(pa.float32(), 3), _windows(_FLOATS.map(np.float32), least=3, most=3)),
}
NESTED: dict[str, tuple[pa.DataType, st.SearchStrategy[list[Any]]]] = {
    "steps of fixed size": (pa.list_(pa.list_(pa.float64(), 2)), _windows(_steps_of(_FLOATS, 2))),
    "steps as lists": (pa.list_(pa.list_(pa.int16())), _windows(_steps_of(_SHORTS, 3))),
    "large lists of steps": (pa.large_list(pa.large_list(pa.float64())), _windows(_steps_of(_FLOATS, 2))),
    "fixed windows": (pa.list_(pa.list_(pa.float32(), 2), 2), _windows(_steps_of(_FLOATS, 2), least=2, most=2)),
}
ALL = FLAT | NESTED


def series_of(array: pa.Array, **spec: Any) -> Encoding:
    return one_column(array, {"kind": "series", **spec})


def plain(rows: list[Any], channels: int) -> list[Any]:
    """Replace a null step by a step of nulls, as decoding returns it."""
    return [[[None] * channels if step is None and channels > 1 else step for step in row] for row in rows]


@pytest.mark.parametrize("name", ALL)
@many
@given(data=st.data())
def test_a_decoded_window_has_the_type_the_length_and_the_values_of_its_source(name: str, data: st.DataObject) -> None:
    kind, windows = ALL[name]
    array = pa.array(data.draw(windows), kind)
    encoding = series_of(array)

    encoded = encoding.encode(batch_of(array))
    decoded = encoding.decode(encoded.arrays).column(0)

    decoded.validate(full=True)
    assert decoded.type == array.type
    assert not encoded.invalid.any()
    channels = encoding.layout.series.channels if encoding.layout.series else 0
    assert decoded.to_pylist() == plain(array.to_pylist(), channels)


@pytest.mark.parametrize("name", ALL)
@many
@given(data=st.data(), first=st.integers(0, 3))
def test_a_slice_is_encoded_like_its_single_rows(name: str, data: st.DataObject, first: int) -> None:
    kind, windows = ALL[name]
    array = pa.array(data.draw(windows), kind)
    encoding = series_of(array)

    whole = encoding.encode(batch_of(array))
    part = encoding.encode(batch_of(array.slice(first)))

    for port, tensor in whole.arrays.items():
        np.testing.assert_array_equal(part.arrays[port], tensor[first:])


@pytest.mark.parametrize("name", ALL)
@many
@given(data=st.data())
def test_values_stand_at_their_step_and_channel_less_the_offset(name: str, data: st.DataObject) -> None:
    kind, windows = ALL[name]
    array = pa.array(data.draw(windows), kind)
    encoding = series_of(array)
    assert encoding.series is not None

    steps = encoding.encode(batch_of(array)).arrays["steps"]

    offsets = [codec.offset for codec in encoding.series.channels]
    rows = (array.cast(pa.list_(pa.int64())) if "durations" in name else array).to_pylist()
    for row, window in enumerate(plain(rows, len(offsets))):
        for at, step in enumerate(window):
            for channel, value in enumerate(step if isinstance(step, list) else [step]):
                found = float(steps[row, at, channel])
                wanted = math.nan if value is None else float(np.float32(float(value) - float(offsets[channel])))
                assert found == wanted or (value is None and math.isnan(found))
        assert np.isnan(steps[row, len(window) :]).all()


def test_lists_of_uneven_length_and_lists_of_steps_are_series() -> None:
    uneven = schema_of(pa.table({"x": [[1.0], [1.0, 2.0, 3.0]]})).columns[0]
    nested = schema_of(pa.table({"x": pa.array([[[1, 2]], [[3, 4]]], pa.list_(pa.list_(pa.int8(), 2)))})).columns[0]

    assert (uneven.kind, uneven.why) == (
        "series",
        "lists of 1 to 3 numbers in 2 sampled rows: windows of a time series",
    )
    assert nested.kind == "series"
    assert nested.why.startswith("lists of 1 lists of 2 numbers in 2 sampled rows: windows of a time series; an image")


def test_lists_of_one_length_are_a_vector_unless_the_job_says_series() -> None:
    table = pa.table({"x": [[1.0, 2.0], [3.0, 4.0]]})

    assert schema_of(table).columns[0].kind == "vector"
    assert schema_of(table, {"x": "series"}).columns[0].kind == "series"


def test_a_series_may_be_combined_with_conditions_keys_and_labels_only() -> None:
    table = pa.table({"x": [[1.0], [1.0, 2.0]], "n": [1.0, 2.0], "site": ["a", "b"], "id": [1, 2], "bad": [0, 1]})

    schema = schema_of(table, {"site": "condition"}, keys=["id"], labels=["bad"])

    assert {column.name: column.kind for column in schema.columns} == {
        "x": "series",
        "n": "ignore",
        "site": "condition",
        "id": "key",
        "bad": "label",
    }


def test_ports_are_steps_and_length() -> None:
    layout = series_of(pa.array([[[1.0, 2.0]], [[3.0, 4.0]] * 3], pa.list_(pa.list_(pa.float64(), 2)))).layout

    assert layout.kind == "series"
    assert layout.ports == (Port("steps", "float32", (3, 2)), Port("length", "int32", ()))
    assert layout.features == 3 * 2 + 1


def test_windows_that_cannot_be_scored_say_why_and_hold_something_finite() -> None:
    encoding = series_of(pa.array([[1.0, 2.0], [3.0]]))
    inf, nan = math.inf, math.nan

    encoded = encoding.encode(batch_of(pa.array([[1.0], None, [], [nan], [1, 2, 3], [1, inf], [1, nan], [1e300]])))

    assert [encoding.invalid_reasons[code] for code in encoded.invalid] == [
        "",
        "x is missing, empty or without any value",
        "x is missing, empty or without any value",
        "x is missing, empty or without any value",
        "x has more than 2 steps, which the model takes",
        "x has a value that is infinite, or too large for float32",
        "x has a missing value, and never had one in training",
        "x has a value that is infinite, or too large for float32",
    ]
    bad = encoded.invalid != 0
    assert (encoded.arrays["length"][bad] == 1).all()
    assert (encoded.arrays["steps"][bad, 0] == 2.0).all()
    assert np.isnan(encoded.arrays["steps"][bad, 1:]).all()


def test_a_step_of_another_size_is_invalid() -> None:
    kind = pa.list_(pa.list_(pa.float64()))
    encoding = series_of(pa.array([[[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]]], kind))

    encoded = encoding.encode(batch_of(pa.array([[[1.0, 2.0], [3.0]], [[1.0, 2.0]]], kind)))

    assert [encoding.invalid_reasons[code] for code in encoded.invalid] == ["x has a step that is not 2 numbers", ""]


def test_the_job_s_shape_sets_the_most_steps() -> None:
    encoding = series_of(pa.array([[1.0], [2.0, 3.0], [1.0] * 9]), shape=[4, 1])
    assert encoding.layout.series is not None

    assert encoding.layout.series.steps == 4
    assert encoding.layout.series.longest == 2
    with pytest.raises(OptionInvalid, match=r"no row of column 'x' is a window of shape \[4, 1\]"):
        series_of(pa.array([[1.0] * 9] * 2), shape=[4, 1])


def test_an_encoding_of_a_series_is_read_back_from_its_json() -> None:
    encoding = series_of(pa.array([[1.25], [2.5, 3.0]]))

    assert Encoding.model_validate_json(encoding.model_dump_json(by_alias=True)) == encoding


def test_a_column_of_nulls_only_accepts_any_windows() -> None:
    encoding = series_of(pa.array([[1.0], [2.0, 3.0]]))

    encoded = encoding.encode(batch_of(pa.nulls(2)))

    assert (encoded.invalid == 1).all()
