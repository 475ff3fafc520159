"""Commits, locks and folders in an object store: complete or absent, whatever fails."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aepipe.errors import Busy, StoreUnavailable
from aepipe.storage import HIDDEN, SCORE, Outputs, ScoreDetails, append_line, lock, put_bytes, put_parquet, read_parquet
from aepipe.storage import commit as commits
from aepipe.storage.atomic_folders import put_folder, remove_folder
from aepipe.storage.locks import holder
from aepipe.storage.object_writes import upload
from aepipe.storage.paths import local_staging
from tests.support.object_store import Store, forget_connections
from tests.support.store_commits import FILES, MANIFEST, OTHER, ROWS, keys, put, write

PUT = """
import sys
from aepipe.storage import Outputs
from aepipe.stores.store_path import as_path
from tests.support.store_commits import put
put(Outputs(as_path(sys.argv[1])))
"""


@pytest.fixture
def outputs(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Outputs:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return Outputs(store.bucket / "out")


def test_a_commit_is_its_files_and_then_its_manifest(outputs: Outputs, store: Store) -> None:
    put(outputs)

    assert keys(outputs) == [MANIFEST, *FILES]
    assert outputs.verify() == []
    assert read_parquet(outputs.path("scores", "dt=1")).equals(ROWS)
    puts = [request.partition("/out/")[2] for request in store.server.requests if request.startswith("PUT")]
    places = [next(at for at, key in enumerate(puts) if key.startswith(name)) for name in (*FILES, MANIFEST)]
    assert places == sorted(places)
    assert [path for path in local_staging(str(outputs.root)).rglob("*") if path.is_file()] == []


def test_a_second_commit_with_the_same_key_writes_nothing_and_another_key_replaces(outputs: Outputs) -> None:
    put(outputs)
    before = outputs.manifest(SCORE, "dt=1")

    put(outputs, rows=OTHER)
    assert outputs.manifest(SCORE, "dt=1") == before
    put(outputs, "other", rows=OTHER)

    assert read_parquet(outputs.path("scores", "dt=1")).equals(OTHER)
    assert outputs.verify() == []


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt])
def test_an_exception_leaves_no_object(outputs: Outputs, error: type[BaseException]) -> None:
    with pytest.raises(error), outputs.commit(SCORE, "dt=1", "key") as commit:
        write(commit)
        raise error

    assert keys(outputs) == []


def test_an_upload_that_the_store_refuses_leaves_no_object(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(os.urandom(12 << 20))  # two parts
    store.fail("PUT .*large", status=403, code="AccessDenied")

    with pytest.raises(StoreUnavailable, match="credentials are missing or wrong, or lack the permission"):
        upload(path, store.bucket / "large")

    store.server.faults.clear()
    assert store.keys == []


def test_a_read_only_bucket_is_one_sentence_and_keeps_what_is_there(outputs: Outputs, store: Store) -> None:
    put(outputs)
    store.fail("(PUT|POST|DELETE)", status=403, code="AccessDenied")

    with pytest.raises(StoreUnavailable, match=r"lack the permission\. Check the credentials and the policy"):
        put(outputs, "other", rows=OTHER)

    store.server.faults.clear()
    assert read_parquet(outputs.path("scores", "dt=1")).equals(ROWS)


@pytest.mark.slow
def test_a_store_that_throttles_now_and_then_loses_nothing(outputs: Outputs, store: Store) -> None:
    for request in ("GET", "PUT", "POST", "HEAD", "DELETE"):
        store.fail(request, count=2)

    put(outputs)

    assert outputs.verify() == []
    assert keys(outputs) == [MANIFEST, *FILES]


@pytest.mark.slow
@pytest.mark.parametrize("uploaded", [0, 1, 2])
@pytest.mark.parametrize("same_machine", [True, False])
def test_a_commit_that_broke_off_is_finished_or_discarded(
    outputs: Outputs, uploaded: int, same_machine: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    put(outputs)
    real, calls = commits.rename, []

    def dying(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) > uploaded:
            raise SystemExit
        real(source, target)

    monkeypatch.setattr(commits, "rename", dying)
    with pytest.raises(SystemExit):
        put(outputs, "other", rows=OTHER)
    monkeypatch.setattr(commits, "rename", real)
    assert outputs.done(SCORE, "dt=1", "key") is None
    assert "interrupted commit" in outputs.verify()[0]

    if not same_machine:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "other"))
        (tmp_path / "other").mkdir()
    with outputs.commit(SCORE, "dt=1", "other") as commit:
        is_finished = commit.done is not None
    assert is_finished == (same_machine or uploaded == 2)
    put(outputs, "other", rows=OTHER)

    assert outputs.verify() == []
    assert read_parquet(outputs.path("features", "dt=1")).equals(OTHER)
    assert keys(outputs) == [MANIFEST, *FILES]


@pytest.mark.slow
def test_a_killed_process_leaves_what_the_next_one_completes(
    outputs: Outputs, monkeypatch: pytest.MonkeyPatch, store: Store, tmp_path: Path
) -> None:
    store.fail("PUT .*/scores/", delay_s=5.0)
    # not a fork of this process: it could block on locks of threads that use the store
    with subprocess.Popen(
        [sys.executable, "-c", PUT, str(outputs.root)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as child:
        until = time.monotonic() + 120
        try:
            while not any("PUT" in request and "/scores/" in request for request in store.server.requests):
                assert child.poll() is None
                assert time.monotonic() < until
                time.sleep(0.05)
        finally:
            child.kill()
    store.server.faults.clear()
    monkeypatch.setattr("aepipe.storage.leases.time.time", lambda now=time.time: now() + 200)

    put(outputs)

    assert outputs.verify() == []
    assert keys(outputs) == [MANIFEST, *FILES]


def test_a_lease_keeps_others_out_and_names_its_holder(store: Store) -> None:
    path = store.bucket / "locks" / "a.lock"

    with lock(path):
        assert holder(path) == os.getpid()
        with pytest.raises(Busy, match=rf"is still held by process {os.getpid()} on .+ after 0 s"), lock(path):
            pytest.fail("two processes hold the lease")

    assert store.keys == []
    assert holder(path) is None
    with lock(path):
        pass


def test_a_lease_that_was_not_renewed_is_free_and_garbage_is_none(store: Store) -> None:
    path = store.put("a.lock", json.dumps({"owner": "x", "holder": "y", "until": time.time() - 1}).encode())
    with lock(path):
        assert holder(path) == os.getpid()
    store.put("a.lock", b"not json")
    with lock(path):
        assert holder(path) == os.getpid()


def test_a_commit_whose_lease_was_taken_publishes_nothing(outputs: Outputs) -> None:
    path = outputs.root / HIDDEN / "locks" / "score" / "dt=1.lock"
    taken = {"owner": "x", "holder": "process 7 on elsewhere", "until": time.time() + 99}

    message = "was taken by process 7 on elsewhere meanwhile"
    with pytest.raises(Busy, match=message), outputs.commit(SCORE, "dt=1", "key") as commit:
        write(commit)
        put_bytes(path, json.dumps(taken).encode())
        commit.publish(model_version="m/1", details=ScoreDetails())

    assert keys(outputs) == [f"{HIDDEN}/locks/score/dt=1.lock"]  # it belongs to the other writer


def test_a_lease_is_renewed_while_it_is_held(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aepipe.storage.leases._RENEW_S", 0.02)
    path = store.bucket / "a.lock"

    with lock(path):
        first = json.loads(path.read_bytes())["until"]
        deadline = time.monotonic() + 5
        while json.loads(path.read_bytes())["until"] == first:
            assert time.monotonic() < deadline

    assert store.keys == []


def test_lines_are_appended_and_an_incomplete_one_stays_apart(store: Store) -> None:
    path = store.put("log.jsonl", b"one\ntw")

    append_line(path, "three")
    append_line(store.bucket / "new.jsonl", "one")

    assert path.read_bytes() == b"one\ntw\nthree\n"
    assert store.keys == ["log.jsonl", "new.jsonl"]


def test_a_folder_appears_in_order_and_disappears(store: Store) -> None:
    folder = store.bucket / "exported" / "v1"

    put_folder(folder, {"b": b"1", "a": b"2", "MANIFEST.json": b"3"})
    puts = [request.split()[1].rpartition("/")[2] for request in store.server.requests if request.startswith("PUT")]
    assert puts == ["b", "a", "MANIFEST.json"]
    remove_folder(folder)

    assert store.keys == []
    remove_folder(folder)


def test_a_folder_that_cannot_be_completed_leaves_no_object(store: Store) -> None:
    store.fail("PUT .*/MANIFEST", status=403, code="AccessDenied")

    with pytest.raises(StoreUnavailable):
        put_folder(store.bucket / "v1", {"a": b"2", "MANIFEST.json": b"3"})

    store.server.faults.clear()
    assert store.keys == []


@pytest.mark.parametrize(("wanted", "count"), [(None, 0), ("when_supported", 1)])
def test_an_upload_to_another_server_than_amazons_has_no_checksum_behind_it(
    store: Store, monkeypatch: pytest.MonkeyPatch, wanted: str | None, count: int
) -> None:
    monkeypatch.delenv("AWS_REQUEST_CHECKSUM_CALCULATION", raising=False)
    if wanted is not None:
        monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", wanted)
    store.server.checksums.clear()
    forget_connections()

    put_bytes(store.bucket / "a", b"1")

    assert len(store.server.checksums) == count
    assert os.environ.get("AWS_REQUEST_CHECKSUM_CALCULATION") == wanted
    forget_connections()


def test_parquet_is_written_whole(store: Store) -> None:
    staged = put_parquet(store.bucket / "a.parquet", ROWS)

    assert staged.path == store.bucket / "a.parquet"
    assert pq.ParquetFile(pa.BufferReader(staged.path.read_bytes())).read().equals(ROWS)


def test_forgetting_a_partition_removes_its_objects(outputs: Outputs) -> None:
    put(outputs)

    outputs.forget("dt=1", is_kept=False)

    assert keys(outputs) == []


def test_foreign_objects_among_the_outputs_are_found(outputs: Outputs, store: Store) -> None:
    put(outputs)
    store.put("out/scores/dt=1/copy.parquet", b"")

    assert [fault for fault in outputs.verify() if "copy.parquet is not an output of aepipe" in fault]


def test_quarantined_rows_are_moved_to_the_store(outputs: Outputs) -> None:
    with outputs.commit(SCORE, "dt=1", "key") as commit:
        write(commit)
        commit.quarantine("too many", attachments={"why.json": b"{}"})

    folder = f"{HIDDEN}/quarantine/_scores/dt=1"
    names = ("part-0.parquet.quarantined", "reason.txt", "why.json")
    assert keys(outputs) == [f"{folder}/{name}" for name in names]
    assert outputs.quarantined_rows(SCORE) == {"dt=1": "too many"}
