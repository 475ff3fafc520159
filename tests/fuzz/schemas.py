"""Random Arrow schemas of every type that Parquet holds, and tables of them."""

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

Rng = np.random.Generator
Value = Callable[[Rng], Any]

_DAY = dt.date(2026, 1, 1)
_NOW = dt.datetime(2026, 1, 1, 12)
WORDS = ["a", "b", "", "ä" * 9, "1", "2.5", "2026-01-31", "31.12.2025", "007", "null", "x\ny", '"', "\\"]

FLAT: list[tuple[pa.DataType, Value]] = [
    *[(kind, lambda rng: int(rng.integers(0, 100))) for kind in (pa.int8(), pa.int16(), pa.uint8(), pa.uint32())],
    (pa.int64(), lambda rng: int(rng.choice([0, 1, -(2**63), 2**63 - 1, 2**53 + 1]))),
    (pa.uint64(), lambda rng: int(rng.integers(0, 2**64 - 1, dtype=np.uint64))),
    (pa.float16(), lambda rng: np.float16(rng.normal())),
    *[
        (kind, lambda rng: float(rng.choice([0.1, -0.0, np.nan, np.inf, 1e300, 5e-324])))
        for kind in (pa.float32(), pa.float64())
    ],
    (pa.float64(), lambda rng: float(rng.normal())),
    (pa.bool_(), lambda rng: bool(rng.integers(2))),
    *[
        (kind, lambda rng: Decimal(int(rng.integers(-999, 999))).scaleb(-2))
        for kind in (pa.decimal128(9, 2), pa.decimal256(50, 2))
    ],
    *[(kind, lambda rng: str(rng.choice(WORDS))) for kind in (pa.string(), pa.large_string(), pa.string_view())],
    (pa.string(), lambda rng: f"{rng.normal():.3f}"),
    (pa.string(), lambda rng: str(_DAY + dt.timedelta(days=int(rng.integers(500))))),
    *[(kind, lambda rng: rng.bytes(3)) for kind in (pa.binary(), pa.large_binary())],
    (pa.binary(16), lambda rng: rng.bytes(16)),
    *[(kind, lambda rng: _DAY + dt.timedelta(days=int(rng.integers(9_000)))) for kind in (pa.date32(), pa.date64())],
    *[
        (kind, lambda rng: _NOW + dt.timedelta(seconds=int(rng.integers(10**8))))
        for kind in (pa.timestamp("s"), pa.timestamp("us", "UTC"), pa.timestamp("ns", "Europe/Berlin"))
    ],
    *[(kind, lambda rng: dt.time(int(rng.integers(24)))) for kind in (pa.time32("s"), pa.time64("us"))],
    *[
        (kind, lambda rng: dt.timedelta(seconds=int(rng.integers(99))))
        for kind in (pa.duration("s"), pa.duration("ns"))
    ],
    (pa.null(), lambda rng: None),
    (pa.dictionary(pa.int8(), pa.string()), lambda rng: str(rng.choice(WORDS))),
]
NAMES = [
    "x",
    "X",
    "y",
    "a.b",
    "a b",
    "s",
    "s.a",
    "tags[a]",
    "score",
    "dt",
    "é",
    "",
    "n" * 80,
    "__index_level_0__",
    "id",
]


def random_type(rng: Rng, depth: int = 0) -> tuple[pa.DataType, Value]:
    """Draw a type and a function that draws its values."""
    form = str(rng.choice(["flat", "list", "fixed", "struct", "map", "same"], p=[0.6, 0.13, 0.05, 0.14, 0.04, 0.04]))
    if form in ("flat", "same") or depth > 2:
        kind, draw = FLAT[int(rng.integers(len(FLAT)))]
        value = draw(rng)
        return kind, (lambda rng: value) if form == "same" else draw
    kind, draw = random_type(rng, depth + 1)
    if form == "list":
        make = pa.list_ if rng.integers(2) else pa.large_list
        return make(kind), lambda rng: [_or_none(rng, draw) for _ in range(int(rng.integers(0, 4)))]
    if form == "fixed":
        return pa.list_(kind, 2), lambda rng: [_or_none(rng, draw) for _ in range(2)]
    if form == "map":
        return pa.map_(pa.string(), kind), lambda rng: [
            (str(at), _or_none(rng, draw)) for at in range(int(rng.integers(3)))
        ]
    fields = {
        str(name): random_type(rng, depth + 1)
        for name in rng.choice(["a", "b", "a.b", "s"], int(rng.integers(1, 4)), replace=False)
    }
    return (
        pa.struct([(name, each) for name, (each, _) in fields.items()]),
        lambda rng: {name: _or_none(rng, value) for name, (_, value) in fields.items()},
    )


def _or_none(rng: Rng, draw: Value) -> Any:
    return None if rng.random() < 0.1 else draw(rng)


def random_column(rng: Rng, rows: int) -> pa.Array:
    """Draw a column of a random type, in one case of twenty an extension of it."""
    kind, draw = random_type(rng)
    missing = float(rng.choice([0.0, 0.1, 1.0], p=[0.6, 0.35, 0.05]))
    array = pa.array([None if rng.random() < missing else draw(rng) for _ in range(rows)], kind)
    extensions = {pa.binary(16): pa.uuid(), pa.string(): pa.json_()}
    if kind in extensions and rng.random() < 0.3:
        return pa.ExtensionArray.from_storage(extensions[kind], array)
    return array


def random_files(rng: Rng, rows: int) -> list[pa.Table]:
    """Draw one to four files of one table; now and then a column has another type, or is missing, or is there twice."""
    names = [str(name) for name in rng.choice(NAMES, int(rng.integers(1, 7)), replace=False)]
    state = int(rng.integers(2**32))
    files = []
    for _ in range(int(rng.integers(1, 5))):
        columns = [random_column(np.random.default_rng(state + at), rows) for at in range(len(names))]
        own = list(names)
        if rng.random() < 0.3:
            columns[0] = random_column(rng, rows)
        if rng.random() < 0.1 and len(own) > 1:
            columns, own = columns[1:], own[1:]
        if rng.random() < 0.05:
            columns, own = [*columns, random_column(rng, rows)], [*own, own[0]]
        table = pa.Table.from_arrays(columns, names=own)
        files.append(table.slice(0, 0) if rng.random() < 0.1 else table)
    return files
