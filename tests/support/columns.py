"""Jobs, schemas and encodings of small tables, and a generator of columns for each kind of encoder."""

from collections.abc import Callable, Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas  # noqa: F401  or pyarrow imports it inside a strategy, where its import draws random numbers
import pyarrow as pa
from hypothesis import strategies as st

from aepipe.config.job import Job, parse_job
from aepipe.encoding import Encoding, fit
from aepipe.tables.schema_check import Schema, infer


def make_job(columns: dict[str, Any] | None = None, **data: Any) -> Job:
    raw = {"name": "test", "data": {"path": "rows", **data}, "columns": columns or {}}
    return parse_job(raw, source=Path("/jobs/job.toml"))


def schema_of(table: pa.Table, columns: dict[str, Any] | None = None, **data: Any) -> Schema:
    return infer(table.schema, make_job(columns, **data), table)


def encoding_of(table: pa.Table, columns: dict[str, Any] | None = None, **data: Any) -> Encoding:
    return fit(schema_of(table, columns, **data), table.to_batches())


def batch_of(column: pa.Array, name: str = "x") -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([column], names=[name])


def one_column(array: pa.Array, spec: Any = None, name: str = "x") -> Encoding:
    return encoding_of(pa.table({name: array}), {} if spec is None else {name: spec})


def with_nulls(values: st.SearchStrategy[Any], *, least: int = 1, most: int = 30) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.one_of(values, values, values, st.none()), min_size=least, max_size=most)


def _integers(kind: pa.DataType) -> st.SearchStrategy[pa.Array]:
    edge = np.iinfo(str(kind))
    anywhere = st.integers(int(edge.min), int(edge.max))
    small = st.integers(max(int(edge.min), -100), min(int(edge.max), 100))
    top = int(edge.max)
    together = st.integers(max(top - 1000, 0), top)
    return st.one_of(*(with_nulls(values) for values in (anywhere, small, together))).map(lambda v: pa.array(v, kind))


def _up_to_float32(width: Any) -> st.SearchStrategy[float]:
    return st.floats(-(2.0**127), 2.0**127, width=width)


def _floats(kind: pa.DataType) -> st.SearchStrategy[pa.Array]:
    width = kind.bit_width
    wide = st.one_of(st.just(float("nan")), st.floats(-6e4, 6e4, width=16) if width == 16 else _up_to_float32(width))
    usual = st.floats(-1000, 1000, width=width).map(lambda value: round(value, 2))
    values = st.one_of(with_nulls(wide), with_nulls(usual))
    numpy = {16: np.float16, 32: np.float32, 64: np.float64}[width]
    return values.map(lambda v: pa.array([None if one is None else numpy(one) for one in v], kind))


def _decimals(kind: pa.DataType) -> st.SearchStrategy[pa.Array]:
    edge = 10 ** min(kind.precision, 15) - 1
    unscaled = st.integers(-edge, edge)
    values = unscaled.map(lambda value: Decimal(value).scaleb(-kind.scale))
    return with_nulls(values).map(lambda v: pa.array(v, kind))


def _of_type(kind: pa.DataType, values: st.SearchStrategy[Any]) -> st.SearchStrategy[pa.Array]:
    return with_nulls(values).map(lambda v: pa.array(v, kind))


def _ticks(kind: pa.DataType, low: int, high: int, step: int = 1) -> st.SearchStrategy[pa.Array]:
    values = st.integers(low // step, high // step).map(lambda value: value * step)
    integer = pa.int32() if kind.bit_width == 32 else pa.int64()
    return with_nulls(values).map(lambda v: pa.array(v, integer).cast(kind))


PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def _timestamps(kind: pa.DataType) -> st.SearchStrategy[pa.Array]:
    per_second = PER_SECOND[kind.unit]
    least, most = -(2**63) + 3 * 86400 * 10**9, 2**63 - 3 * 86400 * 10**9
    years = 250 if kind.unit == "ns" else 1900
    edge = min(years * 365 * 86400 * per_second, most)
    whole_days, whole_seconds = 86400 * per_second, per_second
    steps = (1, whole_seconds, whole_days)
    return st.one_of(*(_ticks(kind, max(-edge, least), edge, step) for step in steps))


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=3)


def _dictionary(index: pa.DataType, values: pa.DataType) -> st.SearchStrategy[pa.Array]:
    def build(texts: list[str | None]) -> pa.Array:
        packed = pa.array(texts, pa.string()).dictionary_encode()
        return pa.DictionaryArray.from_arrays(packed.indices.cast(index), packed.dictionary.cast(values))

    return with_nulls(TEXTS).map(build)


INTEGERS = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]
FLOATS = [pa.float16(), pa.float32(), pa.float64()]
DECIMALS = [pa.decimal32(9, 2), pa.decimal64(15, 4), pa.decimal128(5, 2), pa.decimal128(38, 0), pa.decimal256(50, 10)]
UNITS = ["s", "ms", "us", "ns"]
ZONES = [None, "UTC", "Europe/Berlin", "America/New_York", "+05:30"]

NUMBERS: dict[str, st.SearchStrategy[pa.Array]] = {
    **{str(kind): _integers(kind) for kind in INTEGERS},
    **{str(kind): _floats(kind) for kind in FLOATS},
    **{str(kind): _decimals(kind) for kind in DECIMALS},
    **{f"duration[{unit}]": _ticks(pa.duration(unit), -(10**15), 10**15) for unit in UNITS},
    "bool": _of_type(pa.bool_(), st.booleans()),
}
CATEGORIES: dict[str, st.SearchStrategy[pa.Array]] = {
    "string": _of_type(pa.string(), TEXTS),
    "large_string": _of_type(pa.large_string(), TEXTS),
    "string_view": _of_type(pa.string_view(), TEXTS),
    "few strings": _of_type(pa.string(), st.sampled_from(["a", "b", ""])),
    "dictionary[int8]": _dictionary(pa.int8(), pa.string()),
    "dictionary[uint32, large]": _dictionary(pa.uint32(), pa.large_string()),
    "dictionary[int16, view]": _dictionary(pa.int16(), pa.string_view()),
    "bool": _of_type(pa.bool_(), st.booleans()),
    "int64": _of_type(pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "uint64": _of_type(pa.uint64(), st.integers(2**64 - 3, 2**64 - 1)),
    "int8": _of_type(pa.int8(), st.integers(0, 3)),
    "float64": _of_type(pa.float64(), st.sampled_from([0.0, 0.1, -1e300, 1 / 3])),
    "float16": _of_type(pa.float16(), st.sampled_from([np.float16(0.1), np.float16(2)])),
    "decimal": _of_type(pa.decimal128(9, 2), st.sampled_from([Decimal("0.10"), Decimal("-7.25")])),
    "date32": _of_type(pa.date32(), st.dates()),
}
DATETIMES: dict[str, st.SearchStrategy[pa.Array]] = {
    "date32": _of_type(pa.date32(), st.dates()),
    "date64": _of_type(pa.date64(), st.dates()),
    **{f"timestamp[{unit}, {zone}]": _timestamps(pa.timestamp(unit, tz=zone)) for unit in UNITS for zone in ZONES},
    "time32[s]": _ticks(pa.time32("s"), 0, 86399),
    "time32[ms]": _ticks(pa.time32("ms"), 0, 86_399_999),
    "time64[us]": _ticks(pa.time64("us"), 0, 86_399_999_999),
    "time64[ns]": _ticks(pa.time64("ns"), 0, 86_399_999_999_999),
}
_SMALL = st.floats(-100, 100, width=32)
VECTORS: dict[str, st.SearchStrategy[pa.Array]] = {
    "fixed list of float32": _of_type(pa.list_(pa.float32(), 3), st.lists(_SMALL, min_size=3, max_size=3)),
    "list of float64": _of_type(pa.list_(pa.float64()), st.lists(_SMALL, min_size=2, max_size=2)),
    "large list of int16": _of_type(
        pa.large_list(pa.int16()), st.lists(st.integers(-(2**15), 2**15 - 1), min_size=2, max_size=2)
    ),
    "fixed list of float16": _of_type(
        pa.list_(pa.float16(), 1), st.lists(st.just(np.float16(0.5)), min_size=1, max_size=1)
    ),
}
_MEMBERS = st.lists(st.none() | st.sampled_from(["a", "b", "", "ä"]), max_size=4)
TAGS: dict[str, st.SearchStrategy[pa.Array]] = {
    "list of strings": _of_type(pa.list_(pa.string()), _MEMBERS),
    "large list of large strings": _of_type(pa.large_list(pa.large_string()), _MEMBERS),
    "list of string views": _of_type(pa.list_(pa.string_view()), _MEMBERS),
}
TOKENS: dict[str, st.SearchStrategy[pa.Array]] = {
    name: _of_type(kind, st.sampled_from(["disk sda1 failed", "disk 7: ok", "", "ä\t b"]) | TEXTS)
    for name, kind in (("text", pa.string()), ("large text", pa.large_string()), ("text view", pa.string_view()))
}

PIXELS = st.lists(st.integers(0, 255), min_size=6, max_size=6)


def _images(kind: pa.DataType, build: Callable[[list[int]], Any]) -> st.SearchStrategy[pa.Array]:
    return st.lists(PIXELS.map(build), min_size=1, max_size=8).map(lambda v: pa.array(v, kind))


IMAGES: dict[str, st.SearchStrategy[pa.Array]] = {
    "fixed binary": _images(pa.binary(6), bytes),
    "binary": _images(pa.binary(), bytes),
    "large binary": _images(pa.large_binary(), bytes),
    "binary view": _images(pa.binary_view(), bytes),
    "list of uint8": _images(pa.list_(pa.uint8()), list),
    "list of int64": _images(pa.list_(pa.int64()), list),
    "large list of int16": _images(pa.large_list(pa.int16()), list),
    "fixed list of uint8": _images(pa.list_(pa.uint8(), 6), list),
    "rows": _images(pa.list_(pa.list_(pa.uint8())), lambda p: [p[:3], p[3:]]),
    "fixed rows": _images(pa.list_(pa.list_(pa.int32(), 3), 2), lambda p: [p[:3], p[3:]]),
    "channels of rows": _images(pa.list_(pa.list_(pa.list_(pa.uint8()))), lambda p: [[p[:3], p[3:]]]),
}
"""Pictures of 1 channel, 2 rows and 3 columns."""

GENERATORS: dict[str, dict[str, st.SearchStrategy[pa.Array]]] = {
    "number": NUMBERS,
    "category": CATEGORIES,
    "datetime": DATETIMES,
    "vector": VECTORS,
    "tags": TAGS,
    "text": TOKENS,
    "image": IMAGES,
}


def comparable(array: pa.Array) -> list[Any]:
    """Return the values; times as integers in their unit, as Python's own types cannot hold all of them."""
    if pa.types.is_temporal(array.type):
        array = array.cast(pa.int32() if array.type.bit_width == 32 else pa.int64())
    return array.to_pylist()


def columns_of(kind: str) -> st.SearchStrategy[pa.Array]:
    """Return a strategy of columns of a kind, of any of its types."""
    return st.one_of(*GENERATORS[kind].values())


def spec_of(kind: str, array: pa.Array) -> dict[str, Any]:
    """Return what a job must state about a column of a kind."""
    if kind == "image":
        return {"kind": "image", "shape": [1, 2, 3]}
    if kind == "vector" and not pa.types.is_fixed_size_list(array.type):
        return {"kind": "vector", "shape": [2]}
    return {"kind": "boolean" if pa.types.is_boolean(array.type) else kind}


def kinds_with_generators(kinds: Iterable[str] = tuple(GENERATORS)) -> list[tuple[str, str]]:
    """Return every kind with each of its generators."""
    return [(kind, name) for kind in kinds for name in GENERATORS[kind]]
