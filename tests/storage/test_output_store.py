"""The outputs of a job: commits and manifests."""

import json
import logging
import math
import os
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from aepipe.storage import (
    RUN_KINDS,
    SAMPLE,
    SCORE,
    Manifest,
    Outputs,
    SampleDetails,
    ScoreDetails,
    digest_file,
)
from aepipe.storage.atomic_files import json_bytes
from tests.support.committed_outputs import OTHER, ROWS, put, snapshot, write

FIRST_VERSION = Path(__file__).parents[1] / "fixtures" / "first_version" / "out"


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
