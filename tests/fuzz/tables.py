"""Random tables and job files: typical values, types, names, layouts and options, and damaged ones."""

import json
import uuid
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from aepipe.heads import scores as heads
from aepipe.models import families

Rng = np.random.Generator
Column = Callable[[Rng, int], pa.Array]

WORDS = ["red", "green", "Blau", "", " ", "<b>x</b>", "=1+1", "naïve", "日本", "O'Hara", "a,b", 'say "x"', "null"]


def _numbers(values: np.ndarray, rng: Rng, missing: float = 0.0) -> pa.Array:
    return pa.array(values, mask=rng.random(len(values)) < missing) if missing else pa.array(values)


def _spiked(rng: Rng, rows: int, spikes: list[float]) -> np.ndarray:
    values = rng.normal(size=rows)
    at = rng.random(rows) < 0.05
    values[at] = rng.choice(spikes, int(at.sum()))
    return values


def _moments(rng: Rng, rows: int, unit: str, zone: str | None = None) -> pa.Array:
    seconds = 1_700_000_000 + rng.integers(0, 10**7, rows)
    scale = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    return pa.array(seconds * scale, pa.int64()).cast(pa.timestamp(unit, zone))


def _decimals(rng: Rng, rows: int, kind: pa.DataType) -> pa.Array:
    return pa.array([Decimal(int(value)).scaleb(-2) for value in rng.integers(-999, 999, rows)], kind)


def _placeholder_dates(rng: Rng, rows: int) -> pa.Array:
    usual = [date(2024, 1, 1) + timedelta(days=int(day)) for day in rng.integers(0, 300, rows)]
    return pa.array([date(9999, 12, 31) if rng.random() < 0.1 else day for day in usual])


COLUMNS: dict[str, Column] = {
    "normal": lambda rng, n: _numbers(rng.normal(5, 2, n), rng),
    "float32": lambda rng, n: _numbers(rng.normal(size=n).astype(np.float32), rng, 0.1),
    "float16": lambda rng, n: pa.array(rng.normal(size=n).astype(np.float16)),
    "amounts": lambda rng, n: _numbers(np.round(rng.lognormal(3, 2, n), 2), rng, 0.05),
    "counts": lambda rng, n: pa.array(rng.poisson(2, n)),
    "rising id": lambda rng, n: pa.array(np.arange(n) + int(rng.integers(10**6))),
    "large integers": lambda rng, n: pa.array(rng.integers(-(2**63), 2**63 - 1, n)),
    "unsigned": lambda rng, n: pa.array(rng.integers(0, 2**64 - 1, n, dtype=np.uint64)),
    "int8": lambda rng, n: pa.array(rng.integers(-128, 127, n).astype(np.int8)),
    "constant": lambda rng, n: pa.array(np.full(n, float(rng.integers(3)))),
    "constant text": lambda rng, n: pa.array(["x"] * n),
    "few distinct": lambda rng, n: pa.array(rng.choice([0.0, 1.5, 7.0], n)),
    "all null": lambda rng, n: pa.nulls(n, pa.float64()),
    "null type": lambda rng, n: pa.nulls(n),
    "mostly null": lambda rng, n: _numbers(rng.normal(size=n), rng, 0.97),
    "infinite": lambda rng, n: pa.array(_spiked(rng, n, [np.inf, -np.inf, np.nan])),
    "huge": lambda rng, n: pa.array(_spiked(rng, n, [1e20, -1e30, 1e38])),
    "beyond float32": lambda rng, n: pa.array(_spiked(rng, n, [1e300, -1e308])),
    "tiny": lambda rng, n: pa.array(rng.normal(size=n) * 1e-40),
    "bool": lambda rng, n: pa.array((rng.random(n) < 0.3).tolist()),
    "words": lambda rng, n: pa.array([str(word) for word in rng.choice(WORDS, n)]),
    "many words": lambda rng, n: pa.array([f"w{code}" for code in rng.zipf(1.3, n) % 5_000]),
    "unique text": lambda rng, n: pa.array([str(uuid.UUID(bytes=rng.bytes(16))) for _ in range(n)]),
    "numbers as text": lambda rng, n: pa.array([f"{value:.2f}" for value in rng.normal(size=n)]),
    "dates as text": lambda rng, n: pa.array([f"2024-01-{1 + m % 28:02d}" for m in rng.integers(0, 99, n)]),
    "large text": lambda rng, n: pa.array([str(word) for word in rng.choice(WORDS, n)], pa.large_string()),
    "dictionary": lambda rng, n: pa.array([str(word) for word in rng.choice(WORDS, n)]).dictionary_encode(),
    "binary": lambda rng, n: pa.array([rng.bytes(4) for _ in range(n)]),
    "uuid bytes": lambda rng, n: pa.array([rng.bytes(16) for _ in range(n)], pa.binary(16)),
    "decimal": lambda rng, n: _decimals(rng, n, pa.decimal128(9, 2)),
    "decimal256": lambda rng, n: _decimals(rng, n, pa.decimal256(50, 3)),
    "date": lambda rng, n: pa.array((19_000 + rng.integers(0, 500, n)).astype(np.int32), pa.int32()).cast(pa.date32()),
    "placeholder dates": _placeholder_dates,
    "seconds": lambda rng, n: _moments(rng, n, "s"),
    "microseconds": lambda rng, n: _moments(rng, n, "us", "UTC"),
    "nanoseconds": lambda rng, n: _moments(rng, n, "ns", "Europe/Berlin"),
    "time of day": lambda rng, n: pa.array(rng.integers(0, 86_400, n), pa.int32()).cast(pa.time32("s")),
    "duration": lambda rng, n: pa.array(rng.integers(0, 86_400, n), pa.int64()).cast(pa.duration("s")),
    "vector": lambda rng, n: pa.FixedSizeListArray.from_arrays(pa.array(rng.normal(size=4 * n)), 4),
    "list of numbers": lambda rng, n: pa.array([rng.normal(size=6).tolist() for _ in range(n)]),
    "ragged list": lambda rng, n: pa.array([rng.normal(size=rng.integers(0, 5)).tolist() for _ in range(n)]),
    "basket": lambda rng, n: pa.array([rng.integers(0, 50, rng.integers(0, 6)).tolist() for _ in range(n)]),
    "tags": lambda rng, n: pa.array([[str(w) for w in rng.choice(WORDS, rng.integers(0, 4))] for _ in range(n)]),
    "struct": lambda rng, n: pa.array([{"a": float(v), "b": "x" if v > 0 else None} for v in rng.normal(size=n)]),
    "list of structs": lambda rng, n: pa.array([[{"a": 1.0}] for _ in range(n)]),
    "map": lambda rng, n: pa.array([[("k", int(v))] for v in rng.integers(0, 9, n)], pa.map_(pa.string(), pa.int64())),
}

USUAL = ("normal", "amounts", "counts", "words", "bool", "date", "few distinct", "float32", "decimal")

NAMES = ["x", "y", "amount", "Größe", "a b", "a.b", "select", "1", "<b>", "it's", "n" * 100, "score", "seed", "id", "X"]


def random_tables(rng: Rng) -> list[pa.Table]:
    """Draw one to four partitions of one table, some with other types, columns or no rows."""
    width = int(rng.integers(1, 7))
    names = [str(name) for name in rng.choice(NAMES, width, replace=False)]
    kinds = [str(rng.choice(USUAL if rng.random() < 0.6 else list(COLUMNS))) for _ in names]
    rows = int(rng.choice([0, 1, 5, 25, 60, 150, 400, 900], p=[0.03, 0.03, 0.04, 0.1, 0.2, 0.25, 0.25, 0.1]))
    tables = []
    for _ in range(int(rng.integers(1, 4))):
        columns = {name: COLUMNS[kind](rng, rows) for name, kind in zip(names, kinds, strict=True)}
        if rng.random() < 0.1:
            columns[names[0]] = COLUMNS[str(rng.choice(list(COLUMNS)))](rng, rows)
        if rng.random() < 0.05 and len(columns) > 1:
            columns.pop(names[-1])
        if rng.random() < 0.05:
            columns["extra"] = COLUMNS["normal"](rng, rows)
        table = pa.table(columns)
        if rng.random() < 0.15 and rows:
            table = table.take(pa.array(rng.integers(0, min(rows, 3), rows)))  # few distinct rows
        tables.append(table.slice(0, 0) if rng.random() < 0.04 else table)
    return tables


def write_tables(rng: Rng, folder: Path, tables: list[pa.Table]) -> None:
    """Write the partitions in one of the usual layouts, now and then with a damaged file."""
    layout = str(rng.choice(["dt", "ymd", "file"], p=[0.6, 0.2, 0.2]))
    for day, table in enumerate(tables, start=1):
        path = {
            "dt": folder / f"dt=2026-01-{day:02d}" / "part-0.parquet",
            "ymd": folder / "year=2026" / "month=1" / f"day={day}" / "part.parquet",
            "file": folder / f"2026-01-{day:02d}.parquet",
        }[layout]
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, row_group_size=max(1, int(rng.choice([7, 100, 100_000]))))
        if rng.random() < 0.04:
            content = path.read_bytes()
            path.write_bytes(rng.choice([b"", content[: len(content) // 2], b"PAR1" + content[8:]]))


def random_options(rng: Rng, columns: list[str]) -> str:
    """Draw the sections of a job file: mostly valid, here and there a value that does not fit."""

    def some() -> str:
        return json.dumps(str(rng.choice(columns)), ensure_ascii=False) if columns else '"x"'

    odd = rng.random() < 0.15
    lines = ["[model]", f'family = "{rng.choice([*families.names(), "denoising_ae"])}"']
    if rng.random() < 0.3:
        lines.append(f"latent = {rng.choice([1, 2, 3, 8, 200] if not odd else [-1, 0, 10**9])}")
    lines += ["[train]", "epochs = 1", f'data = "{rng.choice(["clean", "polluted"])}"']
    if rng.random() < 0.15:
        test = rng.choice(["> 0", "is not null", "= 1", "in (1, 2)"])
        lines.append(f"where = {json.dumps(f'{_quoted(rng, columns)} {test}')}")
    lines += ["[score]", f"reasons = {rng.integers(0, 4)}"]
    if rng.random() < 0.3:
        lines.append(f'head = "{rng.choice([*heads.names(), "auto"])}"')
    if rng.random() < 0.1:
        lines.append("clusters = true")
    if rng.random() < 0.3:
        lines += ["[calibration]", f"alpha = {rng.choice([0.05, 0.2] if not odd else [0, 1, 1e-9, 2])}"]
    lines += ["[samples]", f"rows = {rng.choice([0, 10, 200] if not odd else [-1, 3])}"]
    if rng.random() < 0.1:
        lines += ["[evaluate]", f"anomaly = {json.dumps(f'{_quoted(rng, columns)} = 1')}"]
    if rng.random() < 0.2:
        kind = rng.choice(["category", "number", "ignore", "datetime", "vector", "image"])
        lines += ["[columns]", f'{some()} = {{ kind = "{kind}" }}']
    return "\n".join(lines) + "\n"


def random_roles(rng: Rng, columns: list[str]) -> str:
    """Draw keys, labels and an event time among the columns, as lines of [data]."""
    lines = []
    for role, share in (("keys", 0.25), ("labels", 0.2)):
        if rng.random() < share and columns:
            lines.append(f"{role} = {json.dumps([str(rng.choice(columns))], ensure_ascii=False)}")
    if rng.random() < 0.1 and columns:
        lines.append(f"event_time = {json.dumps(str(rng.choice(columns)), ensure_ascii=False)}")
    return "\n".join(lines) + "\n"


def _quoted(rng: Rng, columns: list[str]) -> str:
    name = str(rng.choice(columns)) if columns else "x"
    return name if name.isidentifier() and name != "select" else '"' + name.replace('"', '""') + '"'
