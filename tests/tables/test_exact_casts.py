import datetime as dt
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aepipe.errors import SchemaMismatch
from aepipe.tables.unification import cast_exactly

NOON = dt.datetime(2026, 1, 1, 12)
KINDS = [
    pa.int16(),
    pa.int64(),
    pa.uint64(),
    pa.float32(),
    pa.float64(),
    pa.decimal128(20, 2),
    pa.string(),
    pa.large_string(),
    pa.bool_(),
    pa.dictionary(pa.int8(), pa.string()),
]


def cast(array: pa.Array, kind: pa.DataType) -> pa.Array:
    return cast_exactly(pa.RecordBatch.from_arrays([array], names=["id"]), pa.field("id", kind))


@pytest.mark.parametrize(
    ("array", "kind", "expected"),
    [
        (pa.array([1, None], pa.int16()), pa.int64(), [1, None]),
        (pa.array([1, None], pa.int64()), pa.int8(), [1, None]),
        (pa.array([12, None]), pa.string(), ["12", None]),
        (pa.array(["12", None]), pa.int64(), [12, None]),
        (pa.array([12.0, None]), pa.int64(), [12, None]),
        (pa.array([float("nan")], pa.float32()), pa.float64(), ["nan"]),
        (pa.array(["a"]).dictionary_encode(), pa.large_string(), ["a"]),
        (pa.array([NOON], pa.timestamp("ns")), pa.timestamp("s"), [NOON]),
        (pa.array([NOON.date()]), pa.timestamp("us"), [dt.datetime(2026, 1, 1)]),
        (pa.array([Decimal("1.50")]), pa.string(), ["1.50"]),
        (pa.array([bytes(16)], pa.binary(16)), pa.uuid(), ["00000000-0000-0000-0000-000000000000"]),
        (pa.nulls(1), pa.int64(), [None]),
    ],
    ids=str,
)
def test_values_that_stay_the_same_are_cast(array: pa.Array, kind: pa.DataType, expected: list[Any]) -> None:
    found = cast(array, kind)

    assert found.type == kind
    values = [
        str(value) if isinstance(want, str) else value for value, want in zip(found.to_pylist(), expected, strict=True)
    ]
    assert values == expected


@pytest.mark.parametrize(
    ("array", "kind"),
    [
        (pa.array(["007"]), pa.int64()),
        (pa.array(["row 1"]), pa.int64()),
        (pa.array([300]), pa.int8()),
        (pa.array([0.1]), pa.float32()),
        (pa.array([2**53 + 1]), pa.float64()),
        (pa.array([NOON.replace(microsecond=1)], pa.timestamp("us")), pa.timestamp("s")),
        (pa.array([NOON], pa.timestamp("s")), pa.date32()),
        (pa.array([NOON], pa.timestamp("s")), pa.timestamp("s", "UTC")),
        (pa.array([[1]]), pa.int64()),
        (pa.array([2]), pa.bool_()),
        (pa.array([f"v{code}" for code in range(200)]), pa.dictionary(pa.int8(), pa.string())),
    ],
    ids=str,
)
def test_values_that_would_change_are_refused(array: pa.Array, kind: pa.DataType) -> None:
    with pytest.raises(SchemaMismatch, match=r"column 'id' is .+ Write it as .+, or train again"):
        cast(array, kind)


def test_a_column_that_is_not_there_is_null() -> None:
    batch = pa.RecordBatch.from_pydict({"x": [1, 2]})

    assert cast_exactly(batch, pa.field("id", pa.string())).to_pylist() == [None, None]


@given(st.data())
def test_whatever_is_cast_comes_back_and_has_the_type(data: st.DataObject) -> None:
    source, target = data.draw(st.sampled_from(KINDS)), data.draw(st.sampled_from(KINDS))
    texts = data.draw(st.lists(st.none() | st.sampled_from(["0", "1", "-7", "250", "1.5", "007", "true", "x"])))
    try:
        array = pa.array(texts, pa.string()).cast(source)
    except pa.ArrowException:
        return
    try:
        found = cast(array, target)
    except SchemaMismatch:
        return
    assert found.type == target
    assert cast(found, source).equals(array)
