"""Publishing to Delta and Iceberg: every row once, replaced partitions, no-op reruns, recovery after kills."""

import shutil
import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aepipe.config.job import parse_job, read_job
from aepipe.errors import ArgumentInvalid, JobInvalid, PublishFailed
from aepipe.jobs.publish import publish as publishing
from aepipe.jobs.publish.publish import publish, publish_job
from aepipe.jobs.publish.target import Publication, portable
from aepipe.jobs.score import score
from aepipe.jobs.train.train import train
from aepipe.storage import SCORE, Outputs

NIGHTS = ("dt=2026-01-01", "dt=2026-01-02", "dt=2026-01-03")
Read = Callable[[Path], pa.Table]


def read_delta(folder: Path) -> pa.Table:
    from deltalake import DeltaTable

    return DeltaTable(str(folder / "tables" / "scores")).to_pyarrow_table()


def read_iceberg(folder: Path) -> pa.Table:
    from pyiceberg.catalog import load_catalog

    return load_catalog("test", **properties(folder)).load_table("shop.scores").scan().to_arrow()


def properties(folder: Path) -> dict[str, str]:
    return {"type": "sql", "uri": f"sqlite:///{folder}/catalog.db", "warehouse": f"file://{folder}/warehouse"}


def delta_section(folder: Path) -> str:
    return '[[publish]]\ndelta = "tables/scores"\n'


def iceberg_section(folder: Path) -> str:
    pairs = ", ".join(f'{key} = "{value}"' for key, value in properties(folder).items())
    return f'[[publish]]\niceberg = {{ catalog = "test", table = "shop.scores", properties = {{ {pairs} }} }}\n'


FORMATS = [
    pytest.param(delta_section, read_delta, id="delta"),
    pytest.param(iceberg_section, read_iceberg, id="iceberg"),
]


@pytest.fixture(scope="module")
def scored_shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scored") / "shop"
    for index, night in enumerate(NIGHTS):
        write(folder, night, seed=index)
    job = folder / "job.toml"
    job.write_text(
        'name = "shop"\n[data]\npath = "data"\nkeys = ["id"]\n[model]\nfamily = "pca"\n[train]\nto = "dt=2026-01-01"\n'
        "[calibration]\nalpha = 0.05\n[run]\nworkers = 1\n"
    )
    train(job)
    score(job)
    return folder


@pytest.fixture
def shop(scored_shop: Path, tmp_path: Path) -> Path:
    """Copy the scored job; return its path."""
    return Path(shutil.copytree(scored_shop, tmp_path / "shop")) / "job.toml"


def write(folder: Path, night: str, *, seed: int, rows: int = 150) -> None:
    rng = np.random.default_rng(seed)
    path = folder / "data" / night / "part-0.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {"id": np.arange(rows) + 1_000 * seed, "a": rng.normal(size=rows), "b": rng.normal(size=rows)}
    pq.write_table(pa.table(columns), path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("section", "read"), FORMATS)
def test_every_scored_row_is_published_once(shop: Path, section: Callable[[Path], str], read: Read) -> None:
    shop.write_text(shop.read_text() + section(shop.parent))

    first, again = publish(shop), publish(shop)

    table = read(shop.parent)
    assert first.tables[0].partitions == NIGHTS
    assert first.tables[0].rows == table.num_rows == 450
    assert again.tables[0].partitions == ()
    assert sorted(set(table["dt"].to_pylist())) == ["2026-01-01", "2026-01-02", "2026-01-03"]
    for night in NIGHTS:
        written = pq.ParquetFile(shop.parent / "out" / "shop" / "scores" / night / "part-0.parquet").read()
        published = {row["id"]: row["score"] for row in table.to_pylist() if row["dt"] == night[3:]}
        assert published == dict(zip(written["id"].to_pylist(), written["score"].to_pylist(), strict=True))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("section", "read"), FORMATS)
def test_a_partition_that_is_scored_again_replaces_exactly_its_rows(
    shop: Path, section: Callable[[Path], str], read: Read
) -> None:
    shop.write_text(shop.read_text() + section(shop.parent))
    publish(shop)
    write(shop.parent, NIGHTS[1], seed=7, rows=20)
    score(shop)

    result = publish(shop)

    table = read(shop.parent)
    assert result.tables[0].partitions == (NIGHTS[1],)
    assert table.num_rows == 320
    assert {row["id"] for row in table.to_pylist() if row["dt"] == "2026-01-02"} == set(range(7_000, 7_020))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_partition_is_named_in_full_or_by_its_date_and_others_are_refused(shop: Path) -> None:
    shop.write_text(shop.read_text() + delta_section(shop.parent))

    assert publish(shop, partitions=[NIGHTS[1].removeprefix("dt=")]).tables[0].partitions == (NIGHTS[1],)
    with pytest.raises(ArgumentInvalid, match="'night' has no outputs: expected one of dt="):
        publish(shop, partitions=["night"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("section", "read"), FORMATS)
def test_the_next_run_heals_a_kill_between_commit_and_publication(
    shop: Path, section: Callable[[Path], str], read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.write_text(shop.read_text() + section(shop.parent))
    rows, calls = Publication.rows, list[str]()

    def die_at_the_second(publication: Publication) -> pa.Table:
        calls.append(publication.partition)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return rows(publication)

    with monkeypatch.context() as patched:
        patched.setattr(Publication, "rows", die_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            publish(shop)
    result = publish(shop)

    assert result.tables[0].partitions == NIGHTS[1:]
    assert read(shop.parent).num_rows == 450


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("section", "read"), FORMATS)
def test_two_jobs_publish_to_one_table_at_the_same_time(shop: Path, section: Callable[[Path], str], read: Read) -> None:
    shop.write_text(shop.read_text() + section(shop.parent))
    publish(shop, partitions=[NIGHTS[0]])
    job, failures = read_job(shop), list[Exception]()

    def publish_one(night: str) -> None:
        try:
            publish_job(job, partitions=[night])
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=publish_one, args=(night,)) for night in NIGHTS[1:]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert read(shop.parent).num_rows == 450


@pytest.mark.filterwarnings("ignore")
def test_a_commit_that_another_writer_replaces_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    delta = pytest.importorskip("aepipe.jobs.publish.delta_table")
    output, table = tmp_path / "part-0.parquet", tmp_path / "table"
    pq.write_table(pa.table({"id": [1, 2]}), output)
    first, second = (Publication("shop", "scores", night, output, f"xxh3:{at}a") for at, night in enumerate(NIGHTS[:2]))
    target, write, writes = delta.DeltaTarget(str(table)), delta.DeltaTarget._write, list[str]()

    def write_and_lose(self: object, publication: Publication, rows: pa.Table) -> None:
        write(self, publication, rows)
        writes.append(publication.partition)
        if len(writes) == 2:  # as on a server that ignores the condition of the other writer
            (table / "_delta_log" / f"{1:020}.json").write_text('{"txn":{"appId":"other","version":1}}\n')

    monkeypatch.setattr(delta.DeltaTarget, "_write", write_and_lose)
    for publication in (first, second):
        target.replace(publication, publication.rows())

    assert writes == [first.partition, second.partition, second.partition]
    assert read_delta_rows(table) == [(1, "2026-01-01"), (1, "2026-01-02"), (2, "2026-01-01"), (2, "2026-01-02")]


def read_delta_rows(table: Path) -> list[tuple[int, str]]:
    from deltalake import DeltaTable

    return sorted((row["id"], row["dt"]) for row in DeltaTable(str(table)).to_pyarrow_table().to_pylist())


def test_a_column_with_the_name_of_a_folder_key_and_other_values_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "part-0.parquet"
    pq.write_table(pa.table({"dt": ["2026-01-01", "2026-01-02"]}), path)
    publication = Publication("shop", "scores", "dt=2026-01-01", path, "xxh64:0123456789abcdef0")

    with pytest.raises(PublishFailed, match="has a column 'dt' with other values than its folder, 2026-01-01"):
        publication.rows()


def test_types_that_the_formats_lack_are_cast_without_loss_of_values() -> None:
    table = pa.table(
        {
            "uint8": pa.array([1, None, 255], pa.uint8()),
            "uint64": pa.array([0, 2**64 - 1, None], pa.uint64()),
            "half": pa.array([0.5, None, 2.0], pa.float32()).cast(pa.float16()),
            "code": pa.array(["a", None, "a"]).dictionary_encode(),
            "ns": pa.array([1_000, None, 2_000], pa.timestamp("ns", "Europe/Berlin")),
            "time": pa.array([1, 2, None], pa.time32("s")),
        }
    )

    cast = portable(table)

    assert cast.schema.types[:4] == [pa.int32(), pa.decimal128(20, 0), pa.float32(), pa.string()]
    assert cast["uint64"].to_pylist() == [Decimal(0), Decimal(2**64 - 1), None]
    assert cast["code"].to_pylist() == ["a", None, "a"]
    assert cast.schema.field("ns").type == pa.timestamp("us", "UTC")
    assert cast["time"].to_pylist() == ["00:00:01", "00:00:02", None]


def test_a_section_names_exactly_one_table(tmp_path: Path) -> None:
    for section in ({}, {"delta": "x", "iceberg": {"table": "a.b"}}):
        with pytest.raises(JobInvalid, match="expected one of delta and iceberg"):
            parse_job({"name": "x", "data": {"path": "d"}, "publish": [section]}, source=tmp_path / "job.toml")


@pytest.mark.slow
def test_a_catalog_that_cannot_be_opened_is_one_sentence(shop: Path) -> None:
    section = '[[publish]]\niceberg = { catalog = "none", table = "a.b", properties = { type = "sql" } }\n'
    shop.write_text(shop.read_text() + section)

    with pytest.raises(PublishFailed, match="Iceberg catalog 'none' cannot be opened"):
        publish(shop)


@pytest.mark.slow
def test_only_committed_files_are_published(shop: Path) -> None:
    shop.write_text(shop.read_text() + delta_section(shop.parent))
    job = read_job(shop)
    record = Outputs(job.out_path).manifests(SCORE)[0].files["scores"]
    (job.out_path / record.path).unlink()

    found = [each.partition for each in publishing._publications(job, job.publish[0])]

    assert found == list(NIGHTS[1:])
