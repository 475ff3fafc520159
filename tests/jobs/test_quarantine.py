"""Quarantined partitions: shown with the reason, tried again, dropped; other outputs stay as they are."""

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aepipe.cli.main import app
from aepipe.errors import ArgumentInvalid, Busy
from aepipe.jobs.quarantine import drop_quarantine, list_quarantine, retry_quarantine
from aepipe.jobs.score import score
from aepipe.storage import Outputs, lock
from aepipe.storage.quarantine import read_notes

NIGHT = "dt=2026-01-06"
OTHERS = ("dt=2026-01-05", "dt=2026-01-07")


@pytest.fixture
def damaged(cells: Path) -> Path:
    """Score a job with one damaged partition; `kept` holds the intact file."""
    path = cells.parent / NIGHT / "part-0.parquet"
    (cells.parent / "kept").write_bytes(path.read_bytes())
    path.write_bytes(b"PAR1 and no more")
    score(cells)
    return cells


def repair(job: Path) -> None:
    path = job.parent / NIGHT / "part-0.parquet"
    path.write_bytes((job.parent / "kept").read_bytes())
    os.utime(path, (path.stat().st_mtime + 5, path.stat().st_mtime + 5))


def failed_samples(root: Path) -> Path:
    folder = root / ".aepipe" / "quarantine" / "_samples" / "dt=a"
    folder.mkdir(parents=True)
    (folder / "reason.txt").write_text("shapes: expected at least 0.9, got 0.1\n")
    (folder / "part-0.parquet.quarantined").write_bytes(b"rows")
    return folder


def test_a_partition_in_quarantine_is_listed_with_reason_and_files(damaged: Path) -> None:
    (found,) = list_quarantine(damaged).partitions

    assert (found.partition, found.kind, found.has_source, found.has_outputs) == (NIGHT, "score", True, False)
    assert "is not a complete Parquet file" in found.reason
    assert [file.state for file in found.files] == ["unchanged"]
    assert not found.is_changed
    repair(damaged)
    (found,) = list_quarantine(damaged, [NIGHT]).partitions
    assert found.is_changed
    (damaged.parent / NIGHT / "part-0.parquet").unlink()
    (found,) = list_quarantine(damaged).partitions
    assert [file.state for file in found.files] == ["gone"]


def test_a_retry_scores_what_was_repaired_and_nothing_else(damaged: Path) -> None:
    scores = damaged.parent / "out" / "scores"
    before = {name: (scores / name / "part-0.parquet").stat() for name in OTHERS}

    again = retry_quarantine(damaged)
    repair(damaged)
    done = retry_quarantine(damaged, [NIGHT])

    assert again is not None
    assert (again.outcome, again.failed) == ("failed", True)
    assert done is not None
    assert [(night.partition, night.status) for night in done.nights] == [(NIGHT, "written")]
    assert list_quarantine(damaged).partitions == ()
    assert retry_quarantine(damaged) is None
    assert {name: (scores / name / "part-0.parquet").stat() for name in OTHERS} == before


def test_a_dropped_partition_leaves_the_quarantine_and_outputs_stay(damaged: Path) -> None:
    folder = failed_samples(damaged.parent / "out")

    kinds = {(each.partition, each.kind) for each in list_quarantine(damaged).partitions}
    dropped = drop_quarantine(damaged, is_all=True)

    assert kinds == {("dt=a", "sample"), (NIGHT, "score")}
    assert set(dropped.partitions) == {"dt=a", NIGHT}
    assert len(dropped.files) == 3
    assert not any(folder.iterdir())
    assert list_quarantine(damaged).partitions == ()
    assert (damaged.parent / "out" / "scores" / OTHERS[0] / "part-0.parquet").exists()
    assert Outputs(damaged.parent / "out").verify() == []


def test_a_partition_is_named_in_full_or_by_its_date(damaged: Path) -> None:
    listed = list_quarantine(damaged, [NIGHT.removeprefix("dt=")]).partitions

    assert [each.partition for each in listed] == [NIGHT]


def test_wrong_names_are_refused_with_the_known_ones(damaged: Path) -> None:
    failed_samples(damaged.parent / "out")

    with pytest.raises(ArgumentInvalid, match=f"'dt=2026-01-08' is not in quarantine; did you mean '{NIGHT}'"):
        list_quarantine(damaged, ["dt=2026-01-08"])
    with pytest.raises(ArgumentInvalid, match="'dt=a' was not scored: its rows failed a check"):
        retry_quarantine(damaged, ["dt=a"])
    with pytest.raises(ArgumentInvalid, match="expected names of partitions, or all"):
        drop_quarantine(damaged)


def test_a_partition_that_another_process_writes_is_not_dropped(damaged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aepipe.jobs.quarantine._WAIT_S", 0.1)

    with lock(damaged.parent / "out" / ".aepipe" / "locks" / "score" / f"{NIGHT}.lock"), pytest.raises(Busy):
        drop_quarantine(damaged, [NIGHT])

    assert len(list_quarantine(damaged).partitions) == 1


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b"null", b'{"reason": 3}', b"[" * 50_000])
def test_a_note_that_cannot_be_read_is_listed(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / ".aepipe" / "quarantine" / "dt=b" / "hour=1.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)

    (note,) = read_notes(tmp_path)

    assert (note.partition, note.kind) == ("dt=b/hour=1", "score")
    assert "cannot be read" in note.reason


@pytest.mark.slow
def test_the_command_lists_shows_retries_and_drops(damaged: Path) -> None:
    def call(*words: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, ["quarantine", *words])
        assert done.exit_code == code, done.output
        return done.output

    assert NIGHT in call("list", str(damaged))
    assert "earlier scores do not exist" in call("show", str(damaged), NIGHT)
    assert json.loads(call("show", str(damaged), "--json"))["partitions"][0]["partition"] == NIGHT
    assert "0 of 1 partitions have scores, 1 is quarantined" in call("retry", str(damaged), code=1)
    assert "dropped 1 partitions, 1 files" in call("drop", str(damaged), NIGHT)
    assert "the quarantine is empty" in call("list", str(damaged))
    assert "nothing to retry" in call("retry", str(damaged))


def test_a_night_with_some_failures_is_partial(damaged: Path) -> None:
    done = CliRunner().invoke(app, ["score", str(damaged)])
    as_json = CliRunner().invoke(app, ["score", str(damaged), "--json"])

    assert done.exit_code == as_json.exit_code == 1
    assert "2 of 3 partitions have scores, 1 is quarantined: aepipe quarantine show" in done.output
    assert json.loads(as_json.stdout)["outcome"] == "partial"
    repair(damaged)
    assert score(damaged).outcome == "complete"
