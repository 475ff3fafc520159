"""Delta tables on S3, as sources and as targets."""

import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.fs import S3FileSystem

from aepipe.errors import AepipeError
from aepipe.storage import put_parquet
from aepipe.stores import StorePath
from aepipe.stores.connection import file_system
from aepipe.stores.table_url import DeltaPath, source_path
from tests.support.object_store import environment, separate_server

pytest.importorskip("deltalake")
pytest.importorskip("moto.server")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with separate_server() as url:
        for name, value in environment("s3", url).items():
            monkeypatch.setenv(name, value)
        S3FileSystem(endpoint_override=url, region="us-east-1", allow_bucket_creation=True).create_dir("tables")
        file_system.cache_clear()
        yield "s3://tables"
    file_system.cache_clear()


def rows(day: str, *ids: int) -> pa.Table:
    return pa.table({"dt": [day] * len(ids), "id": list(ids)})


@pytest.mark.slow
def test_a_table_on_s3_names_its_partitions_and_versions(bucket: str) -> None:
    from deltalake import write_deltalake

    from aepipe.tables.formats.delta import DeltaSource, storage_options

    path = source_path(f"delta://{bucket}/rows")
    assert isinstance(path, DeltaPath)
    options = storage_options(StorePath.of(f"{bucket}/rows"))
    for number, day in enumerate(("2026-01-01", "2026-01-02")):
        write_deltalake(
            f"{bucket}/rows", rows(day, number), partition_by=["dt"], mode="append", storage_options=options
        )

    source = DeltaSource(path)

    (file,) = source.files(None)["dt=2026-01-02"]
    assert pq.ParquetFile(pa.BufferReader(file.read_bytes())).read()["id"].to_pylist() == [1]
    assert list(source.files(0)) == ["dt=2026-01-01"]
    assert [version.number for version in source.versions()] == [0, 1]


@pytest.mark.slow
def test_a_partition_on_s3_is_replaced_and_its_digest_found(bucket: str) -> None:
    from deltalake import DeltaTable

    from aepipe.jobs.publish.delta_table import DeltaTarget
    from aepipe.jobs.publish.target import Publication
    from aepipe.tables.formats.delta import storage_options

    output = StorePath.of(f"{bucket}/out/part-0.parquet")

    def publication(day: str, digest: str) -> Publication:
        return Publication("shop", "scores", f"dt={day}", output, digest)

    published = (("2026-01-01", "xxh3:1a", (1, 2)), ("2026-01-02", "xxh3:2b", (3,)), ("2026-01-01", "xxh3:3c", (4,)))
    for day, digest, ids in published:
        target = DeltaTarget(f"{bucket}/scores")
        assert target.digest(publication(day, digest)) != digest
        put_parquet(output, pa.table({"id": list(ids)}))
        target.replace(publication(day, digest), publication(day, digest).rows())
        assert DeltaTarget(f"{bucket}/scores").digest(publication(day, digest)) == digest

    table = DeltaTable(f"{bucket}/scores", storage_options=storage_options(StorePath.of(bucket))).to_pyarrow_table()
    found = sorted((row["dt"], row["id"]) for row in table.to_pylist())
    assert found == [("2026-01-01", 4), ("2026-01-02", 3)]


@pytest.mark.slow
@pytest.mark.parametrize("is_refused", [False, True])
def test_an_absent_bucket_and_wrong_credentials_are_one_sentence(
    is_refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aepipe.jobs.publish.delta_table import DeltaTarget
    from aepipe.jobs.publish.target import Publication
    from aepipe.tables.formats.delta import DeltaSource

    if is_refused:
        monkeypatch.setenv("INITIAL_NO_AUTH_ACTION_COUNT", "0")  # the server knows no keys
    path = source_path("delta://s3://none/rows")
    assert isinstance(path, DeltaPath)
    publication = Publication("shop", "scores", "dt=2026-01-01", Path("part-0.parquet"), "xxh3:1a")

    def publish() -> None:
        target.digest(publication)
        target.replace(publication, rows("2026-01-01", 1))

    with separate_server() as url:
        for name, value in environment("s3", url).items():
            monkeypatch.setenv(name, value)
        target = DeltaTarget("s3://none/scores")
        for use in (publish, lambda: DeltaSource(path)):
            with pytest.raises(AepipeError) as error:
                use()
            sentence = str(error.value)
            assert "\n" not in sentence
            assert re.search(
                r"the credentials are missing or wrong|lack the permission"
                if is_refused
                else r"there is no such bucket",
                sentence,
            )


def test_the_server_of_a_table_is_that_of_other_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    from aepipe.tables.formats.delta import storage_options

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000")
    commits = {"AWS_CONDITIONAL_PUT": "etag"}

    found = storage_options(StorePath.of("s3://lake/rows?region=eu-west-1&endpoint_override=minio%3A9000&scheme=http"))

    server = {"AWS_ENDPOINT_URL": "http://minio:9000", "AWS_ALLOW_HTTP": "true"}
    assert found == {**commits, **server, "AWS_REGION": "eu-west-1"}
    assert storage_options(StorePath.of("s3://lake/rows"))["AWS_ENDPOINT_URL"] == "http://127.0.0.1:9000"
    assert storage_options(StorePath.of("gs://lake/rows")) == {}


def test_a_table_in_a_store_is_its_own_resolved_path(tmp_path: Path) -> None:
    in_store = source_path("delta://s3://lake/rows")

    assert in_store.resolve() == in_store
    assert str(source_path(f"delta://{tmp_path}/a/../rows").resolve()) == f"delta://{tmp_path.resolve()}/rows"
