"""Training on files whose Parquet types, columns or order differ, as they do after an upstream upgrade."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aepipe.config.job import read_job
from aepipe.errors import SchemaMismatch
from aepipe.jobs.evaluate.evaluate import evaluate
from aepipe.jobs.report.report import report
from aepipe.jobs.score import score
from aepipe.jobs.train.train import train
from aepipe.jobs.train.training_data import TrainingData, read_training_data
from aepipe.tables.partitions import discover, select

JOB = """name = "drift"
[data]
path = "data"
keys = ["id"]
labels = ["y"]
event_time = "at"
[model]
family = "pca"
[train]
to = "2026-01-03"
[calibration]
alpha = 0.05
[run]
workers = 1
"""


def rows(seed: int, count: int = 120) -> pa.Table:
    rng = np.random.default_rng(seed)
    at = (1_700_000_000 + seed * 86_400 + np.arange(count)) * 10**6
    return pa.table(
        {
            "id": [f"k{seed}-{index}" for index in range(count)],
            "y": (rng.random(count) < 0.1).astype("int64"),
            "i": rng.integers(0, 500, count),
            "x": rng.normal(size=count),
            "price": pa.array(
                [Decimal(int(cents)) / 100 for cents in rng.integers(100, 9_999, count)], pa.decimal128(12, 2)
            ),
            "c": rng.choice(["a", "b", "c"], count).tolist(),
            "at": pa.array(at, pa.timestamp("us")),
        }
    )


def cast(name: str, kind: pa.DataType) -> Callable[[pa.Table], pa.Table]:
    return lambda table: changed(table, name, table[name].cast(kind))


def changed(table: pa.Table, name: str, values: object) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, values)


WAYS: dict[str, Callable[[pa.Table], pa.Table]] = {
    "large text": cast("c", pa.large_string()),
    "text as a dictionary": lambda table: changed(table, "c", table["c"].combine_chunks().dictionary_encode()),
    "a key as large text": cast("id", pa.large_string()),
    "integers as float64": cast("i", pa.float64()),
    "integers as int32": cast("i", pa.int32()),
    "numbers as float32": cast("x", pa.float32()),
    "a wider decimal": cast("price", pa.decimal128(20, 4)),
    "a decimal as float64": cast("price", pa.float64()),
    "times in nanoseconds": cast("at", pa.timestamp("ns")),
    "a label as float64": cast("y", pa.float64()),
    "a label of nothing but nulls": lambda table: changed(table, "y", pa.nulls(table.num_rows)),
    "a number of nothing but nulls": lambda table: changed(table, "x", pa.nulls(table.num_rows)),
    "required columns": lambda table: table.cast(pa.schema([field.with_nullable(False) for field in table.schema])),
    "another order of columns": lambda table: table.select(table.column_names[::-1]),
    "a further column": lambda table: table.append_column("new", pa.array(np.zeros(table.num_rows))),
}


def write(folder: Path, *tables: pa.Table) -> Path:
    for day, table in enumerate(tables, 1):
        partition = folder / "data" / f"dt=2026-01-{day:02d}"
        partition.mkdir(parents=True)
        pq.write_table(table, partition / "part-0.parquet")
    job = folder / "job.toml"
    job.write_text(JOB)
    return job


def learned(job: Path) -> TrainingData:
    """Read the training rows of a job file."""
    read = read_job(job)
    return read_training_data(read, select(discover(read), read.train.first, read.train.last))


@pytest.mark.parametrize("day", [0, 1])
@pytest.mark.parametrize("way", WAYS)
def test_training_rows_are_read_although_one_file_differs(tmp_path: Path, way: str, day: int) -> None:
    tables = [rows(0), rows(1), rows(2)]
    tables[day] = WAYS[way](tables[day])

    data = learned(write(tmp_path, *tables))

    assert data.rows_read == 360
    assert {column.name for column in data.encoding.schema.modelled} == {"i", "x", "price", "c"}


@pytest.mark.slow
def test_a_model_of_drifting_files_is_trained_and_scores_each_of_them(tmp_path: Path) -> None:
    tables = [rows(0), WAYS["integers as float64"](WAYS["large text"](rows(1))), WAYS["times in nanoseconds"](rows(2))]
    job = write(tmp_path, *tables, WAYS["text as a dictionary"](rows(3)))

    trained = train(job)
    scored = score(job, partitions=["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04"])

    assert sum(trained.rows.values()) == 360
    assert [night.rows for night in scored.nights] == [120] * 4


@pytest.mark.slow
def test_drifting_nights_are_evaluated_and_reported(tmp_path: Path) -> None:
    key_as_number = changed(rows(5), "id", pa.array(range(120)))
    nights = [WAYS["times in nanoseconds"](rows(3)), WAYS["a label as float64"](rows(4)), key_as_number]
    job = write(tmp_path, rows(0), rows(1), rows(2), *nights)
    job.write_text(job.read_text() + '[score]\nfrom = "2026-01-04"\n[evaluate]\nanomaly = "y = 1"\n')
    train(job)
    score(job)

    found = evaluate(job)
    page = report(job).path.read_text()

    assert found.rows == 360
    assert "k3-" in page


def test_types_without_a_common_type_are_refused_with_file_column_and_both_types(tmp_path: Path) -> None:
    job = write(tmp_path, rows(0), changed(rows(1), "x", pa.array(["text"] * 120)), rows(2))

    with pytest.raises(SchemaMismatch, match=r"column 'x' is double in .*01-01.* and string in .*01-02"):
        train(job)


def test_only_columns_without_a_role_are_to_be_ignored(tmp_path: Path) -> None:
    job = write(tmp_path, rows(0), changed(rows(1), "at", pa.array(["text"] * 120)), rows(2))

    with pytest.raises(SchemaMismatch, match=r"the files differ: column 'at' .*Write one of the files again\.$"):
        train(job)


def test_a_column_that_older_files_lack_is_modelled_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    job = write(tmp_path, rows(0).drop_columns(["x"]), rows(1), rows(2))

    data = learned(job)

    assert "column 'x' is missing from" in caplog.text
    assert "x" in {column.name for column in data.encoding.schema.modelled}
    assert (
        np.isnan(np.concatenate([data.train["num"], data.dev["num"], data.calibration["num"]])).any(axis=1).sum() == 120
    )


def test_a_column_that_the_newest_file_lacks_is_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job = write(tmp_path, rows(0), rows(1), rows(2).drop_columns(["x"]))

    data = learned(job)

    assert "column 'x' is missing from the newest file" in caplog.text
    assert "x" not in {column.name for column in data.encoding.schema.columns}
