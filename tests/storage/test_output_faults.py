"""Faults of the outputs of a job: quarantine, and what `aepipe verify` finds."""

import json
import os
import shutil
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aepipe.errors import PartitionInvalid
from aepipe.storage import (
    SAMPLE,
    SCORE,
    Outputs,
    SampleDetails,
    lock,
)
from tests.support.committed_outputs import ROWS, put, snapshot, write


@pytest.fixture
def outputs(tmp_path: Path) -> Outputs:
    return Outputs(tmp_path / "out")


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


def test_manifest_with_an_infinite_number_is_found(outputs: Outputs) -> None:
    put(outputs)
    path = outputs.root / ".aepipe/manifests/score/dt=1.json"
    written = json.loads(path.read_bytes())
    text = json.dumps(written | {"details": written["details"] | {"wall_s": 1.5}}).replace("1.5", "1e999")
    path.write_text(text)

    assert outputs.verify() == [
        f"{path} was changed after it was written: its digest differs. Delete it and run the partition again."
    ]


def test_manifest_without_the_output_that_every_run_writes_counts_as_absent(outputs: Outputs) -> None:
    put(outputs)
    path = outputs.root / ".aepipe/manifests/score/dt=1.json"
    written = json.loads(path.read_bytes())
    path.write_text(json.dumps(written | {"files": {"features": written["files"]["features"]}}))

    assert outputs.manifest(SCORE, "dt=1") is None
    assert outputs.manifests(SCORE) == ()
    assert outputs.verify() == [f"{path} cannot be parsed. Delete it and run the partition again."]


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
