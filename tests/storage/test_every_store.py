"""Commits, leases, listings and refusals that hold in every kind of object store."""

import multiprocessing
import re
import threading
import time
from pathlib import Path
from typing import cast

import pytest

from aepipe.errors import Busy, StoreUnavailable
from aepipe.storage import Outputs, lock, put_bytes, read_parquet
from aepipe.storage.leases import Lease
from aepipe.storage.object_writes import Version, put_if_unchanged, read_versioned
from aepipe.stores import StorePath
from aepipe.stores.object_client import has_conditional_writes
from tests.support.object_store import Store, forget_connections
from tests.support.store_commits import FILES, MANIFEST, OTHER, ROWS, keys, put


@pytest.fixture
def outputs(any_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Outputs:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return Outputs(any_store.bucket / "out")


def conditional(store: Store) -> Store:
    """Return the store; skip the test if its writes cannot depend on the stored version."""
    if not has_conditional_writes(store.bucket.place):
        pytest.skip("the extra 'stores' is not installed")
    if store.server.ignores_conditions:
        pytest.skip("the server ignores the conditions of a write")
    return store


def check_that_the_last_of_two_has_the_lease(path: StorePath) -> None:
    leases = [Lease(path), Lease(path)]
    assert [lease.take(None) for lease in leases] == [True, True]
    with pytest.raises(Busy, match=r"was taken by process \d+ on "):
        leases[0].confirm()
    leases[1].confirm()
    for lease in leases:
        lease.end()
    assert not path.exists()


def test_commits_replace_each_other_and_leave_nothing_else(outputs: Outputs) -> None:
    put(outputs)
    put(outputs, "other", rows=OTHER)

    assert keys(outputs) == [MANIFEST, *FILES]
    assert outputs.verify() == []
    assert read_parquet(outputs.path("scores", "dt=1")).equals(OTHER)
    outputs.forget("dt=1", is_kept=False)
    assert keys(outputs) == []


def test_a_refused_commit_keeps_what_is_there(outputs: Outputs, any_store: Store) -> None:
    put(outputs)
    any_store.fail("(PUT|POST|DELETE)", status=403, code="AccessDenied")

    with pytest.raises(StoreUnavailable, match=r"lack the permission\. Check the credentials and the policy") as error:
        put(outputs, "other", rows=OTHER)

    any_store.server.faults.clear()
    assert "\n" not in str(error.value)
    assert read_parquet(outputs.path("scores", "dt=1")).equals(ROWS)


@pytest.mark.slow
def test_a_temporary_refusal_of_a_store_is_retried(outputs: Outputs, any_store: Store) -> None:
    for request in ("GET", "PUT", "POST"):
        any_store.fail(request, count=1)

    put(outputs)

    assert outputs.verify() == []
    assert keys(outputs) == [MANIFEST, *FILES]


@pytest.mark.slow
def test_a_killed_process_leaves_what_the_next_one_completes(
    outputs: Outputs, any_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    any_store.fail("(PUT|POST) .*scores", delay_s=5.0)
    child = multiprocessing.get_context("spawn").Process(target=put, args=(outputs,), daemon=True)
    child.start()
    deadline = time.monotonic() + 120
    while not any(re.match("(PUT|POST).*scores", request) for request in any_store.server.requests):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    child.kill()
    child.join(10)
    any_store.server.faults.clear()
    monkeypatch.setattr("aepipe.storage.leases.time.time", lambda now=time.time: now() + 200)

    put(outputs)

    assert outputs.verify() == []
    assert keys(outputs) == [MANIFEST, *FILES]


def test_a_large_object_is_absent_or_complete_while_it_is_written(any_store: Store) -> None:
    path, seen, size = any_store.bucket / "large", set[int](), 9 << 20
    put_bytes(path, b"old")
    any_store.fail("(PUT|POST) .*large|upload", delay_s=0.2)
    writer = threading.Thread(target=put_bytes, args=(path, b"x" * size))
    writer.start()

    while writer.is_alive():
        seen.add(len(path.read_bytes()))
    writer.join()

    assert 3 in seen
    assert seen <= {3, size}
    assert len(path.read_bytes()) == size


def test_a_lease_keeps_others_out(any_store: Store) -> None:
    path = any_store.bucket / "locks" / "a.lock"

    with lock(path), pytest.raises(Busy, match=r"is still held by process \d+ on "), lock(path):
        pytest.fail("two processes hold the lease")
    with lock(path):
        pass

    assert any_store.keys == []


def test_one_of_two_that_take_a_lease_at_once_has_it(any_store: Store) -> None:
    path = cast(StorePath, conditional(any_store).bucket / "a.lock")
    for before in (None, Version()):
        if before is not None:  # it has ended
            put_bytes(path, b'{"until": 0}')
            _, before = read_versioned(path)
        leases = [Lease(path), Lease(path)]

        taken = [lease.take(before) for lease in leases]

        assert taken == [True, False]
        leases[0].confirm()
        for lease in leases:
            lease.end()


def test_a_write_under_a_condition_changes_the_version_that_was_read(any_store: Store) -> None:
    path = cast(StorePath, conditional(any_store).bucket / "a")

    first = put_if_unchanged(path, b"1", None)
    assert first is not None
    assert put_if_unchanged(path, b"2", None) is None
    second = put_if_unchanged(path, b"2", first)

    assert second not in (None, first)
    assert put_if_unchanged(path, b"3", first) is None
    assert read_versioned(path) == (b"2", second)


@pytest.mark.slow
def test_without_the_library_of_google_a_write_has_no_condition(
    gs_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = cast(StorePath, gs_store.bucket / "a.lock")
    monkeypatch.setattr("aepipe.stores.object_client._has_google_storage", lambda: False)

    assert put_if_unchanged(path, b"1", None) == put_if_unchanged(path, b"2", None) == Version()

    assert read_versioned(path) == (b"2", Version())
    check_that_the_last_of_two_has_the_lease(path)


@pytest.mark.slow
def test_on_a_server_that_ignores_conditions_the_last_of_two_has_the_lease(minio_store: Store) -> None:
    path = minio_store.bucket / "a.lock"
    assert has_conditional_writes(minio_store.bucket.place)
    assert put_if_unchanged(path, b"1", None) is not None
    assert put_if_unchanged(path, b"2", None) is not None, "the server respects the conditions"

    check_that_the_last_of_two_has_the_lease(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "message"),
    [
        (403, "the credentials are missing or wrong, or lack the permission. Check the credentials and the policy"),
        (503, "the store refuses requests for the moment, after several attempts. Run again later"),
    ],
)
def test_a_lease_that_google_refuses_is_one_sentence(
    gs_store: Store, status: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = cast(StorePath, conditional(gs_store).bucket / "a.lock")
    monkeypatch.setattr("aepipe.stores.object_client.ANSWER_S", 2.0)
    gs_store.fail("(GET|POST)", status=status, code="Refused")

    for use in (lambda: read_versioned(path), lambda: put_if_unchanged(path, b"1", None)):
        with pytest.raises(StoreUnavailable) as error:
            use()
        assert str(error.value).startswith(f"{path} cannot be used: {message}")


@pytest.mark.slow
def test_a_lease_of_google_without_an_answer_or_credentials_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("google.cloud.storage", reason="the extra 'stores' is not installed")
    monkeypatch.setattr("aepipe.stores.object_client.ANSWER_S", 1.0)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    silent = StorePath.of("gs://rows/a.lock?anonymous=true&scheme=http&endpoint_override=127.0.0.1%3A9")

    with pytest.raises(StoreUnavailable, match="the store does not answer, after several attempts"):
        read_versioned(silent)
    with pytest.raises(StoreUnavailable, match="the credentials are missing or wrong"):
        read_versioned(StorePath.of("gs://rows/a.lock"))


def test_a_folder_lists_its_objects_and_folders(any_store: Store) -> None:
    for key in ("a/b.txt", "a/c/d.json", "a/c/e/f.json", "g.txt"):
        put_bytes(any_store.bucket / key, b"1")
    folder = any_store.bucket / "a"

    assert [(path.name, path.is_dir()) for path in folder.iterdir()] == [("b.txt", False), ("c", True)]
    assert [path.name for path in any_store.bucket.iterdir()] == ["a", "g.txt"]
    assert [path.name for path in folder.rglob("*.json")] == ["d.json", "f.json"]
    assert (folder / "c" / "e").exists()


def test_an_absent_folder_is_empty_and_an_absent_object_is_not_found(any_store: Store) -> None:
    absent = any_store.bucket / "none"

    assert list(absent.rglob("*")) == list(absent.glob("*")) == []
    for use in (absent.read_bytes, absent.stat, lambda: list(absent.iterdir())):
        with pytest.raises(FileNotFoundError):
            use()


def test_a_write_to_an_absent_bucket_is_one_sentence(any_store: Store) -> None:
    place = any_store.bucket.place
    bucket = StorePath(f"{place.scheme}:", place.bucket_and_query.replace("test-", "none-", 1))

    with pytest.raises(StoreUnavailable) as error:
        put_bytes(bucket / "a", b"1")

    noun = "container" if place.scheme == "abfs" else "bucket"
    expected = f"{bucket / 'a'} cannot be used: there is no such {noun}. Create it, or correct the URL."
    assert str(error.value) == expected


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("not base64", "AZURE_STORAGE_KEY is not the key of a storage account: expected base64, got 10 characters"),
        ("c2VjcmV0", "the credentials are missing or wrong, or lack the permission"),
    ],
)
@pytest.mark.slow
def test_a_wrong_key_of_azure_is_one_sentence(
    abfs_store: Store, key: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_KEY", key)
    forget_connections()

    for use in (lambda: list(abfs_store.bucket.rglob("*")), lambda: put_bytes(abfs_store.bucket / "a", b"1")):
        with pytest.raises(StoreUnavailable) as error:
            use()
        assert message in str(error.value)
        assert key not in str(error.value)
