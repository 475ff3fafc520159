"""Iceberg tables whose files lie on S3, as targets and as sources."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aepipe.errors import AepipeError
from aepipe.jobs.publish.target import Publication
from aepipe.storage import put_parquet
from aepipe.stores.table_url import IcebergName
from aepipe.tables.formats.source_table import files_of_table
from tests.support.object_store import Store

pytest.importorskip("pyiceberg")
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]

NAME = IcebergName("iceberg:", "test", "shop.scores")
CREDENTIALS = "the credentials are missing or wrong, or lack the permission. Check the credentials and the policy"


def properties(folder: Path, warehouse: str) -> dict[str, str]:
    """Return the settings of a catalog without the file server, which the environment names as for other objects."""
    return {"type": "sql", "uri": f"sqlite:///{folder}/catalog.db", "warehouse": warehouse}


def publish(store: Store, catalog: dict[str, str], day: str, digest: str, *ids: int) -> None:
    from aepipe.jobs.publish.iceberg_table import IcebergTarget

    output = store.bucket / "out" / "part-0.parquet"
    put_parquet(output, pa.table({"id": list(ids)}))
    publication = Publication("shop", "scores", f"dt={day}", output, digest)
    target = IcebergTarget("test", NAME.table, catalog)
    assert target.digest(publication) != digest
    target.replace(publication, publication.rows())
    assert IcebergTarget("test", NAME.table, catalog).digest(publication) == digest


def read(catalog: dict[str, str]) -> dict[str, list[int]]:
    found = files_of_table(NAME, catalog, version=None, key="dt")
    return {
        name: [number for path in paths for number in pq.read_table(path.open("rb"))["id"].to_pylist()]
        for name, paths in found.items()
    }


def test_a_table_on_s3_is_published_and_read(store: Store, tmp_path: Path) -> None:
    catalog = properties(tmp_path, f"{store.bucket}/warehouse")
    store.server.checksums.clear()

    publish(store, catalog, "2026-01-01", "xxh3:1a", 1, 2)
    publish(store, catalog, "2026-01-02", "xxh3:2b", 3)
    publish(store, catalog, "2026-01-01", "xxh3:3c", 4)

    assert read(catalog) == {"dt=2026-01-01": [4], "dt=2026-01-02": [3]}
    assert any(key.startswith("warehouse/shop/scores/data/dt=2026-01-01/") for key in store.keys)
    assert store.server.checksums == []


def test_a_store_that_refuses_is_one_sentence(store: Store, tmp_path: Path) -> None:
    catalog = properties(tmp_path, f"{store.bucket}/warehouse")
    publish(store, catalog, "2026-01-01", "xxh3:1a", 1)

    store.fail("(PUT|POST) .*/warehouse/", status=403, code="AccessDenied")
    refused(lambda: publish(store, catalog, "2026-01-02", "xxh3:2b", 2), CREDENTIALS)
    store.fail("/warehouse/", status=403, code="AccessDenied")
    refused(lambda: publish(store, catalog, "2026-01-02", "xxh3:2b", 2), CREDENTIALS)
    refused(lambda: read(catalog), f"{NAME} cannot be used: {CREDENTIALS}")
    store.server.faults.clear()

    assert read(catalog) == {"dt=2026-01-01": [1]}


def test_an_absent_bucket_is_one_sentence(store: Store, tmp_path: Path) -> None:
    catalog = properties(tmp_path, "s3://no-such-bucket/warehouse")

    refused(
        lambda: publish(store, catalog, "2026-01-01", "xxh3:1a", 1),
        "shop.scores cannot be used: there is no such bucket. Create it, or correct the URL.",
    )


def refused(use: Callable[[], object], sentence: str) -> None:
    with pytest.raises(AepipeError) as error:
        use()
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_a_catalog_keeps_the_server_that_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from aepipe.tables.formats.iceberg import open_catalog

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    named = {**properties(tmp_path, "s3://lake"), "s3.endpoint": "http://minio:9000"}

    catalog, own = open_catalog("test", named)
    other, _ = open_catalog("test", properties(tmp_path, "s3://lake"))

    assert (catalog.properties["s3.endpoint"], catalog.properties["s3.region"]) == ("http://minio:9000", "eu-west-1")
    assert own["s3.endpoint"] == "http://minio:9000"
    assert "s3.region" not in own
    assert other.properties["s3.endpoint"] == "http://127.0.0.1:9000"
