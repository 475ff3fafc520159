"""The outputs of a job: commits, manifests, quarantine, verification."""

import json
import logging
import math
import os
import shutil
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from aepipe.errors import PartitionInvalid
from aepipe.storage import (
    RUN_KINDS,
    SAMPLE,
    SCORE,
    Commit,
    Manifest,
    Outputs,
    SampleDetails,
    ScoreDetails,
    digest_file,
    lock,
)
from aepipe.storage.atomic_files import json_bytes

FIRST_VERSION = Path(__file__).parents[1] / "fixtures" / "first_version" / "out"
ROWS = pa.table({"id": [1, 2, 3], "score": [0.5, 1.5, 2.5]})
OTHER = pa.table({"id": [4, 5, 6], "score": [9.0, 8.0, 7.0]})


def write(commit: Commit[Any], *outputs: str, rows: pa.Table = ROWS) -> None:
    for output in outputs:
        commit.open(output, rows.schema).write(rows)


def put(outputs: Outputs, partition: str = "dt=1", key: str = "key", rows: pa.Table = ROWS) -> Manifest[ScoreDetails]:
    with outputs.commit(SCORE, partition, key) as commit:
        write(commit, "features", "scores", rows=rows)
        return commit.publish(model_version="m/1", details=ScoreDetails())


def snapshot(root: Path) -> dict[str, tuple[int, int, int, int]]:
    """Return the content of every file except the locks."""
    stats = {path: path.stat() for path in root.rglob("*") if path.is_file() and "locks" not in path.parts}
    return {str(path): (stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size) for path, stat in stats.items()}


@pytest.fixture
def outputs(tmp_path: Path) -> Outputs:
    return Outputs(tmp_path / "out")


def test_commit_publishes_files_and_their_manifest(outputs: Outputs) -> None:
    before = datetime.now(UTC)
    with outputs.commit(SCORE, "dt=1/hour=2", "key") as commit:
        write(commit, "scores", "features")
        manifest = commit.publish(model_version="m/1", details=ScoreDetails(rows=3))

    assert manifest == outputs.manifest(SCORE, "dt=1/hour=2")
    assert outputs.manifests(SCORE) == (manifest,)
    assert (manifest.partition, manifest.key, manifest.kind_of_run) == ("dt=1/hour=2", "key", "score")
    assert (manifest.model_version, manifest.details, manifest.contract) == ("m/1", ScoreDetails(rows=3), 1)
    assert before.replace(microsecond=0) <= datetime.fromisoformat(manifest.created_at) <= datetime.now(UTC)
    for output, record in manifest.files.items():
        path = outputs.path(output, "dt=1/hour=2")
        assert record.path == f"{output}/dt=1/hour=2/part-0.parquet"
        assert (record.rows, record.bytes, record.digest) == (3, path.stat().st_size, digest_file(path))
        assert pq.read_table(path, partitioning=None) == ROWS
    assert outputs.verify() == []


def test_staged_files_are_not_parquet_and_outputs_hold_only_data(outputs: Outputs) -> None:
    with outputs.commit(SCORE, "dt=1", "key") as commit:
        write(commit, "scores")
        staged = [path.name for path in outputs.root.rglob("*") if path.is_file()]
        assert not [name for name in staged if name.endswith(".parquet")]
        commit.publish(model_version="m/1", details=ScoreDetails())

    assert sorted(path.name for path in outputs.root.iterdir()) == [".aepipe", "scores"]
    assert [path.name for path in (outputs.root / "scores").rglob("*") if path.is_file()] == ["part-0.parquet"]


def test_second_commit_with_the_same_key_writes_nothing(outputs: Outputs) -> None:
    manifest = put(outputs)
    before = snapshot(outputs.root)

    with outputs.commit(SCORE, "dt=1", "key") as commit:
        assert commit.done == manifest
    assert outputs.done(SCORE, "dt=1", "key") == manifest

    assert snapshot(outputs.root) == before


def test_key_may_be_set_while_rows_are_written(outputs: Outputs) -> None:
    with outputs.commit(SCORE, "dt=1") as commit:
        write(commit, "scores")
        assert commit.is_first
        commit.take_key("late")
        assert commit.done is None
        manifest = commit.publish(model_version="m/1", details=ScoreDetails())

    assert manifest.key == "late"
    with outputs.commit(SCORE, "dt=1") as commit:
        assert not commit.is_first
        commit.take_key("late")
        assert commit.done == manifest
        with pytest.raises(ValueError, match="has a key already: expected 'late', got 'other'"):
            commit.take_key("other")


def test_nothing_is_published_without_a_key(outputs: Outputs) -> None:
    with pytest.raises(ValueError, match="without a key"), outputs.commit(SCORE, "dt=1") as commit:
        write(commit, "scores")
        commit.publish(model_version="m/1", details=ScoreDetails())
    assert not snapshot(outputs.root)


def test_writing_under_a_done_key_is_refused(outputs: Outputs) -> None:
    put(outputs)

    with outputs.commit(SCORE, "dt=1", "key") as commit:
        with pytest.raises(ValueError, match="is closed under key 'key'"):
            commit.open("scores", ROWS.schema)
        with pytest.raises(ValueError, match="no rows can be added"):
            commit.publish(model_version="m/1", details=ScoreDetails())


def test_another_key_replaces_the_files(outputs: Outputs) -> None:
    put(outputs)
    put(outputs, key="other", rows=OTHER)

    assert outputs.done(SCORE, "dt=1", "key") is None
    assert outputs.done(SCORE, "dt=1", "other") is not None
    assert pq.read_table(outputs.path("scores", "dt=1"), partitioning=None) == OTHER


@pytest.mark.parametrize("output", ["scores", "features"])
def test_deleted_or_truncated_output_is_not_done(outputs: Outputs, output: str) -> None:
    put(outputs)
    for damage in (Path.unlink, lambda path: os.truncate(path, 10)):
        damage(outputs.path(output, "dt=1"))

        assert outputs.done(SCORE, "dt=1", "key") is None
        put(outputs)
        assert outputs.verify() == []


def test_output_that_is_not_opened_is_removed(outputs: Outputs) -> None:
    put(outputs)
    with outputs.commit(SCORE, "dt=1", "scores only") as commit:
        write(commit, "scores", rows=OTHER)
        commit.publish(model_version="m/1", details=ScoreDetails())

    assert not outputs.path("features", "dt=1").exists()
    assert outputs.verify() == []


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt, SystemExit])
def test_exception_leaves_no_file_and_changes_none(outputs: Outputs, error: type[BaseException]) -> None:
    put(outputs)
    before = snapshot(outputs.root)

    with pytest.raises(error), outputs.commit(SCORE, "dt=1", "other") as commit:
        write(commit, "features", "scores", rows=OTHER)
        raise error

    assert snapshot(outputs.root) == before
    assert not list(outputs.root.glob(".aepipe/staging/*/*"))
    put(outputs, key="other")


def test_unpublished_commit_changes_nothing_and_warns(outputs: Outputs, caplog: pytest.LogCaptureFixture) -> None:
    put(outputs)
    before = snapshot(outputs.root)

    with caplog.at_level(logging.WARNING), outputs.commit(SCORE, "dt=1", "other") as commit:
        write(commit, "scores", rows=OTHER)

    assert snapshot(outputs.root) == before
    assert "dt=1 was written but not published: discarded" in caplog.text


def test_commit_is_closed_after_its_block(outputs: Outputs) -> None:
    with outputs.commit(SCORE, "dt=1", "key") as commit:
        pass

    with pytest.raises(ValueError, match="no rows can be added"):
        commit.open("scores", ROWS.schema)


def test_scores_and_features_must_have_equal_rows(outputs: Outputs) -> None:
    with (
        pytest.raises(ValueError, match="differ in rows: got features 3, scores 2"),
        outputs.commit(SCORE, "dt=1", "key") as commit,
    ):
        write(commit, "features")
        write(commit, "scores", rows=ROWS.slice(0, 2))
        commit.publish(model_version="m/1", details=ScoreDetails())

    assert snapshot(outputs.root) == {}


def test_run_without_its_last_output_is_refused(outputs: Outputs) -> None:
    with (
        pytest.raises(ValueError, match="lacks its output: expected 'scores', got features"),
        outputs.commit(SCORE, "dt=1", "k") as commit,
    ):
        write(commit, "features")
        commit.publish(model_version="m/1", details=ScoreDetails())

    assert snapshot(outputs.root) == {}


def test_output_of_another_run_or_opened_twice_is_refused(outputs: Outputs) -> None:
    with outputs.commit(SCORE, "dt=1", "key") as commit:
        with pytest.raises(
            ValueError,
            match="output is unknown to a score run: expected thresholds, events, features, scores, got 'samples'",
        ):
            commit.open("samples", ROWS.schema)
        commit.open("scores", ROWS.schema)
        with pytest.raises(ValueError, match="'scores' of partition 'dt=1' is open already"):
            commit.open("scores", ROWS.schema)


def test_empty_partition_has_an_empty_file(outputs: Outputs) -> None:
    with outputs.commit(SCORE, "dt=1", "key") as commit:
        commit.open("scores", ROWS.schema)
        manifest = commit.publish(model_version="m/1", details=ScoreDetails())

    assert manifest.files["scores"].rows == 0
    assert pq.read_table(outputs.path("scores", "dt=1"), partitioning=None) == ROWS.schema.empty_table()


def test_samples_and_scores_of_one_partition_are_independent(outputs: Outputs) -> None:
    put(outputs)
    with outputs.commit(SAMPLE, "dt=1", "key") as commit:
        assert commit.done is None
        write(commit, "samples")
        commit.publish(model_version="m/1", details=SampleDetails())

    assert outputs.path("features", "dt=1").exists()
    assert len(outputs.manifests(SCORE)) == len(outputs.manifests(SAMPLE)) == 1
    assert outputs.verify() == []


def test_manifests_are_in_natural_order(outputs: Outputs) -> None:
    for partition in ("dt=2", "dt=1/hour=10", "dt=1/hour=9", "dt=1", "cells"):
        put(outputs, partition)

    found = [manifest.partition for manifest in outputs.manifests(SCORE)]
    assert found == ["cells", "dt=1", "dt=1/hour=9", "dt=1/hour=10", "dt=2"]


def test_absent_folder_has_no_outputs_and_is_not_made(outputs: Outputs) -> None:
    assert outputs.manifests(SCORE) == ()
    assert outputs.manifest(SCORE, "dt=1") is None
    assert outputs.done(SCORE, "dt=1", "key") is None
    assert outputs.quarantined() == {}
    assert outputs.verify() == []
    assert not outputs.root.exists()


def test_details_are_written_as_json_types_and_only_if_set(outputs: Outputs) -> None:
    details = ScoreDetails(
        alpha=np.float32(0.5),
        rows=np.int64(3),
        extra_columns=("a", "b"),
        threshold=math.nan,
        invalid=Counter(infinite=np.int64(2)),
    )
    with outputs.commit(SCORE, "dt=1", "key") as commit:
        write(commit, "scores")
        manifest = commit.publish(model_version="m/1", details=details)

    written = json.loads((outputs.root / ".aepipe/manifests/score/dt=1.json").read_bytes())["details"]
    assert written == {
        "alpha": 0.5,
        "rows": 3,
        "extra_columns": ["a", "b"],
        "threshold": None,
        "invalid": {"infinite": 2},
    }
    assert outputs.manifest(SCORE, "dt=1") == manifest


@pytest.mark.parametrize("path", sorted(FIRST_VERSION.rglob(".aepipe/manifests/*/*.json")), ids=lambda path: path.stem)
def test_manifests_of_the_first_version_round_trip(path: Path) -> None:
    (kind,) = [kind for kind in RUN_KINDS if kind.name == path.parent.name]

    manifest = kind.read_manifest(path)

    assert manifest is not None
    assert json_bytes(manifest.model_dump(mode="json")) == path.read_bytes()


def test_details_that_are_not_json_are_refused_before_anything_is_replaced(outputs: Outputs) -> None:
    put(outputs)
    before = snapshot(outputs.root)

    with pytest.raises(Exception, match="serialize"), outputs.commit(SCORE, "dt=1", "other") as commit:
        write(commit, "scores", rows=OTHER)
        commit.publish(model_version="m/1", details=ScoreDetails.model_construct({"rows"}, rows=object()))

    assert snapshot(outputs.root) == before


def test_manifest_refuses_unknown_fields_and_changes(outputs: Outputs) -> None:
    manifest = put(outputs)

    with pytest.raises(ValidationError, match="Extra inputs"):
        Manifest.model_validate({**manifest.model_dump(), "more": 1})
    with pytest.raises(ValidationError, match="frozen"):
        manifest.key = "other"  # type: ignore[misc]


def test_unparsable_manifest_counts_as_absent_and_is_a_fault(
    outputs: Outputs, caplog: pytest.LogCaptureFixture
) -> None:
    put(outputs)
    path = outputs.root / ".aepipe/manifests/score/dt=1.json"
    path.write_text("{}")

    assert outputs.manifest(SCORE, "dt=1") is None
    assert "dt=1.json is not a manifest and counts as absent: Field required" in caplog.text
    assert outputs.verify() == [f"{path} cannot be parsed. Delete it and run the partition again."]
    put(outputs)
    assert outputs.verify() == []


def test_folder_on_another_file_system_is_refused_before_anything_is_replaced(
    outputs: Outputs, tmp_path: Path, in_memory: Path
) -> None:
    if in_memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is one file system here")
    put(outputs)
    (outputs.root / "features").rename(tmp_path / "old")
    (outputs.root / "features").symlink_to(in_memory)
    before = snapshot(outputs.root)

    with pytest.raises(OSError, match="is on another file system than"):
        put(outputs, key="other", rows=OTHER)

    assert snapshot(outputs.root) == before


def test_interrupted_commit_is_finished_by_the_next(outputs: Outputs, caplog: pytest.LogCaptureFixture) -> None:
    put(outputs)
    scores = outputs.path("scores", "dt=1")
    scores.unlink()
    scores.mkdir()  # cannot be replaced by a file

    with pytest.raises(IsADirectoryError):
        put(outputs, key="other", rows=OTHER)
    assert "dt=1 was interrupted while it was published; the next run finishes it" in caplog.text
    interrupted = "partition dt=1 has an interrupted commit. Run the partition again to finish it."
    assert outputs.verify() == [interrupted]
    assert outputs.done(SCORE, "dt=1", "other") is None
    scores.rmdir()
    with outputs.commit(SCORE, "dt=1", "other") as commit:
        assert commit.done is not None

    assert pq.read_table(scores, partitioning=None) == OTHER
    assert outputs.verify() == []


def test_quarantined_partition_is_listed_with_its_reason_and_keeps_its_outputs(outputs: Outputs) -> None:
    put(outputs, "dt=1/hour=2")
    before = snapshot(outputs.root)

    path = outputs.quarantine("dt=1/hour=2", "part-0.parquet is truncated", [Path("data/part-0.parquet")])

    assert outputs.quarantined() == {"dt=1/hour=2": "part-0.parquet is truncated"}
    note = json.loads(path.read_text())
    assert path == outputs.root / ".aepipe/quarantine/dt=1/hour=2.json"
    assert note["files"] == ["data/part-0.parquet"]
    assert datetime.fromisoformat(note["when"]).utcoffset() is not None
    path.unlink()
    assert snapshot(outputs.root) == before


def test_later_commit_ends_the_quarantine(outputs: Outputs) -> None:
    for partition in ("dt=1", "dt=2"):
        outputs.quarantine(partition, "unreadable", [])

    put(outputs, "dt=1")

    assert outputs.quarantined() == {"dt=2": "unreadable"}


def test_unchanged_data_end_the_quarantine(outputs: Outputs) -> None:
    put(outputs)
    outputs.quarantine("dt=1", "unreadable", [])

    with outputs.commit(SCORE, "dt=1", "key") as commit:
        assert commit.done is not None

    assert outputs.quarantined() == {}


def test_failed_commits_and_samples_do_not_end_the_quarantine(outputs: Outputs) -> None:
    outputs.quarantine("dt=1", "unreadable", [])

    with pytest.raises(KeyError), outputs.commit(SCORE, "dt=1", "key") as commit:
        write(commit, "scores")
        raise KeyError
    with outputs.commit(SAMPLE, "dt=1", "key") as commit:
        write(commit, "samples")
        commit.publish(model_version="m/1", details=SampleDetails())

    assert outputs.quarantined() == {"dt=1": "unreadable"}


def test_partition_with_a_bad_name_cannot_be_quarantined(outputs: Outputs) -> None:
    with pytest.raises(PartitionInvalid):
        outputs.quarantine("../../etc", "unreadable", [])


def test_verify_names_every_fault_and_its_remedy(outputs: Outputs) -> None:
    for partition in ("absent", "flipped", "good", "longer", "unknown"):
        put(outputs, partition)
    outputs.path("scores", "absent").unlink()
    flipped = outputs.path("features", "flipped")
    data = bytearray(flipped.read_bytes())
    data[len(data) // 2] ^= 1
    flipped.write_bytes(data)
    longer = outputs.path("scores", "longer")
    size = longer.stat().st_size
    longer.write_bytes(longer.read_bytes() + b"more")
    (outputs.root / ".aepipe/manifests/score/unknown.json").unlink()

    faults = outputs.verify()

    again = "Delete it and run the partition again."
    assert faults[0] == f"{outputs.path('scores', 'absent')} is missing. Run the partition again."
    assert faults[1].startswith(f"{flipped} has the wrong digest: expected xxh3:")
    assert faults[1].endswith(again)
    assert faults[2] == f"{longer} has the wrong size: expected {size:,} bytes, got {size + 4:,}. {again}"
    assert faults[3] == f"{outputs.path('features', 'unknown')} has no manifest. {again}"
    assert faults[4] == f"{outputs.path('scores', 'unknown')} has no manifest. {again}"
    assert len(faults) == 5


def test_remedy_of_verify_works(outputs: Outputs) -> None:
    put(outputs)
    path = outputs.path("scores", "dt=1")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert outputs.done(SCORE, "dt=1", "key") is not None  # the size is the same

    path.unlink()
    put(outputs)

    assert outputs.verify() == []
    assert pq.read_table(path, partitioning=None) == ROWS


def test_verify_waits_for_a_commit_in_progress(outputs: Outputs) -> None:
    put(outputs)
    outputs.path("scores", "dt=1").unlink()

    with lock(outputs.root / ".aepipe/locks/score/dt=1.lock"):
        (fault,) = outputs.verify(wait_s=0.05)

    assert fault.startswith("partition dt=1 is being written: ")
    assert fault.endswith("Verify again later.")
    assert f"held by process {os.getpid()}" in fault


def test_quarantined_rows_are_not_an_output_and_earlier_outputs_stay(tmp_path: Path) -> None:
    outputs, schema = Outputs(tmp_path), pa.schema([("x", pa.int64())])
    with outputs.commit(SAMPLE, "dt=1", "good") as commit:
        commit.open("samples", schema).write(pa.table({"x": [1, 2]}))
        good = commit.publish(model_version="m/1", details=SampleDetails())

    with outputs.commit(SAMPLE, "dt=1", "bad") as commit:
        commit.open("samples", schema).write(pa.table({"x": [3]}))
        path = commit.quarantine("too few", attachments={"report.html": b"<p>"})
        with pytest.raises(ValueError, match="no rows can be added"):
            commit.publish(model_version="m/1", details=SampleDetails())

    assert outputs.manifest(SAMPLE, "dt=1") == good
    assert pq.read_table(outputs.path("samples", "dt=1")).num_rows == 2
    assert path.read_bytes()[:4] == b"PAR1"
    assert path.suffix != ".parquet"
    assert (path.parent / "reason.txt").read_text() == "too few\n"
    assert outputs.quarantined() == {}
    assert outputs.quarantined_rows(SAMPLE) == {"dt=1": "too few"}
    assert outputs.verify() == []
    with outputs.commit(SAMPLE, "dt=1", "good") as commit:
        assert commit.done == good
    assert not list(path.parent.iterdir())


def test_every_change_of_a_manifest_is_found(outputs: Outputs) -> None:
    put(outputs)
    path = outputs.root / ".aepipe/manifests/score/dt=1.json"
    written = json.loads(path.read_bytes())
    changes = [
        written | {"model_version": "m/2"},
        written | {"details": written["details"] | {"alpha": 0.25}},
        written | {"created_at": "2020-01-01T00:00:00Z"},
        written | {"key": "other"},
        written | {"digest": "xxh3:0"},
    ]

    for changed in changes:
        path.write_text(json.dumps(changed))
        assert outputs.verify() == [
            f"{path} was changed after it was written: its digest differs. Delete it and run the partition again."
        ]
    path.write_text(json.dumps(written, indent=7))  # the same content in another form

    assert outputs.verify() == []


def test_manifest_of_another_partition_is_found(outputs: Outputs) -> None:
    put(outputs)
    path = outputs.root / ".aepipe/manifests/score/dt=1.json"
    shutil.copytree(outputs.root / "scores/dt=1", outputs.root / "scores/dt=2")
    shutil.copytree(outputs.root / "features/dt=1", outputs.root / "features/dt=2")
    shutil.copy(path, path.with_name("dt=2.json"))

    (fault,) = outputs.verify()

    assert "dt=2.json was changed after it was written" in fault


def test_manifests_without_a_digest_stay_valid(outputs: Outputs) -> None:
    put(outputs)
    path = outputs.root / ".aepipe/manifests/score/dt=1.json"
    written = json.loads(path.read_bytes())
    del written["digest"]
    path.write_text(json.dumps(written))

    assert outputs.verify() == []
    assert outputs.done(SCORE, "dt=1", "key") is not None


@pytest.mark.parametrize(
    "name", ["scores/dt=1/part-1.parquet", "scores/extra.parquet", "scores/part-0.parquet", "features/note.txt"]
)
def test_files_that_readers_would_count_are_found(outputs: Outputs, name: str) -> None:
    put(outputs)
    path = outputs.root / name
    shutil.copy(outputs.path("scores", "dt=1"), path)

    (fault,) = outputs.verify()

    assert fault.startswith(
        f"{path} is not an output of aepipe, and readers of {outputs.root / name.split('/')[0]} take"
    )


def test_links_among_the_outputs_are_found_and_hidden_files_are_none(outputs: Outputs) -> None:
    put(outputs)
    folder = outputs.root / "scores"
    (folder / "_SUCCESS").touch()
    (folder / ".notes").mkdir()
    (folder / ".notes" / "a.parquet").touch()
    assert outputs.verify() == []

    (folder / "dt=2").symlink_to(folder / "dt=1")

    (fault,) = outputs.verify()
    assert fault.startswith(f"{folder / 'dt=2'} is not an output of aepipe")
