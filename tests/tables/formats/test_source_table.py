"""Delta and Iceberg tables as sources: their partitions, versions, and features that are refused."""

import base64
import json
import re
import struct
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from aepipe.cli.main import app
from aepipe.config.job import Job, parse_job
from aepipe.errors import DataUnreadable, JobInvalid
from aepipe.jobs.inspect import inspect
from aepipe.tables.partitions import Partition, discover, discover_as_of

pytestmark = pytest.mark.filterwarnings("ignore")

DAYS = ("2026-01-01", "2026-01-02")


def rows(*days: str, x: float = 1.0) -> pa.Table:
    return pa.table({"dt": list(days), "x": pa.array([x] * len(days), pa.float64())})


def job(folder: Path, path: str, **data: Any) -> Job:
    return parse_job({"name": "t", "data": {"path": path, **data}}, source=folder / "job.toml")


class Delta:
    """Delta table of a folder."""

    url, name = "delta://rows", "delta"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def append(self, table: pa.Table, *, by: list[str] | None) -> None:
        from deltalake import write_deltalake

        write_deltalake(str(self.folder / "rows"), table, partition_by=by, mode="append")

    def replace(self, table: pa.Table) -> None:
        from deltalake import write_deltalake

        write_deltalake(str(self.folder / "rows"), table, mode="overwrite")

    def job(self, **data: Any) -> Job:
        return job(self.folder, self.url, **data)

    def numbers(self) -> list[int]:
        from deltalake import DeltaTable

        return sorted(commit["version"] for commit in DeltaTable(str(self.folder / "rows")).history())


class Iceberg(Delta):
    """Iceberg table of a catalog in SQLite."""

    url, name = "iceberg://test/shop.rows", "iceberg"

    @property
    def properties(self) -> dict[str, str]:
        return {
            "type": "sql",
            "uri": f"sqlite:///{self.folder}/catalog.db",
            "warehouse": f"file://{self.folder}/warehouse",
        }

    def table(self, schema: pa.Schema | None = None, by: list[str] | None = None) -> Any:
        from pyiceberg.catalog import load_catalog
        from pyiceberg.transforms import IdentityTransform

        catalog = load_catalog("test", **self.properties)
        catalog.create_namespace_if_not_exists("shop")
        if not catalog.table_exists("shop.rows"):
            assert schema is not None
            with catalog.create_table("shop.rows", schema).update_spec() as update:
                for column in by or ():
                    update.add_field(column, IdentityTransform(), column)
        return catalog.load_table("shop.rows")

    def append(self, table: pa.Table, *, by: list[str] | None) -> None:
        self.table(table.schema, by).append(table)

    def replace(self, table: pa.Table) -> None:
        self.table().overwrite(table)

    def job(self, **data: Any) -> Job:
        return super().job(**{"catalog": self.properties, **data})

    def numbers(self) -> list[int]:
        return [entry.snapshot_id for entry in self.table().history()]


@pytest.fixture(params=[pytest.param(Delta, id="delta"), pytest.param(Iceberg, id="iceberg", marks=pytest.mark.slow)])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Delta:
    pytest.importorskip("deltalake" if request.param is Delta else "pyiceberg")
    return request.param(tmp_path)  # type: ignore[no-any-return]


def x_values(partition: Partition) -> list[float]:
    return [value for file in partition.files for value in pq.ParquetFile(file).read()["x"].to_pylist()]


def by_name(partitions: tuple[Partition, ...]) -> dict[str, list[float]]:
    return {partition.name: x_values(partition) for partition in partitions}


def test_partitions_are_those_of_the_partition_columns(source: Delta) -> None:
    source.append(rows("2026-01-10", "2026-01-09", "a/b c+d%:é"), by=["dt"])
    source.append(rows("2026-01-09", x=2.0), by=["dt"])

    found = by_name(discover(source.job()))

    assert found == {"dt=2026-01-09": [1.0, 2.0], "dt=2026-01-10": [1.0], "dt=a%2Fb c+d%25:%C3%A9": [1.0]} or found == {
        "dt=2026-01-09": [2.0, 1.0],
        "dt=2026-01-10": [1.0],
        "dt=a%2Fb c+d%25:%C3%A9": [1.0],
    }


def test_a_table_without_partition_columns_is_one_partition(source: Delta) -> None:
    source.append(rows(*DAYS), by=None)

    assert by_name(discover(source.job())) == {"rows": [1.0, 1.0]}


def test_replaced_rows_are_read_only_in_their_version(source: Delta) -> None:
    source.append(rows(*DAYS), by=["dt"])
    first = source.numbers()[-1]
    source.replace(rows("2026-01-02", x=3.0))

    assert by_name(discover(source.job())) == {"dt=2026-01-02": [3.0]}
    assert by_name(discover(source.job(version=first))) == {"dt=2026-01-01": [1.0], "dt=2026-01-02": [1.0]}


def test_as_of_reads_the_version_of_a_moment_and_later_partitions_as_first_written(source: Delta) -> None:
    source.append(rows("2026-01-01"), by=["dt"])
    time.sleep(0.02)
    between = datetime.now(UTC)
    time.sleep(0.02)
    source.replace(rows("2026-01-01", "2026-01-02", x=2.0))
    source.replace(rows("2026-01-01", "2026-01-02", "2026-01-03", x=3.0))
    last = source.numbers()[-1]

    found = discover_as_of(source.job(), lambda name: None if name.endswith("03") else between)

    assert by_name(found) == {"dt=2026-01-01": [1.0], "dt=2026-01-02": [2.0], "dt=2026-01-03": [3.0]}
    later = discover_as_of(source.job(), lambda name: between + timedelta(days=1))
    assert by_name(later)["dt=2026-01-02"] == [3.0]
    pinned = discover_as_of(source.job(version=last), lambda name: between)
    assert by_name(pinned)["dt=2026-01-01"] == [3.0]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda job: job(version=99), r"has no (version|snapshot) 99: expected .*\. Change \[data\] version\."),
        (lambda job: job(partition="day"), r"is not partitioned by 'day': its partition columns are dt\. Change"),
    ],
)
def test_versions_and_columns_that_are_unknown_are_one_sentence(
    source: Delta, change: Callable[[Callable[..., Job]], Job], sentence: str
) -> None:
    source.append(rows(*DAYS), by=["dt"])

    with pytest.raises(DataUnreadable, match=sentence) as raised:
        discover(change(source.job))
    assert "\n" not in str(raised.value)


def test_a_table_that_is_absent_or_empty_is_one_sentence(source: Delta) -> None:
    with pytest.raises(DataUnreadable, match=r"is not a Delta table|has no table shop.rows|cannot be opened"):
        discover(source.job())
    source.append(rows("2026-01-01").slice(0, 0), by=["dt"])
    with pytest.raises(DataUnreadable, match="holds no rows"):
        discover(source.job())


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"path": "rows", "version": 3}, "version needs a table: expected path = delta://"),
        ({"path": "delta://rows", "catalog": {"a": "b"}}, "catalog needs an Iceberg table"),
        ({"path": "delta://rows", "digests": "sums.txt"}, "digests cannot be compared with the files of a table"),
        ({"path": "iceberg://rows"}, "does not name a table: expected delta://FOLDER or iceberg://CATALOG/NAMESPACE"),
        ({"path": "delta://"}, "does not name a table"),
        ({"path": "delta://ftp://host/rows"}, "is not supported: expected a local path"),
        ({"path": "delta://rows", "version": -1}, "version"),
    ],
)
def test_keys_that_do_not_fit_are_refused(tmp_path: Path, data: dict[str, Any], sentence: str) -> None:
    with pytest.raises(JobInvalid, match=re.escape(sentence)):
        parse_job({"name": "t", "data": data}, source=tmp_path / "job.toml")


@pytest.mark.slow
def test_commands_take_the_address_of_a_table(source: Delta, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyiceberg import catalog
    from pyiceberg.utils.config import Config

    source.append(rows(*DAYS), by=["dt"])
    for name, value in Iceberg(tmp_path).properties.items():
        monkeypatch.setenv(f"PYICEBERG_CATALOG__TEST__{name.upper()}", value)
    monkeypatch.setattr(catalog, "_ENV_CONFIG", Config())
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> Any:
        return CliRunner().invoke(app, words)

    seen = json.loads(call("inspect", source.url, "--json").stdout)
    written = call("init", source.url)

    assert [(part["partition"], part["rows"]) for part in seen["partitions"]] == [(f"dt={day}", 1) for day in DAYS]
    assert {column["name"]: column["kind"] for column in seen["columns"]}["x"] == "number"
    assert written.exit_code == 0, written.output
    assert json.loads(call("inspect", "--json").stdout)["partitions"] == seen["partitions"]
    for command in ("contract", "train"):
        refused = call(command, source.url).exception
        assert isinstance(refused, JobInvalid)
        assert "is the address of a table: expected a job file. Run `aepipe init` to write one." in str(refused)
    with pytest.raises(DataUnreadable, match=r"is not a Delta table|does not exist: catalog 'test' has no table"):
        inspect(f"{source.url}s")


def test_the_address_of_a_table_survives_the_job_file(tmp_path: Path) -> None:
    for path, absolute in (
        ("delta://rows", f"delta://{tmp_path}/rows"),
        ("delta:///data/rows", "delta:///data/rows"),
        ("delta://s3://bucket/rows?region=eu-west-1", "delta://s3://bucket/rows?region=eu-west-1"),
        ("iceberg://prod/fraud.rows", "iceberg://prod/fraud.rows"),
    ):
        written = job(tmp_path, path)
        again = parse_job(written.model_dump(mode="json", by_alias=True), source=tmp_path / "job.toml")
        assert str(written.data.path) == str(again.data.path) == path
        assert str(written.data_path) == str(again.data_path) == absolute


def test_jobs_without_tables_keep_their_keys(tmp_path: Path) -> None:
    dumped = job(tmp_path, "rows").model_dump(mode="json")["data"]

    assert not {"version", "catalog"} & set(dumped)


def z85(data: bytes) -> str:
    """Encode bytes as Delta does: base 85 with the letters of ZeroMQ."""
    plain = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
    theirs = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
    return base64.b85encode(data).decode().translate(str.maketrans(plain, theirs))


def edit_log(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    log = folder / "rows" / "_delta_log" / "00000000000000000000.json"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines:
        change(line)
    log.write_text("\n".join(json.dumps(line) for line in lines))


@pytest.mark.parametrize("is_valid", [True, False])
def test_deletion_vectors_are_refused(tmp_path: Path, is_valid: bool) -> None:
    pytest.importorskip("deltalake")
    source = Delta(tmp_path)
    source.append(rows("2026-01-01", "2026-01-01", "2026-01-01"), by=["dt"])
    # a 64-bit bitmap with one 32-bit bitmap, whose only array holds row 1
    bitmap = struct.pack("<iqi", 1681511377, 1, 0) + struct.pack("<iiHHiHH", 12346, 1, 0, 0, 16, 1, 0)
    vector = {"storageType": "i", "pathOrInlineDv": z85(bitmap), "sizeInBytes": len(bitmap) - 2, "cardinality": 1}

    def enable(line: dict[str, Any]) -> None:
        if "protocol" in line:
            features = ["deletionVectors"]
            line["protocol"] = {
                "minReaderVersion": 3,
                "minWriterVersion": 7,
                "readerFeatures": features,
                "writerFeatures": features,
            }

    def delete(line: dict[str, Any]) -> None:
        if "add" in line:
            line["add"]["deletionVector"] = vector if is_valid else vector | {"pathOrInlineDv": z85(bytes(len(bitmap)))}

    edit_log(tmp_path, enable)
    assert len(discover(source.job())) == 1
    edit_log(tmp_path, delete)
    with pytest.raises(DataUnreadable, match=r"has deletion vectors, which are not supported\. Rewrite the files"):
        discover(source.job())


def test_mapped_column_names_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("deltalake")
    source = Delta(tmp_path)
    source.append(rows("2026-01-01"), by=["dt"])

    def rename(line: dict[str, Any]) -> None:
        if "metaData" in line:
            line["metaData"]["configuration"]["delta.columnMapping.mode"] = "name"
        if "protocol" in line:
            line["protocol"] = {"minReaderVersion": 2, "minWriterVersion": 5}

    edit_log(tmp_path, rename)
    with pytest.raises(DataUnreadable, match=r"maps column names to other names in its files|cannot be read"):
        discover(source.job())


@pytest.mark.slow
def test_renamed_columns_of_iceberg_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyiceberg")
    source = Iceberg(tmp_path)
    source.append(rows("2026-01-01"), by=["dt"])
    with source.table().update_schema() as update:
        update.rename_column("x", "y")

    with pytest.raises(DataUnreadable, match=r"has a renamed column, x or y, which is not supported\."):
        discover(source.job())


def test_plain_files_of_a_delta_table_are_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("deltalake")
    Delta(tmp_path).append(rows(*DAYS), by=["dt"])

    discover(job(tmp_path, "rows"))

    assert "is a Delta table: read as plain files, it includes rows that were deleted" in caplog.text
