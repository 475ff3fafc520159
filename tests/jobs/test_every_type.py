"""Every type that Arrow has is modelled, or ignored for a stated reason."""

import datetime as dt
import io
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aepipe.encoding import fit
from aepipe.errors import SchemaMismatch
from aepipe.tables.kind_inference import infer
from tests.support.columns import make_job

ELSE = 'name it "key" or "label" to pass it through'
EXAMPLE = 'x = {kind = "image", shape = [1, 28, 28]}'
BYTES = f"raw bytes or numbers of unknown shape: write {EXAMPLE} under [columns], or {ELSE}"
NEVER = f"no kind can model: {ELSE}"
_DAY, _TIME = dt.date(2026, 2, 28), dt.time(23, 59, 1)
_MOMENT, _SPAN = dt.datetime(2026, 2, 28, 23, 59, 1), dt.timedelta(days=2, seconds=7)

MODELLED: list[tuple[pa.DataType, str, Any]] = [
    *[(kind, "number", 100) for kind in (pa.int8(), pa.int16(), pa.int32(), pa.uint8(), pa.uint16(), pa.uint32())],
    (pa.int64(), "number", -(2**63) + 1),
    (pa.uint64(), "number", 2**64 - 2),
    (pa.float16(), "number", np.float16(0.5)),
    (pa.float32(), "number", 0.25),
    (pa.float64(), "number", 1 / 3),
    *[(kind, "number", Decimal("7.25")) for kind in (pa.decimal32(5, 2), pa.decimal64(12, 2), pa.decimal128(9, 2))],
    (pa.decimal256(50, 2), "number", Decimal("-7.25")),
    (pa.duration("us"), "number", _SPAN),
    (pa.bool8(), "number", 1),
    (pa.bool_(), "boolean", True),
    *[(kind, "category", "ä") for kind in (pa.string(), pa.large_string(), pa.string_view(), pa.json_())],
    (pa.dictionary(pa.int8(), pa.string()), "category", "ä"),
    (pa.dictionary(pa.int32(), pa.int64()), "category", 7),
    (pa.date32(), "datetime", _DAY),
    (pa.date64(), "datetime", _DAY),
    (pa.time32("ms"), "datetime", _TIME),
    (pa.time64("ns"), "datetime", _TIME),
    (pa.timestamp("ms"), "datetime", _MOMENT),
    (pa.timestamp("ns", tz="Europe/Berlin"), "datetime", _MOMENT),
    (pa.run_end_encoded(pa.int32(), pa.int64()), "number", 7),
    *[(kind, "vector", [1.0, 2.0]) for kind in (pa.list_(pa.float32()), pa.large_list(pa.float64()))],
    (pa.list_(pa.int16(), 2), "vector", [1, 2]),
    *[(kind, "tags", ["a", "b"]) for kind in (pa.list_(pa.string()), pa.large_list(pa.string_view()))],
    (pa.fixed_shape_tensor(pa.float32(), [2]), "vector", [1.0, 2.0]),
]
IGNORED: list[tuple[pa.DataType, str]] = [
    *[(kind, BYTES) for kind in (pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(4))],
    (pa.uuid(), f"UUIDs identify rows: {ELSE}"),
    *[(kind, NEVER) for kind in (pa.list_view(pa.float32()), pa.large_list_view(pa.float32()))],
    *[(kind, NEVER) for kind in (pa.map_(pa.string(), pa.int8()), pa.struct([]))],
    (pa.struct([("a", pa.int8())]), "a struct: its fields are columns of their own"),
    *[(kind([pa.field("a", pa.int8())]), NEVER) for kind in (pa.sparse_union, pa.dense_union)],
    (pa.month_day_nano_interval(), NEVER),
    (pa.opaque(pa.binary(), "a", "b"), BYTES),
]
NOT_IN_PARQUET = (pa.run_end_encoded(pa.int32(), pa.int64()), pa.dictionary(pa.int32(), pa.int64()))
WITHOUT_A_CLASS = {"Type_INTERVAL_DAY_TIME", "Type_INTERVAL_MONTHS"}
"""Arrow's C++ knows them, pyarrow cannot make them."""


def column(kind: pa.DataType, value: Any) -> pa.Array:
    """Repeat the value five times, with a null in the middle."""
    values = [value, value, None, value, value, value]
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, pa.array(values, kind.storage_type))
    if pa.types.is_run_end_encoded(kind):
        return pa.RunEndEncodedArray.from_arrays(pa.array([2, 3, 6], kind.run_end_type), pa.array([7, None, 7]))
    if pa.types.is_dictionary(kind):
        return pa.array(values, kind.value_type).dictionary_encode().cast(kind)
    return pa.array(values, kind)


def stored(table: pa.Table) -> pa.Table:
    """Write a table to Parquet and read it back."""
    file = io.BytesIO()
    pq.write_table(table, file)
    return pq.read_table(pa.BufferReader(file.getvalue()))


@pytest.mark.parametrize(("kind", "expected", "value"), MODELLED, ids=lambda one: str(one))
def test_a_type_that_is_modelled_comes_back_from_either_encoding(kind: pa.DataType, expected: str, value: Any) -> None:
    table = pa.table({"x": column(kind, value), "y": [1.0] * 6})
    table = table if kind in NOT_IN_PARQUET else stored(table)
    schema = infer(table.schema, make_job(), table)

    assert schema.columns[0].kind == expected
    for as_codes in (False, True):
        encoding = fit(schema, table.to_batches(), as_codes=as_codes)
        (batch,) = table.to_batches()
        decoded = encoding.decode(encoding.encode(batch).arrays)["x"]
        assert decoded.type == table.schema.field("x").type
        assert [repr(each) for each in decoded.to_pylist()] == [repr(each) for each in batch["x"].to_pylist()]


@pytest.mark.parametrize(("kind", "reason"), IGNORED, ids=lambda one: str(one))
def test_a_type_that_cannot_be_modelled_is_ignored_with_the_reason(kind: pa.DataType, reason: str) -> None:
    schema = infer(pa.schema([("x", kind), ("y", pa.float64())]), make_job(), None)

    assert (schema.columns[0].kind, schema.columns[0].why) == ("ignore", reason)


def test_lists_whose_lengths_vary_are_not_a_vector() -> None:
    table = pa.table({"x": pa.array([[1.0], [1.0, 2.0]]), "y": [1.0, 2.0]})

    with pytest.raises(SchemaMismatch) as caught:
        infer(table.schema, make_job({"x": "vector"}), table)

    assert caught.value.faults == (
        f"has column 'x' ({table.schema.field('x').type}), lists of 1 to 2 numbers, which are not vectors:"
        ' give all the same length, or name it under [columns] as "key", "label" or "ignore"',
    )


def test_a_column_without_a_type_is_ignored_and_says_why() -> None:
    schema = infer(pa.schema([("x", pa.null()), ("y", pa.float64())]), make_job(), None)

    assert (schema.columns[0].kind, schema.columns[0].why) == ("ignore", "all values are null")


def test_no_type_of_arrows_is_left_out() -> None:
    known = {kind.id for kind, *_ in (*MODELLED, *IGNORED)} | {pa.null().id}

    every = {name: getattr(pa.lib, name) for name in dir(pa.lib) if name.startswith("Type_")}

    assert {name for name, number in every.items() if number not in known} == WITHOUT_A_CLASS
