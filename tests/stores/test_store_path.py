"""Paths on an object store: URLs, derived paths, reads and listings."""

import os
import pickle
import stat
from pathlib import Path

import pytest

from aepipe.errors import LocalPathNeeded, StoreUnavailable, UrlInvalid
from aepipe.stores import StorePath, as_path
from aepipe.stores.connection import file_system
from tests.support.object_store import Store

QUERY = "s3://lake/rows?region=eu-west-1&endpoint_override=localhost%3A9000"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://lake/rows/", "s3://lake/rows"),
        ("s3://lake", "s3://lake"),
        ("S3://lake//a//b", "s3://lake/a/b"),
        (QUERY, QUERY),
        ("gs://lake/rows", "gs://lake/rows"),
        ("abfs://data@account.dfs.core.windows.net/a", "abfs://data@account.dfs.core.windows.net/a"),
        ("s3:/lake/rows", "s3://lake/rows"),  # a local path has joined the slashes
    ],
)
def test_a_url_is_a_path_and_back(url: str, shown: str) -> None:
    assert str(as_path(url)) == shown
    assert as_path(as_path(url)) == as_path(url)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://", "has no bucket: expected s3://bucket/folder"),
        ("s3:///rows", "has no bucket"),
        ("ftp://server/rows", "is not supported: expected a local path, s3://, gs:// or abfs://"),
        ("s3a://lake/rows", "Write s3://"),
        ("s3://user:secret@lake/rows", "expected s3://bucket/folder, without user, password and port"),
        ("abfs://data/rows", "expected abfs://container@account"),
        ("s3://lake/rows?endpoint=localhost", "unknown query parameters: expected region, endpoint_override"),
        ("s3://lake/rows?region", "is not a URL"),
        ("s3://lake/a/../b", "contains '..'"),
    ],
)
def test_a_url_that_names_no_store_is_one_sentence(url: str, message: str) -> None:
    with pytest.raises(UrlInvalid) as error:
        as_path(url)

    assert message in str(error.value)
    assert "secret" not in str(error.value)


def test_derived_paths_keep_store_and_query() -> None:
    path = StorePath.of(QUERY)

    below = path / "dt=2026-01-01" / "part-0.parquet"

    query = QUERY.partition("?")[2]
    assert str(below) == f"s3://lake/rows/dt=2026-01-01/part-0.parquet?{query}"
    assert below.parent.parent == path
    assert below.parents[2] == StorePath.of(f"s3://lake?{query}")
    assert str(below.with_name("b.json")) == f"s3://lake/rows/dt=2026-01-01/b.json?{query}"
    assert (below.stem, below.suffix) == ("part-0", ".parquet")
    assert below.relative_to(path) == Path("dt=2026-01-01/part-0.parquet")
    assert type(below.relative_to(path)) is type(Path())
    assert below.is_relative_to(path)
    assert not below.is_relative_to(Path("/rows"))
    assert below.resolve() == below
    assert below.is_absolute()
    assert pickle.loads(pickle.dumps(below)) == below
    assert str(pickle.loads(pickle.dumps(below))) == str(below)


@pytest.mark.parametrize(
    "use", [os.fspath, os.stat, open, Path.touch, Path.mkdir, Path.unlink, lambda path: path.write_bytes(b"")]
)
def test_local_file_functions_refuse_a_store_path(use: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(LocalPathNeeded, match=r"s3://lake/rows is in an object store: expected a local path here"):
        use(StorePath.of("s3://lake/rows"))  # type: ignore[operator]

    assert list(tmp_path.iterdir()) == []


def test_connections_are_made_without_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AZURE_STORAGE_KEY", "c2VjcmV0")
    file_system.cache_clear()

    found = {
        as_path(url).file_system.type_name  # type: ignore[attr-defined]
        for url in ("s3://lake/a", "gs://lake/a?anonymous=true", "abfs://data@account.dfs.core.windows.net/a")
    }

    file_system.cache_clear()
    assert found == {"s3", "gcs", "abfs"}


def test_region_and_endpoint_come_from_the_query_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-2")
    file_system.cache_clear()

    assert StorePath.of(QUERY).file_system.region == "eu-west-1"
    assert StorePath.of("s3://lake").file_system.region == "us-east-2"


def test_reads_and_listings_are_those_of_a_folder(store: Store) -> None:
    for key in ("a/b.txt", "a/c/d.json", "a/c/e.json", "f.txt"):
        store.put(key, key.encode())
    folder = store.bucket / "a"

    assert [path.name for path in folder.iterdir()] == ["b.txt", "c"]
    assert [str(path) for path in folder.rglob("*.json")] == [str(folder / "c" / name) for name in ("d.json", "e.json")]
    assert list((store.bucket / "none").rglob("*")) == list((store.bucket / "none").glob("*")) == []
    assert list(folder.glob("b*")) == [folder / "b.txt"]
    with pytest.raises(LocalPathNeeded):
        list(folder.glob("*/*.json"))
    assert folder.is_dir()
    assert folder.exists()
    assert not folder.is_file()
    assert (folder / "b.txt").is_file()
    assert not (folder / "none").exists()
    assert store.bucket.is_dir()
    assert (folder / "b.txt").read_bytes() == b"a/b.txt"
    assert (folder / "b.txt").read_text() == "a/b.txt"
    with (folder / "b.txt").open("rb") as file:
        file.seek(-3, os.SEEK_END)
        assert file.read() == b"txt"


def test_stat_has_size_and_type_and_changes_with_the_content(store: Store) -> None:
    path = store.put("a/b.txt", b"one")
    before, tag = path.stat(), path.version_tag
    assert (stat.S_ISREG(before.st_mode), before.st_size) == (True, 3)
    assert stat.S_ISDIR((store.bucket / "a").stat().st_mode)

    store.put("a/b.txt", b"two")

    assert path.stat().st_ino != before.st_ino
    assert path.version_tag != tag
    store.put("a/b.txt", b"one")
    assert path.version_tag == tag


def test_absent_objects_are_not_found_and_named_by_url(store: Store) -> None:
    path = store.bucket / "none.txt"
    for use in (path.read_bytes, path.stat, path.open_arrow, lambda: list(path.iterdir()), lambda: path.version_tag):
        with pytest.raises(FileNotFoundError) as error:
            use()
        assert error.value.filename == str(path)


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (403, "AccessDenied", "the credentials are missing or wrong, or lack the permission. Check the credentials"),
        (403, "InvalidAccessKeyId", "the credentials are missing or wrong, or lack the permission"),
        (403, "SignatureDoesNotMatch", "the credentials are missing or wrong, or lack the permission"),
        (404, "NoSuchBucket", "there is no such bucket. Create it, or correct the URL"),
    ],
)
def test_a_store_that_refuses_is_one_sentence(store: Store, status: int, code: str, reason: str) -> None:
    store.fail("GET", status=status, code=code)

    with pytest.raises(StoreUnavailable) as error:
        list((store.bucket / "rows").rglob("*"))

    assert str(error.value).startswith(f"{store.bucket / 'rows'} cannot be used: {reason}")
    assert "\n" not in str(error.value)


def test_requests_to_a_store_that_throttles_are_retried(store: Store) -> None:
    path = store.put("a.txt", b"text")
    store.fail("GET .*a.txt", count=2)

    assert path.read_bytes() == b"text"

    assert sum(request.startswith("GET") for request in store.server.requests) == 3


def test_a_slow_answer_is_waited_for(store: Store) -> None:
    path = store.put("a.txt", b"text")
    store.fail("GET .*a.txt", delay_s=0.4, count=1)

    assert path.read_bytes() == b"text"


@pytest.mark.slow
def test_a_store_that_keeps_refusing_is_one_sentence(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.fail("GET", status=503)
    with pytest.raises(StoreUnavailable, match=r"refuses requests for the moment, after several attempts\. Run again"):
        list(store.bucket.rglob("*"))

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    file_system.cache_clear()
    with pytest.raises(StoreUnavailable, match=r"does not answer, after several attempts\. Check the endpoint"):
        list(store.bucket.rglob("*"))
