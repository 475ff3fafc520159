"""Clocks that are set back, sources that change during a run, locks of dead processes, links to other disks."""

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, tzinfo
from pathlib import Path

import pytest

import aepipe.jobs.score as score_module
import aepipe.storage.commit as commit_module
from aepipe.bundles.registry import Registry
from aepipe.jobs.score import score
from aepipe.jobs.verify import verify
from tests.faults.nights import make_job, parquet, rows, scored

pytestmark = pytest.mark.slow


@pytest.fixture
def job(tmp_path: Path) -> Path:
    return make_job(tmp_path / "case", {"one": parquet(rows(seed=1)), "two": parquet(rows(seed=2))})


class Past(datetime):
    """Clock that was set back by years."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "Past":
        return cls(2001, 1, 1, tzinfo=tz)


def statuses(job: Path) -> list[str]:
    return [night.status for night in score(job).nights]


def test_a_clock_that_is_set_back_changes_neither_what_is_due_nor_the_order_of_aliases(
    job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score(job)
    monkeypatch.setattr(commit_module, "datetime", Past)
    monkeypatch.setattr("aepipe.bundles.registry.datetime", Past)
    (job.parent / "table" / "dt=two" / "part-0.parquet").write_bytes(parquet(rows(seed=3)))

    assert statuses(job) == ["already done", "written"]
    assert statuses(job) == ["already done", "already done"]
    registry = Registry(job.parent / "exported" / "linear")
    registry.set_alias("champion", registry.versions()[0], who="me", why="again")
    times = [naming.when for naming in registry.history()]
    assert times == sorted(times)
    assert verify(job).faults == ()


def test_a_source_that_is_deleted_between_listing_and_reading_costs_its_partition(
    job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = score_module.discover

    def list_and_delete(*arguments: object, **options: object) -> object:
        found = real(*arguments, **options)  # type: ignore[arg-type]
        shutil.rmtree(job.parent / "table" / "dt=one")
        return found

    monkeypatch.setattr(score_module, "discover", list_and_delete)

    one, two = score(job).nights

    assert one.status == "quarantined"
    assert "dt=one/part-0.parquet" in one.reason
    assert two.status == "written"
    assert scored(job.parent, "one") is None


def test_a_lock_file_of_a_dead_process_blocks_no_run(job: Path) -> None:
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    path = job.parent / "out" / ".aepipe" / "locks" / "score" / "dt=one.lock"
    path.parent.mkdir(parents=True)
    path.write_bytes(dead.stdout.strip())

    assert statuses(job) == ["written", "written"]


def test_outputs_on_another_file_system_are_refused_before_anything_is_replaced(job: Path) -> None:
    other = Path("/dev/shm")
    if not os.access(other, os.W_OK) or other.stat().st_dev == job.stat().st_dev:
        pytest.skip("needs a second file system")
    target = other / f"aepipe-{os.getpid()}"
    target.mkdir()
    try:
        (job.parent / "out").mkdir()
        (job.parent / "out" / "scores").symlink_to(target)

        with pytest.raises(OSError, match="is on another file system than") as caught:
            score(job)

        assert str(job.parent / "out" / "scores") in str(caught.value.filename)
        assert list(target.rglob("*.parquet")) == []
    finally:
        shutil.rmtree(target)


def test_a_manifest_of_the_future_does_not_cause_scoring_again(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Future(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Future":
            return cls(2101, 1, 1, tzinfo=tz or UTC)

    monkeypatch.setattr(commit_module, "datetime", Future)
    score(job)
    monkeypatch.undo()

    assert statuses(job) == ["already done", "already done"]
