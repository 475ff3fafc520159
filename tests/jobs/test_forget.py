"""Partitions removed on request, and by `[output] keep`; kills at every step of a removal."""

import shutil
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import pytest

from aepipe.bundles.registry import Registry
from aepipe.config.retention import Retention, parse_retention
from aepipe.errors import ArgumentInvalid, JobInvalid
from aepipe.jobs.forget import forget
from aepipe.jobs.nightly import night
from aepipe.jobs.report.report import report
from aepipe.jobs.score import score
from aepipe.jobs.verify import verify
from aepipe.storage import SCORE, Outputs, page_of

NIGHT, LATEST = "dt=2026-01-05", "dt=2026-01-07"


def outputs_of(job: Path) -> Outputs:
    return Outputs(job.parent / "out")


def keep(job: Path, value: str) -> None:
    job.write_text(job.read_text().replace("[output]\n", f"[output]\nkeep = {value}\n", 1))


def scored_names(job: Path) -> list[str]:
    return [manifest.partition for manifest in outputs_of(job).manifests(SCORE)]


def traces(job: Path, partition: str) -> list[Path]:
    """Return the files of a partition in the outputs, except locks and the record of its removal."""
    name, out = partition.replace("/", "_"), job.parent / "out"
    found = [path for path in out.rglob("*") if path.is_file() and name in str(path.relative_to(out))]
    return [path for path in found if path.suffix != ".lock" and "forgotten" not in path.parts]


def test_dry_run_lists_the_files_and_removes_none(scored_cells: Path) -> None:
    before = traces(scored_cells, NIGHT)

    listed = forget(scored_cells, [NIGHT])

    assert not listed.is_done
    assert set(listed.partitions[0].files) == set(before)
    assert listed.partitions[0].bytes == sum(path.stat().st_size for path in before)
    assert traces(scored_cells, NIGHT) == before


def test_outputs_manifest_and_page_go_together_and_the_rest_stays(scored_cells: Path) -> None:
    page = report(scored_cells).path
    others = [name for name in scored_names(scored_cells) if name != LATEST]

    forget(scored_cells, [LATEST], is_confirmed=True)

    assert page.name == page_of(LATEST)
    assert traces(scored_cells, LATEST) == []
    assert not (scored_cells.parent / "out" / "scores" / LATEST).exists()
    assert scored_names(scored_cells) == others
    assert verify(scored_cells).faults == ()


def test_a_removed_partition_is_scored_again_only_by_name(scored_cells: Path) -> None:
    forget(scored_cells, [NIGHT], is_confirmed=True)

    after = score(scored_cells)
    assert NIGHT not in [each.partition for each in after.nights]
    assert any(NIGHT in note for note in after.notes)

    named = score(scored_cells, partitions=[NIGHT])
    assert [each.status for each in named.nights] == ["written"]
    assert score(scored_cells).notes == ()


def test_a_range_names_partitions_as_score_does(scored_cells: Path) -> None:
    listed = forget(scored_cells, first="2026-01-06")

    assert [each.partition for each in listed.partitions] == ["dt=2026-01-06", LATEST]


def test_partition_of_a_removed_source_can_be_removed(scored_cells: Path) -> None:
    shutil.rmtree(scored_cells.parent / NIGHT)

    found = forget(scored_cells, ["2026-01-05"], is_confirmed=True)

    assert not found.partitions[0].has_source
    assert traces(scored_cells, NIGHT) == []


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (["dt=2026-01-55"], {}, "has no outputs; did you mean"),
        ([], {}, "only one of them"),
        ([NIGHT], {"first": NIGHT}, "only one of them"),
        ([], {"is_expired": True}, r"no \[output\] keep"),
    ],
)
def test_unclear_request_is_refused(scored_cells: Path, names: list[str], options: dict, message: str) -> None:
    with pytest.raises(ArgumentInvalid, match=message):
        forget(scored_cells, names, **options)


KILLED = """
import os, sys
from pathlib import Path
import aepipe.storage.atomic_files as files, aepipe.storage.forget as removal
from aepipe.jobs.forget import forget
calls = 0
def dying(real):
    def call(*args):
        global calls
        if calls == int(sys.argv[2]):
            os._exit(9)
        calls += 1
        real(*args)
    return call
removal.remove, removal.put_json = dying(removal.remove), dying(removal.put_json)
forget(sys.argv[1], [sys.argv[3]], is_confirmed=True)
"""


@pytest.mark.slow
def test_kill_at_any_step_leaves_no_output_that_counts_as_done_and_the_next_run_finishes(scored_cells: Path) -> None:
    steps = 0
    while True:
        score(scored_cells, partitions=[NIGHT])
        died = subprocess.run([sys.executable, "-c", KILLED, str(scored_cells), str(steps), NIGHT], check=False)
        if died.returncode == 0:
            break
        assert died.returncode == 9
        begun = steps > 0
        faults = verify(scored_cells).faults
        assert any(NIGHT in fault for fault in faults) == begun, faults
        again = score(scored_cells)
        assert (NIGHT in [each.partition for each in again.nights]) != begun
        assert (traces(scored_cells, NIGHT) == []) == begun
        assert verify(scored_cells).faults == ()
        steps += 1
    assert steps >= 5  # note, two outputs, manifest, note


@pytest.mark.slow
def test_keep_a_number_of_partitions(scored_cells: Path) -> None:
    total = len(scored_names(scored_cells))
    keep(scored_cells, "2")

    result = night(scored_cells)

    assert result.removed is not None
    assert len(result.removed.partitions) == total - 2
    assert scored_names(scored_cells) == ["dt=2026-01-06", LATEST]
    assert any(line.startswith("expired ") for line in result.lines())
    again = night(scored_cells)
    assert again.removed is not None
    assert again.removed.is_empty
    assert [each.status for each in again.score.nights] == ["already done"] * 2


def test_keep_an_age_counts_from_today(scored_cells: Path) -> None:
    days = (date.today() - date(2026, 1, 6)).days
    keep(scored_cells, f"'{days} days'")

    assert scored_names(scored_cells)[0] < "dt=2026-01-06"
    listed = forget(scored_cells, is_expired=True)
    removed = forget(scored_cells, is_expired=True, is_confirmed=True)

    assert scored_names(scored_cells) == ["dt=2026-01-06", LATEST]
    assert [each.partition for each in listed.partitions] == [each.partition for each in removed.partitions]


def test_unused_old_bundles_are_removed_and_referred_ones_kept(scored_cells: Path) -> None:
    folder = scored_cells.parent / "exported" / "cells"
    registry = Registry(folder)
    (champion,) = registry.versions()
    unused, previous = (f"2020010{day}T000000Z-{day * 8}" for day in "12")
    for version in (unused, previous):
        shutil.copytree(folder / champion, folder / version)
    line = (folder / "aliases.jsonl").read_text().splitlines()[0]
    (folder / "aliases.jsonl").write_text(line.replace('"previous":null', f'"previous":"{previous}"') + "\n")
    keep(scored_cells, "1")

    removed = forget(scored_cells, is_expired=True, is_confirmed=True)

    assert [path.name for path in removed.bundles] == [unused]
    assert registry.versions() == (previous, champion)


def test_source_and_outputs_removed_by_hand_do_not_stop_the_night(scored_cells: Path) -> None:
    folder = scored_cells.parent
    for path in (folder / NIGHT, folder / "out" / "scores" / NIGHT, folder / "out" / "features" / NIGHT):
        shutil.rmtree(path)

    result = night(scored_cells)

    assert result.report is not None
    assert NIGHT not in [each.partition for each in result.score.nights]


@pytest.mark.parametrize("value", ["0", "'0 days'", "'90'", "true", "'a while'", "-3", "'3 months'"])
def test_keep_that_is_not_a_retention_is_a_fault_of_the_job(scored_cells: Path, value: str) -> None:
    keep(scored_cells, value)

    if value == "'90'":
        assert parse_retention("90") == Retention(partitions=90)
        return
    with pytest.raises(JobInvalid, match="keep"):
        score(scored_cells)


def test_yesterday_is_kept_by_an_age_of_a_day() -> None:
    assert Retention(days=1).oldest_kept(date(2026, 3, 1)) == date(2026, 3, 1) - timedelta(days=1)
