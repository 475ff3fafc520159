"""Processes that are killed, waiting or racing: complete files for readers, and recovery by the next commit."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aepipe.errors import Busy
from aepipe.storage import SAMPLE, SCORE, Commit, Outputs, RunKind, SampleDetails, ScoreDetails

DETAILS = {"score": ScoreDetails(), "sample": SampleDetails()}
WRITTEN, DONE, BUSY, DISK_FULL = 0, 10, 11, 12  # as in committing.py
PARTITION = "dt=1/hour=2"
OLD, NEW, NEXT = 1, 2, 3
KILLED = -signal.SIGKILL
BOTH = ("scores", "features")


class Scenario(NamedTuple):
    kind: RunKind[Any]
    before: tuple[str, ...]
    after: tuple[str, ...]

    def old(self) -> dict[str, int]:
        return dict.fromkeys(self.before, OLD)

    def new(self) -> dict[str, int]:
        return dict.fromkeys(self.after, NEW)


SCENARIOS = {
    "a first commit": Scenario(SCORE, (), BOTH),
    "a second commit": Scenario(SCORE, BOTH, BOTH),
    "features switched off": Scenario(SCORE, BOTH, ("scores",)),
    "features switched on": Scenario(SCORE, ("scores",), BOTH),
    "new samples": Scenario(SAMPLE, ("samples",), ("samples",)),
}


class Committer:
    """Process that commits on request."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    @classmethod
    @contextmanager
    def started(cls) -> Iterator["Committer"]:
        """Start the process, and end it at the end of the block."""
        root = Path(__file__).parents[2]
        with subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("committing.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(root)},
        ) as process:
            yield cls(process)

    def begin(self, out: Path, generation: int, scenario: Scenario, **order: Any) -> None:
        order |= {"out": str(out), "generation": generation, "outputs": scenario.after, "run": scenario.kind.name}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def statuses(self) -> list[int]:
        assert self.process.stdout is not None
        return list(json.loads(self.process.stdout.readline()))

    def commit(self, out: Path, generation: int, scenario: Scenario, **order: Any) -> int:
        self.begin(out, generation, scenario, **order)
        (status,) = self.statuses()
        return status


@pytest.fixture(scope="module")
def committer() -> Iterator[Committer]:
    with Committer.started() as started:
        yield started


def rows_of(generation: int) -> int:
    return 20_000 + generation + 17_000 + 100


def table_of(generation: int) -> pa.Table:
    rows = rows_of(generation)
    return pa.table({"generation": np.full(rows, generation), "z": np.zeros(rows)})


def write(commit: Commit[Any], outputs: tuple[str, ...], generation: int) -> None:
    for output in outputs:
        commit.open(output, table_of(generation).schema).write(table_of(generation))


def put(out: Path, generation: int, outputs: tuple[str, ...], kind: RunKind[Any]) -> bool:
    """Commit a generation; return whether it had to be written."""
    with Outputs(out).commit(kind, PARTITION, f"key {generation}") as commit:
        if commit.done is None:
            write(commit, outputs, generation)
            commit.publish(model_version=f"m/{generation}", details=DETAILS[kind.name])
    return commit.done is None


def seen(out: Path) -> dict[str, int]:
    """Return the generation of every output; fail if a file is truncated, mixed or corrupt."""
    found = {}
    for path in sorted(out.glob("*/**/*.parquet")):
        table = pq.read_table(path, partitioning=None, page_checksum_verification=True)
        (generation,) = table["generation"].unique().to_pylist()
        assert table.num_rows == rows_of(generation)
        found[path.relative_to(out).parts[0]] = generation
    return found


def leftovers(out: Path) -> list[str]:
    kept = (".aepipe/manifests", ".aepipe/locks", "scores", "features", "samples")
    files = [str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()]
    return [name for name in files if not name.startswith(kept) or name.endswith(".tmp")]


def staged_manifest_of(out: Path) -> Path | None:
    return next((out / ".aepipe").glob("staging/*/*/manifest.json"), None)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_next_commit_recovers_from_a_kill_at_any_step(in_memory: Path, committer: Committer, name: str) -> None:
    scenario = SCENARIOS[name]
    before = in_memory / "before"
    before.mkdir()
    if scenario.before:
        put(before, OLD, scenario.before, scenario.kind)

    outcomes = set()
    for kill_at in range(1, 200):
        out = in_memory / f"killed-{kill_at}"
        shutil.copytree(before, out)
        if committer.commit(out, NEW, scenario, kill_at=kill_at) != KILLED:
            break
        outcomes.add(check_what_was_left(out, scenario))
        shutil.rmtree(out)

    assert kill_at > 15
    assert outcomes == {"discarded", "rolled forward", "published"}
    assert seen(out) == scenario.new()


def check_what_was_left(out: Path, scenario: Scenario) -> str:
    left, staged = seen(out), staged_manifest_of(out)
    last = "samples" if scenario.kind is SAMPLE else "scores"
    assert all(left[output] in (OLD, NEW) for output in left)
    assert left.get(last) != NEW or left == scenario.new(), "the last output was replaced too early"
    if staged is not None:
        assert Outputs(out).done(scenario.kind, PARTITION, f"key {OLD}") is None
    assert staged is not None or left in (scenario.old(), scenario.new()), (
        "an incomplete commit that cannot be finished"
    )

    other = out.with_name("other")
    shutil.copytree(out, other)
    with pytest.raises(KeyError), Outputs(other).commit(scenario.kind, PARTITION, "another key") as commit:
        write(commit, scenario.after, NEXT)
        raise KeyError
    whole = scenario.new() if staged is not None or left == scenario.new() else scenario.old()
    assert seen(other) == whole
    check_is_clean(other, scenario.kind, whole)
    shutil.rmtree(other)

    rewritten = put(out, NEW, scenario.after, scenario.kind)
    assert rewritten == (whole == scenario.old())
    assert seen(out) == scenario.new()
    check_is_clean(out, scenario.kind, scenario.new())
    if staged is not None:
        return "rolled forward"
    return "published" if left == scenario.new() else "discarded"


def check_is_clean(out: Path, kind: RunKind[Any], expected: dict[str, int]) -> None:
    outputs = Outputs(out)
    assert leftovers(out) == []
    assert outputs.verify() == []
    manifest = outputs.manifest(kind, PARTITION)
    if manifest is None:
        assert expected == {}
    else:
        assert {output: record.rows for output, record in manifest.files.items()} == {
            output: rows_of(generation) for output, generation in expected.items()
        }
        assert outputs.done(kind, PARTITION, manifest.key) == manifest


@pytest.mark.slow
def test_repeated_kills_never_damage_the_files(in_memory: Path, committer: Committer) -> None:
    steps = random.Random(7)
    scenario = SCENARIOS["a second commit"]
    newest = 0
    for generation in range(1, 60):
        committer.commit(in_memory, generation, scenario, kill_at=steps.randint(1, 45))
        found = seen(in_memory)
        assert found.get("features", 0) >= found.get("scores", 0) >= newest
        newest = found.get("scores", 0)

    assert newest > 10
    assert put(in_memory, 100, BOTH, SCORE)
    assert seen(in_memory) == dict.fromkeys(BOTH, 100)
    check_is_clean(in_memory, SCORE, dict.fromkeys(BOTH, 100))


def test_killed_recovery_is_finished_by_the_next(in_memory: Path, committer: Committer) -> None:
    scenario = SCENARIOS["a second commit"]
    put(in_memory / "before", OLD, BOTH, SCORE)
    kill_at = 1
    while not killed_with_a_staged_manifest(in_memory, committer, kill_at):
        kill_at += 1

    for kill_again_at in range(1, 100):
        out = in_memory / f"again-{kill_again_at}"
        shutil.copytree(in_memory / "killed", out)
        if committer.commit(out, NEW, scenario, kill_at=kill_again_at) == DONE:
            break
        check_what_was_left(out, scenario)

    assert kill_again_at > 8
    assert seen(out) == scenario.new()


def killed_with_a_staged_manifest(tmp_path: Path, committer: Committer, kill_at: int) -> bool:
    out = tmp_path / "killed"
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(tmp_path / "before", out)
    assert committer.commit(out, NEW, SCENARIOS["a second commit"], kill_at=kill_at) == KILLED
    return staged_manifest_of(out) is not None


@pytest.mark.parametrize("name", SCENARIOS)
def test_files_are_synced_before_dependent_steps(tmp_path: Path, committer: Committer, name: str) -> None:
    scenario = SCENARIOS[name]
    out = tmp_path / "out"
    out.mkdir()
    if scenario.before:
        put(out, OLD, scenario.before, scenario.kind)

    committer.commit(out, NEW, scenario, trace=str(tmp_path / "trace"))

    unsynced: set[str] = set()
    finals = 0
    for event, *paths in json.loads((tmp_path / "trace").read_text()):
        if "/.aepipe/locks/" in paths[0]:
            continue
        if event == "open":
            unsynced.add(paths[0])
        elif event == "fsync":
            unsynced.discard(paths[0])
        elif event == "os.mkdir" or (event == "os.remove" and "/staging/" not in paths[0]):
            unsynced.add(str(Path(paths[0]).parent))
        elif event == "os.rename":
            source, target = paths
            if "/staging/" not in target:
                finals += 1
                assert not unsynced, f"{target} was replaced while {unsynced} could still be lost"
            assert source not in unsynced
            unsynced.add(str(Path(target).parent))
    assert finals == len(scenario.after) + 1
    assert not unsynced


def test_damaged_staged_file_is_discarded_with_its_manifest(in_memory: Path, committer: Committer) -> None:
    put(in_memory / "before", OLD, BOTH, SCORE)
    kill_at = 1
    while not killed_with_a_staged_manifest(in_memory, committer, kill_at):
        kill_at += 1
    out = in_memory / "killed"
    staged = next(out.glob(".aepipe/staging/score/*/scores.tmp"))
    data = bytearray(staged.read_bytes())
    data[len(data) // 2] ^= 1
    staged.write_bytes(data)

    assert put(out, NEW, BOTH, SCORE)
    check_is_clean(out, SCORE, dict.fromkeys(BOTH, NEW))


def test_commit_that_cannot_be_finished_leaves_no_key_done(in_memory: Path, committer: Committer) -> None:
    put(in_memory / "before", OLD, BOTH, SCORE)
    out, kill_at = in_memory / "killed", 1
    while not killed_with_a_staged_manifest(in_memory, committer, kill_at) or seen(out)["features"] == OLD:
        kill_at += 1
    assert seen(out) == {"features": NEW, "scores": OLD}
    next(out.glob(".aepipe/staging/score/*/scores.tmp")).write_bytes(b"")

    with Outputs(out).commit(SCORE, PARTITION, f"key {OLD}") as commit:
        assert commit.done is None

    assert leftovers(out) == []
    assert Outputs(out).manifest(SCORE, PARTITION) is None
    assert put(out, OLD, BOTH, SCORE)
    check_is_clean(out, SCORE, dict.fromkeys(BOTH, OLD))


def test_torn_staged_manifest_is_discarded(tmp_path: Path) -> None:
    put(tmp_path, OLD, BOTH, SCORE)
    staging = tmp_path / ".aepipe" / "staging" / "score" / "dt=1%2Fhour=2"
    staging.mkdir(parents=True)
    (staging / "manifest.json").write_text('{"contract": 1, "part')
    (staging / "scores.tmp").write_bytes(b"PAR1")

    assert not put(tmp_path, OLD, BOTH, SCORE)
    check_is_clean(tmp_path, SCORE, dict.fromkeys(BOTH, OLD))


@pytest.mark.parametrize("largest_file", [10_000, 200_000, 290_000])
def test_full_disk_leaves_nothing_and_changes_nothing(tmp_path: Path, committer: Committer, largest_file: int) -> None:
    put(tmp_path, OLD, BOTH, SCORE)

    status = committer.commit(tmp_path, NEW, SCENARIOS["a second commit"], largest_file=largest_file)

    assert status == DISK_FULL
    assert seen(tmp_path) == dict.fromkeys(BOTH, OLD)
    check_is_clean(tmp_path, SCORE, dict.fromkeys(BOTH, OLD))


def test_second_process_on_a_partition_is_busy_or_waits(tmp_path: Path, committer: Committer) -> None:
    out = tmp_path / "out"
    committer.begin(out, NEW, SCENARIOS["a first commit"], hold_until=str(tmp_path / "go"))
    while not (tmp_path / "held").exists():
        pass

    holder = (out / ".aepipe" / "locks" / "score" / "dt=1%2Fhour=2.lock").read_text()
    with pytest.raises(Busy, match=rf"dt=1%2Fhour=2\.lock is still held by process {holder} after .* s\. "):
        put(out, NEXT, BOTH, SCORE)
    assert int(holder) not in (os.getpid(), committer.process.pid)
    (tmp_path / "go").touch()
    with Outputs(out).commit(SCORE, PARTITION, f"key {NEW}", wait_s=30) as commit:
        assert commit.done is not None
        assert commit.done.model_version == f"m/{NEW}"

    assert committer.statuses() == [WRITTEN]
    assert seen(out) == dict.fromkeys(BOTH, NEW)


def test_other_partitions_and_runs_do_not_wait(tmp_path: Path) -> None:
    outputs, locks = Outputs(tmp_path), tmp_path / ".aepipe" / "locks"

    with outputs.commit(SCORE, "a", "key"), outputs.commit(SCORE, "b", "key"), outputs.commit(SAMPLE, "a", "key"):
        with pytest.raises(Busy), outputs.commit(SCORE, "a", "key"):
            raise AssertionError("two processes held one partition")
        held = [str(path.relative_to(locks)) for path in locks.rglob("*.lock")]

    assert sorted(held) == ["sample/a.lock", "score/a.lock", "score/b.lock"]


def test_one_of_many_processes_with_one_key_writes(tmp_path: Path, committer: Committer) -> None:
    committer.begin(tmp_path, NEW, SCENARIOS["a first commit"], processes=6, wait_s=60)

    assert sorted(committer.statuses()) == [WRITTEN, DONE, DONE, DONE, DONE, DONE]
    assert seen(tmp_path) == dict.fromkeys(BOTH, NEW)
    check_is_clean(tmp_path, SCORE, dict.fromkeys(BOTH, NEW))


def test_one_of_many_impatient_processes_writes_and_none_fails(tmp_path: Path, committer: Committer) -> None:
    committer.begin(tmp_path, NEW, SCENARIOS["a first commit"], processes=6)
    statuses = committer.statuses()

    assert statuses.count(WRITTEN) == 1
    assert set(statuses) <= {WRITTEN, DONE, BUSY}
    check_is_clean(tmp_path, SCORE, dict.fromkeys(BOTH, NEW))
