"""Passthrough of keys and labels of every type: types, bytes and nulls are unchanged."""

import datetime as dt
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.linear_bundle import make_bundle, numbers
from tests.support.workspace import Workspace

ROWS = 40


def _column(kind: pa.DataType, values: list[Any]) -> pa.Array:
    """Repeat the values, with every seventh null."""
    return pa.array([None if row % 7 == 3 else values[row % len(values)] for row in range(ROWS)], kind)


_NOW = dt.datetime(2026, 3, 29, 1, 59, 59, 999_999)
CARRIED: dict[str, pa.Array] = {
    "uint64": _column(pa.uint64(), [2**64 - 1, 2**63, 0]),
    "int64": _column(pa.int64(), [2**53 + 1, -(2**63), 2**63 - 1]),
    "int8": _column(pa.int8(), [-128, 127]),
    "float16": _column(pa.float16(), [np.float16(0.1), np.float16("nan")]),
    "float64": _column(pa.float64(), [0.1 + 0.2, -0.0, float("inf"), 5e-324]),
    "decimal128": _column(pa.decimal128(38, 9), [Decimal("12345678901234567890123456789.123456789"), Decimal("0")]),
    "decimal256": _column(pa.decimal256(60, 2), [Decimal(10**57), Decimal("-0.01")]),
    "bool": _column(pa.bool_(), [True, False]),
    "string": _column(pa.string(), ["", " a ", "ä\u0301", "𝄞", "a\x00b"]),
    "large_string": _column(pa.large_string(), ["x" * 300, "y"]),
    "dictionary": _column(pa.string(), ["b", "a", "b"]).dictionary_encode(),
    "binary": _column(pa.binary(), [b"\xff\x00\xfe", b""]),
    "fixed binary": _column(pa.binary(16), [uuid.UUID(int=7).bytes, bytes(range(16))]),
    "date32": _column(pa.date32(), [dt.date(1, 1, 1), dt.date(9999, 12, 31)]),
    "timestamp[ns]": pa.array([None if row % 7 == 3 else 2**62 + row for row in range(ROWS)], pa.timestamp("ns")),
    "timestamp[us, zone]": _column(pa.timestamp("us", tz="Europe/Berlin"), [_NOW]),
    "time64": _column(pa.time64("us"), [dt.time(23, 59, 59, 999_999)]),
    "duration": _column(pa.duration("us"), [dt.timedelta(days=-1, microseconds=1)]),
    "list": _column(pa.list_(pa.int32()), [[1, None], []]),
    "struct": _column(pa.struct([("a", pa.int8()), ("b", pa.string())]), [{"a": 1, "b": None}]),
}


def _exactly(column: pa.ChunkedArray) -> list[str]:
    """Make values comparable to the sign of a zero, with NaN equal to NaN."""
    return [repr(value) for value in column.to_pylist()]


@pytest.mark.parametrize("role", ["keys", "labels"])
def test_passthrough_columns_are_unchanged(tmp_path: Path, role: str) -> None:
    table = numbers(ROWS).drop_columns("id")
    for name, column in CARRIED.items():
        table = table.append_column(name, column)
    workspace = Workspace(tmp_path, make_bundle(tmp_path, table, data={role: list(CARRIED)}))
    partition = workspace.write(table, group=16)

    workspace.score(partition)

    source, scores = pq.ParquetFile(partition.files[0]).read(), workspace.read()
    for name in CARRIED:
        assert scores.schema.field(name).type == source.schema.field(name).type, name
        assert _exactly(scores[name]) == _exactly(source[name]), name
