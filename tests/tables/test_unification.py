"""Files with different types become one table without a change of values."""

import itertools
from datetime import date, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aepipe.errors import SchemaMismatch
from aepipe.tables.unification import cast_batch, common_type, unified_table, unify_schemas

TYPES = st.sampled_from(
    [
        pa.null(), pa.bool_(), pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(),
        pa.uint64(), pa.float16(), pa.float32(), pa.float64(), pa.decimal128(9, 2), pa.decimal128(20, 0), pa.string(),
        pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string()), pa.binary(), pa.large_binary(),
        pa.binary(4), pa.date32(), pa.date64(), pa.timestamp("s"), pa.timestamp("us"), pa.timestamp("ns"),
        pa.timestamp("ms", tz="UTC"), pa.timestamp("us", tz="Europe/Paris"), pa.time32("s"), pa.time64("us"),
        pa.duration("s"), pa.duration("ms"), pa.list_(pa.int32()), pa.large_list(pa.float32()), pa.list_(pa.int8(), 3),
        pa.struct([("a", pa.int32())]),
    ]
)  # fmt: skip


@given(TYPES, TYPES)
def test_the_common_type_does_not_depend_on_the_order(first, second) -> None:
    assert common_type(first, second) == common_type(second, first)


def test_the_common_type_of_three_does_not_depend_on_the_grouping() -> None:
    def fold(*kinds: pa.DataType) -> pa.DataType | None:
        found: pa.DataType | None = kinds[0]
        for kind in kinds[1:]:
            found = None if found is None else common_type(found, kind)
        return found

    differ = []
    for kinds in itertools.product(TYPES.elements, repeat=3):
        left, right = fold(*kinds), fold(*reversed(kinds))
        if left is not None and right is not None and left != right:
            differ.append((*kinds, left, right))

    assert differ == []


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (pa.string(), pa.large_string(), pa.string()),
        (pa.string(), pa.dictionary(pa.int32(), pa.string()), pa.string()),
        (pa.int64(), pa.float64(), pa.float64()),
        (pa.int32(), pa.int64(), pa.int64()),
        (pa.uint8(), pa.int8(), pa.int16()),
        (pa.uint64(), pa.int64(), pa.float64()),
        (pa.float32(), pa.float64(), pa.float64()),
        (pa.timestamp("us"), pa.timestamp("ns"), pa.timestamp("us")),
        (pa.timestamp("us", tz="UTC"), pa.timestamp("us", tz="Europe/Paris"), pa.timestamp("us", tz="UTC")),
        (pa.date32(), pa.timestamp("us"), pa.timestamp("us")),
        (pa.decimal128(9, 2), pa.decimal128(12, 4), pa.decimal128(12, 4)),
        (pa.decimal128(9, 2), pa.float64(), pa.float64()),
        (pa.null(), pa.int8(), pa.int8()),
        (pa.list_(pa.int32()), pa.large_list(pa.float32()), pa.list_(pa.float64())),
        (pa.string(), pa.int64(), None),
        (pa.bool_(), pa.int64(), None),
        (pa.timestamp("us"), pa.timestamp("us", tz="UTC"), None),
        (pa.date32(), pa.string(), None),
    ],
)
def test_promotions_are_those_documented(first, second, expected) -> None:
    assert common_type(first, second) == expected


VALUES = st.lists(st.none() | st.integers(-(2**31), 2**31 - 1), max_size=20)


@given(VALUES, VALUES)
def test_integers_and_floats_keep_their_values(first, second) -> None:
    batches = [
        pa.RecordBatch.from_pydict({"x": pa.array(first, pa.int32())}),
        pa.RecordBatch.from_pydict({"x": pa.array(second, pa.float64())}),
    ]

    table = unified_table(batches)

    assert table["x"].to_pylist() == [None if x is None else float(x) for x in first + second]


TEXTS = st.lists(st.none() | st.text(max_size=5), max_size=20)


@given(TEXTS, TEXTS, TEXTS)
def test_text_keeps_its_values_in_every_layout(first, second, third) -> None:
    batches = [
        pa.RecordBatch.from_pydict({"x": pa.array(first, pa.string())}),
        pa.RecordBatch.from_pydict({"x": pa.array(second, pa.large_string())}),
        pa.RecordBatch.from_pydict({"x": pc.dictionary_encode(pa.array(third, pa.string()))}),
    ]

    assert unified_table(batches)["x"].to_pylist() == first + second + third


def test_a_column_that_a_file_lacks_is_null() -> None:
    batches = [pa.RecordBatch.from_pydict({"a": [1]}), pa.RecordBatch.from_pydict({"b": ["x"], "a": [2]})]

    assert unified_table(batches).to_pydict() == {"a": [1, 2], "b": [None, "x"]}


def test_times_decimals_and_dates_keep_their_values() -> None:
    noon = datetime(2026, 1, 1, 12)
    batches = [
        pa.RecordBatch.from_pydict(
            {"at": pa.array([noon], pa.timestamp("us")), "day": pa.array([date(2026, 1, 1)]), "sum": [Decimal("1.25")]}
        ),
        pa.RecordBatch.from_pydict(
            {
                "at": pa.array([noon], pa.timestamp("ns")),
                "day": pa.array([noon], pa.timestamp("us")),
                "sum": [Decimal("1234567.1")],
            }
        ),
    ]

    table = unified_table(batches)

    assert table["at"].cast(pa.timestamp("us")).to_pylist() == [noon, noon]
    assert table["day"].to_pylist() == [datetime(2026, 1, 1), noon]
    assert table["sum"].to_pylist() == [Decimal("1.25"), Decimal("1234567.1")]


def test_equal_schemas_are_kept_whole() -> None:
    schema = pa.schema([pa.field("a", pa.int8(), nullable=False)], metadata={"written": "by hand"})
    batch = pa.RecordBatch.from_arrays([pa.array([1], pa.int8())], schema=schema)

    assert unified_table([batch, batch]).schema.equals(schema, check_metadata=True)
    assert unify_schemas([("a", schema), ("b", schema)]).equals(schema, check_metadata=True)


def test_every_fault_is_named_with_file_column_and_types() -> None:
    schemas = [
        ("a.parquet", pa.schema([("x", pa.int64()), ("y", pa.string())])),
        ("b.parquet", pa.schema([("x", pa.string()), ("y", pa.bool_())])),
        ("c.parquet", pa.schema([("z", pa.int8()), ("z", pa.int8())])),
    ]

    with pytest.raises(SchemaMismatch) as caught:
        unify_schemas(schemas)

    assert "column 'x' is int64 in a.parquet and string in b.parquet, which have no common type" in str(caught.value)
    assert "column 'y' is string in a.parquet and bool in b.parquet" in str(caught.value)
    assert "c.parquet has more than one column 'z'" in str(caught.value)


def test_a_placeholder_date_among_nanoseconds_keeps_its_value() -> None:
    never, noon = datetime(9999, 12, 31), datetime(2026, 1, 1, 12)
    batches = [
        pa.RecordBatch.from_pydict({"at": pa.array([never], pa.timestamp("us"))}),
        pa.RecordBatch.from_pydict({"at": pa.array([noon], pa.timestamp("ns"))}),
    ]

    assert unified_table(batches)["at"].to_pylist() == [never, noon]


def test_a_value_that_does_not_fit_is_named() -> None:
    schema = pa.schema([("n", pa.int8())])
    batch = pa.RecordBatch.from_pydict({"n": [300]})

    with pytest.raises(SchemaMismatch, match="column 'n' is int64"):
        cast_batch(batch, schema)
