"""Commits that are published together: each is old or new, and folders that they share are synced once."""

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aepipe.errors import Busy
from aepipe.storage import SCORE, CommitGroup, Outputs, ScoreDetails
from tests.storage.test_crashes import BOTH, KILLED, NEW, OLD, SCENARIOS, WRITTEN, Committer

PARTITIONS = [f"dt={day}" for day in range(3)]
ROWS = pa.table({"z": np.arange(5.0)})


@pytest.fixture(scope="module")
def committer() -> Iterator[Committer]:
    with Committer.started() as started:
        yield started


def stage(outputs: Outputs, group: CommitGroup, partition: str, key: str = "key") -> None:
    with ExitStack() as held:
        commit = held.enter_context(outputs.commit(SCORE, partition, key))
        for output in BOTH:
            commit.open(output, ROWS.schema).write(ROWS)
        commit.stage(model_version="m/1", details=ScoreDetails(rows=5))
        group.add(commit, held.pop_all())


def generations(out: Path) -> dict[str, tuple[int, ...]]:
    """Return the generation of each output by partition; fail if a file is incomplete."""
    found: dict[str, tuple[int, ...]] = {}
    for partition in PARTITIONS:
        files = [out / output / partition / "part-0.parquet" for output in BOTH]
        tables = [pq.ParquetFile(file, page_checksum_verification=True).read() for file in files if file.exists()]
        found[partition] = tuple(table["generation"][0].as_py() for table in tables)
    return found


def test_nothing_is_seen_before_all_are_published_and_locks_are_held_until_then(tmp_path: Path) -> None:
    outputs, group = Outputs(tmp_path), CommitGroup()
    for partition in PARTITIONS:
        stage(outputs, group, partition)

    assert len(group) == len(PARTITIONS)
    assert outputs.partitions(SCORE) == ()
    assert not list(tmp_path.glob("*/*/*.parquet"))
    with pytest.raises(Busy), outputs.commit(SCORE, PARTITIONS[0]):
        pass
    group.publish()

    assert len(group) == 0
    assert sorted(outputs.partitions(SCORE)) == PARTITIONS
    assert outputs.verify() == []
    for partition in PARTITIONS:
        assert outputs.done(SCORE, partition, "key") is not None
        with outputs.commit(SCORE, partition, "key") as commit:
            assert commit.done is not None
    group.publish()  # belongs to no commit


def test_a_group_that_cannot_be_published_leaves_old_outputs_and_no_lock(tmp_path: Path) -> None:
    outputs, group = Outputs(tmp_path), CommitGroup()
    stage(outputs, group, PARTITIONS[0], "old")
    group.publish()
    (tmp_path / "features" / PARTITIONS[2]).write_bytes(b"a file in the place of a folder")
    before = (tmp_path / "scores" / PARTITIONS[0] / "part-0.parquet").stat().st_ino
    for partition in PARTITIONS:
        stage(outputs, group, partition, "new")

    with pytest.raises(OSError, match=PARTITIONS[2]):
        group.publish()

    assert outputs.partitions(SCORE) == (PARTITIONS[0],)
    assert outputs.done(SCORE, PARTITIONS[0], "old") is not None
    assert (tmp_path / "scores" / PARTITIONS[0] / "part-0.parquet").stat().st_ino == before
    assert not list((tmp_path / ".aepipe" / "staging" / "score").iterdir())
    (tmp_path / "features" / PARTITIONS[2]).unlink()
    for partition in PARTITIONS:
        stage(outputs, group, partition, "new")
    group.publish()
    assert outputs.verify() == []


def test_shared_folders_are_synced_once_and_every_file_before_it_is_seen(tmp_path: Path, committer: Committer) -> None:
    out, trace = tmp_path / "out", tmp_path / "trace"
    out.mkdir()

    assert committer.commit(out, NEW, SCENARIOS["a first commit"], partitions=PARTITIONS, trace=str(trace)) == WRITTEN

    steps = json.loads(trace.read_text())
    synced = Counter(Path(paths[0]).relative_to(out).as_posix() for event, *paths in steps if event == "fsync")
    assert {synced[name] for name in ("scores", "features", ".aepipe/manifests/score", ".aepipe/staging/score")} == {1}
    assert sum(synced.values()) <= 6 * len(PARTITIONS) + 16
    unsynced: set[str] = set()
    for event, *paths in steps:
        if event == "open" and "/.aepipe/locks/" not in paths[0]:
            unsynced.add(paths[0])
        elif event == "fsync":
            unsynced.discard(paths[0])
        elif event == "os.rename":
            assert not unsynced, f"{paths[1]} was replaced while {unsynced} could still be lost"
    assert not unsynced


@pytest.mark.slow
@pytest.mark.parametrize("is_first", [True, False])
def test_a_kill_at_any_step_leaves_each_partition_old_or_new(
    in_memory: Path, committer: Committer, is_first: bool
) -> None:
    scenario, before = SCENARIOS["a second commit"], in_memory / "before"
    before.mkdir()
    if not is_first:
        assert committer.commit(before, OLD, scenario, partitions=PARTITIONS) == WRITTEN

    mixed = 0
    for kill_at in range(1, 300):
        out = in_memory / "killed"
        shutil.copytree(before, out)
        if committer.commit(out, NEW, scenario, partitions=PARTITIONS, kill_at=kill_at) != KILLED:
            break
        found = generations(out)
        assert all({*each} <= {OLD, NEW} for each in found.values())
        mixed += len(set(found.values())) > 1
        committer.commit(out, NEW, scenario, partitions=PARTITIONS)
        assert generations(out) == dict.fromkeys(PARTITIONS, (NEW, NEW))
        assert Outputs(out).verify() == []
        assert not list(out.glob(".aepipe/staging/*/*"))
        shutil.rmtree(out)

    assert kill_at > 45
    assert mixed > 0
