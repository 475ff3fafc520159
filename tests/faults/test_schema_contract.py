"""Effect of a change in the source's schema or values on a partition, as in docs/reliability.md."""

import decimal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from aepipe.jobs.score import score
from tests.faults.nights import make_job, parquet, rows, scored

pytestmark = pytest.mark.slow

SCORED = ""
HOSTILE = ("<script>alert(1)</script>", "=1+1", "'; drop table x", "ключ \u202e\x1b[31m", "a\nb", "")


def with_column(name: str, change: Callable[[pa.ChunkedArray], object]) -> pa.Table:
    table = rows()
    changed = change(table[name])
    values = changed if isinstance(changed, pa.ChunkedArray) else pa.array(changed)
    return table.set_column(table.column_names.index(name), name, values)


def spoiled(share: float, value: float) -> pa.Table:
    def change(column: pa.ChunkedArray) -> np.ndarray:
        values = column.to_numpy().copy()
        values[: max(1, round(share * len(values)))] = value
        return values

    return with_column("a", change)


def decimals(column: pa.ChunkedArray) -> pa.Array:
    return pa.array([decimal.Decimal(f"{value:.4f}") for value in column.to_pylist()], pa.decimal128(20, 4))


CASES: dict[str, tuple[Callable[[], pa.Table], str]] = {
    "missing": (lambda: rows().drop_columns(["a"]), "'a'"),
    "renamed": (lambda: rows().rename_columns(["id", "amount", "b", "kind"]), "'a'"),
    "extra": (lambda: rows().append_column("more", pa.array(range(60))), SCORED),
    "reordered": (lambda: rows().select(["kind", "b", "a", "id"]), SCORED),
    "text-for-number": (lambda: with_column("a", lambda c: ["x"] * len(c)), "'a'"),
    "number-for-category": (lambda: with_column("kind", lambda c: np.arange(len(c))), "'kind'"),
    "widened": (lambda: with_column("a", lambda c: c.cast(pa.float64())), "write it as float, or retrain"),
    "narrowed": (lambda: with_column("b", lambda c: c.cast(pa.float32())), SCORED),
    "large-text": (lambda: with_column("kind", lambda c: c.cast(pa.large_string())), SCORED),
    "dictionary": (lambda: with_column("kind", lambda c: c.dictionary_encode()), SCORED),
    "decimals": (lambda: with_column("a", decimals), "write it as float, or retrain"),
    "null-column": (lambda: with_column("a", lambda c: pa.nulls(len(c), pa.float32())), "60 of 60"),
    "untyped-nulls": (lambda: with_column("a", lambda c: pa.nulls(len(c))), "60 of 60"),
    "new-category": (lambda: with_column("kind", lambda c: ["east", *c.to_pylist()[1:]]), SCORED),
    "empty": (lambda: rows().slice(0, 0), SCORED),
    "hostile-keys": (lambda: with_column("id", lambda c: [*HOSTILE, *c.to_pylist()[len(HOSTILE) :]]), SCORED),
    "equal-keys": (lambda: with_column("id", lambda c: ["one key"] * len(c)), SCORED),
    "nan-1": (lambda: spoiled(0.01, np.nan), SCORED),
    "nan-60": (lambda: spoiled(0.6, np.nan), "36 of 60"),
    "nan-100": (lambda: spoiled(1.0, np.nan), "60 of 60"),
    "inf-1": (lambda: spoiled(0.01, np.inf), SCORED),
    "inf-60": (lambda: spoiled(0.6, -np.inf), "36 of 60"),
    "inf-100": (lambda: spoiled(1.0, np.inf), "60 of 60"),
}


def test_each_change_of_schema_or_values_ends_as_documented(tmp_path: Path) -> None:
    files = {name: parquet(make()) for name, (make, _) in CASES.items()}
    job = make_job(tmp_path / "case", {"same": parquet(rows()), **files})

    nights = {night.partition.removeprefix("dt="): night for night in score(job).nights}

    unexpected = []
    for name, (make, expected) in CASES.items():
        night, table = nights[name], scored(job.parent, name)
        if expected == SCORED and (night.status != "written" or table is None or len(table) != len(make())):
            unexpected.append(f"{name}: {night.status} {night.reason}")
        if expected != SCORED and (night.status != "quarantined" or expected not in (night.reason or "")):
            unexpected.append(f"{name}: {night.status} {night.reason}")
    assert not unexpected, "\n".join(unexpected)


def test_order_and_encoding_of_columns_change_no_score(tmp_path: Path) -> None:
    names = ("extra", "reordered", "large-text", "dictionary")
    job = make_job(tmp_path / "case", {"same": parquet(rows()), **{name: parquet(CASES[name][0]()) for name in names}})

    score(job)

    expected = scored(job.parent, "same")
    assert expected is not None
    for name in names:
        table = scored(job.parent, name)
        assert table is not None
        assert table["score"].equals(expected["score"]), name


def test_keys_of_any_text_come_back_as_they_were(tmp_path: Path) -> None:
    job = make_job(tmp_path / "case", {"hostile-keys": parquet(CASES["hostile-keys"][0]())})

    score(job)

    table = scored(job.parent, "hostile-keys")
    assert table is not None
    assert tuple(table["id"].to_pylist()[: len(HOSTILE)]) == HOSTILE
