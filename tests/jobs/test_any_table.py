"""Tables with columns of every type, from `init` to a report."""

import datetime as dt
import tomllib
import uuid
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aepipe.errors import SchemaMismatch
from aepipe.jobs.explain import explain
from aepipe.jobs.init import init
from aepipe.jobs.inspect import inspect
from aepipe.jobs.report.report import report
from aepipe.jobs.sample.sample import sample
from aepipe.jobs.score import score
from aepipe.jobs.train.train import train

DAYS, ROWS = 4, 120


def any_rows(seed: int, rows: int = ROWS) -> pa.Table:
    """Generate rows with columns that can be modelled and columns that cannot."""
    rng = np.random.default_rng(seed)
    cities = rng.choice(["Bonn", "Kiel"], rows)
    ids = pa.array([uuid.UUID(int=int(value)).bytes for value in rng.integers(2**62, size=rows)], pa.binary(16))
    places = [
        None if index % 40 == 0 else {"city": city, "geo": {"lat": 50.0 + (city == "Kiel") * 4 + rng.normal(0, 0.1)}}
        for index, city in enumerate(cities)
    ]
    return pa.table(
        {
            "id": pa.ExtensionArray.from_storage(pa.uuid(), ids),
            "number": np.arange(rows),
            "amount": rng.normal(10, 2, rows),
            "place": pa.array(places),
            "pairs": pa.array([[("k", 1)]] * rows, pa.map_(pa.string(), pa.int64())),
            "items": [[{"a": 1}]] * rows,
            "blob": [b"x"] * rows,
            "tags": [[str(tag) for tag in rng.choice(["red", "blue"], rng.integers(0, 3))] for _ in range(rows)],
            "wait": [dt.timedelta(seconds=int(value)) for value in rng.integers(0, 100, rows)],
            "large": pa.array(rng.integers(2**63, 2**63 + 1000, rows, dtype=np.uint64)),
            "precise": pa.array([Decimal(int(value)) for value in rng.integers(0, 99, rows)], pa.decimal256(50, 2)),
            "half": rng.normal(0, 1, rows).astype(np.float16),
            "nothing": pa.nulls(rows),
        }
    )


def write(folder: Path, *tables: pa.Table) -> Path:
    for index, table in enumerate(tables):
        path = folder / "rows" / f"dt=2026-01-{index + 1:02d}" / "part-0.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(table, path)
    return folder / "rows"


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a job as `init` writes it, with keys, few epochs and few samples."""
    folder = tmp_path_factory.mktemp("any")
    path = init(write(folder, *map(any_rows, range(DAYS))), name="any", job_path=folder / "job.toml").path
    text = path.read_text().replace("[train]", "[train]\nepochs = 2")
    text = text.replace("[data]", '[data]\nlabels = ["pairs"]', 1).replace('    "id",', '    "id", "place.city",', 1)
    text = "\n".join(line for line in text.splitlines() if not line.startswith("pairs "))
    text = text.replace("[samples]", "[samples]\nrows = 20")
    path.write_text(text.replace("[calibration]", "[calibration]\nalpha = 0.05"))
    train(path)
    return path


def test_init_sets_what_it_cannot_model_to_ignore_and_says_why(tmp_path: Path) -> None:
    path = init(write(tmp_path, any_rows(0)), name="any", job_path=tmp_path / "job.toml").path

    written = tomllib.loads(path.read_text())["columns"]
    assert {name for name, kind in written.items() if kind == "ignore"} >= {"pairs", "items", "blob", "nothing"}
    assert "place" not in written
    assert "16 bytes each, as UUIDs have" in path.read_text()
    assert all(column.why for column in inspect(path).columns)


@pytest.mark.slow
def test_fields_of_a_struct_are_scored_and_passed_through(job: Path) -> None:
    result = score(job)

    assert [night.status for night in result.nights] == ["written"] * DAYS
    table = pq.read_table(job.parent / "out" / "any" / "scores" / "dt=2026-01-01" / "part-0.parquet", partitioning=None)
    source = pq.read_table(job.parent / "rows" / "dt=2026-01-01" / "part-0.parquet", partitioning=None)
    assert table["id"].type == pa.uuid()
    assert table["place.city"].to_pylist() == [place and place["city"] for place in source["place"].to_pylist()]
    assert table["pairs"].equals(source["pairs"])


@pytest.mark.slow
def test_samples_explanations_and_the_report_hold_the_fields(job: Path) -> None:
    score(job)
    drawn = pq.read_table(sample(job, partition="dt=2026-01-04").path, partitioning=None)
    (explained,) = explain(job, [], row="dt=2026-01-01:1")

    lines = {line.name: line for line in explained.columns}
    assert "place.geo.lat" in lines
    assert lines["tags[red]"].read in ("yes", "no")
    assert {tag for tags in drawn["tags"].to_pylist() for tag in tags} <= {"red", "blue"}
    assert "place" not in drawn.column_names
    assert pa.types.is_float64(drawn.schema.field("place.geo.lat").type)
    assert "place.geo.lat" in report(job).path.read_text()


@pytest.mark.slow
def test_a_row_is_found_by_the_text_of_its_uuid(job: Path) -> None:
    first = any_rows(0)
    explained = explain(job, [f"{first['id'][1].as_py()},{first['place'][1].as_py()['city']}"])

    assert len(explained) == 1


def test_a_column_whose_types_have_no_common_one_is_ignored_by_init_and_refused_by_train(tmp_path: Path) -> None:
    first, second = any_rows(0), any_rows(1)
    second = second.set_column(2, "amount", pa.array([str(value) for value in second["amount"].to_pylist()]))
    data = write(tmp_path, first, second)

    path = init(data, name="any", job_path=tmp_path / "job.toml").path

    assert tomllib.loads(path.read_text())["columns"]["amount"] == "ignore"
    path.write_text(path.read_text().replace("amount ", "# amount "))
    with pytest.raises(SchemaMismatch, match=r"'amount' is double .* string .* or set it to \"ignore\""):
        train(path)


def test_columns_of_one_name_are_ignored_by_init(tmp_path: Path) -> None:
    names = ["x", "y", "y"]
    data = write(tmp_path, pa.Table.from_arrays([pa.array([1.0, 2.0])] * 3, names=names))

    path = init(data, name="any", job_path=tmp_path / "job.toml").path

    assert tomllib.loads(path.read_text())["columns"] == {"y": "ignore"}
    assert [(column.name, column.kind) for column in inspect(path).columns] == [("x", "number"), ("y", "ignore")]


@pytest.mark.slow
def test_ignored_columns_of_one_name_do_not_stop_a_job(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for day in range(3):
        values = [pa.array(generator.normal(size=150)) for _ in range(4)]
        path = tmp_path / "rows" / f"dt=2026-01-{day + 1:02d}" / "part-0.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_arrays(values, names=["twice", "x", "twice", "y"]), path)
    job = init(tmp_path / "rows", name="twice", job_path=tmp_path / "job.toml").path
    job.write_text(
        job.read_text().replace("[train]", "[train]\nepochs = 2").replace("[samples]", "[samples]\nrows = 20")
    )

    train(job)
    nights = score(job).nights
    sample(job, partition="dt=2026-01-03")

    assert [night.status for night in nights] == ["written"] * 3
    assert report(job).path.exists()


def test_a_table_without_a_column_to_model_has_a_job_but_no_model(tmp_path: Path) -> None:
    data = write(tmp_path, any_rows(0).select(["id", "blob"]))

    path = init(data, name="any", job_path=tmp_path / "job.toml").path

    with pytest.raises(SchemaMismatch, match="no column to model"):
        train(path)
