"""Missing values by column, from the statistics of Parquet files, against a count of the rows."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from aepipe.jobs.inspect import inspect
from aepipe.tables.column_statistics import null_counts
from aepipe.tables.parquet_reader import read_footer


def write(path: Path, table: pa.Table, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **options)
    return path


def test_nulls_are_counted_over_files_and_row_groups(tmp_path: Path) -> None:
    values = pa.array([None if at % 3 == 0 else float(at) for at in range(100)])
    table = pa.table({"a": values, "s": pa.array([{"x": None if at < 10 else at} for at in range(100)])})
    first = write(tmp_path / "dt=1" / "p.parquet", table, row_group_size=7)
    second = write(tmp_path / "dt=2" / "p.parquet", table.drop_columns(["s"]).slice(0, 50))

    found = null_counts([read_footer(first), read_footer(second)])

    assert found["a"] == values.null_count + values.slice(0, 50).null_count
    assert found["s.x"] == 10 + 50


def test_columns_without_statistics_and_lists_are_left_out(tmp_path: Path) -> None:
    table = pa.table({"a": [1, None], "b": [1, 2], "l": [[1], None]})
    path = write(tmp_path / "p.parquet", table, write_statistics=["b"])

    assert null_counts([read_footer(path)]) == {"b": 0}


def test_inspect_counts_missing_values(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    amount = generator.normal(size=60)
    write(tmp_path / "p.parquet", pa.table({"amount": pa.array(amount, mask=amount < 0), "kind": ["a", "b"] * 30}))

    assert inspect(tmp_path).missing == {"amount": int((amount < 0).sum()), "kind": 0}
