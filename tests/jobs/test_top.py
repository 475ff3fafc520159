"""State of jobs: scored partitions, flagged rows, and running commands."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from aepipe.cli.top_output import line_of, table_of
from aepipe.errors import JobInvalid
from aepipe.jobs.score import score
from aepipe.jobs.top import JobState, Overview, overview
from aepipe.storage import HIDDEN, lock


def test_a_scored_job_is_described_by_its_last_partition(cells: Path) -> None:
    result = score(cells)

    (state,) = overview([cells]).jobs

    last = result.nights[-1]
    assert (state.name, state.nights, state.last) == ("cells", len(result.nights), last.partition)
    assert (state.rows, state.flagged, state.invalid) == (last.rows, last.flagged, last.invalid)
    assert state.alarms == tuple(night.flagged for night in result.nights)
    assert f"cells/{state.champion}" == result.model_version
    assert state.running == ()
    assert line_of(state).endswith("flagged; idle")


def test_a_stage_runs_while_its_lock_is_held(cells: Path) -> None:
    locks = cells.parent / "out" / HIDDEN / "locks" / "score"

    with lock(cells.parent / "exported" / "cells" / ".training.lock"), lock(locks / "dt=2026-01-07.lock"):
        (state,) = overview([cells.parent]).jobs

    assert state.running == ("train", "score dt=2026-01-07")
    assert overview([cells]).jobs[0].running == ()


def test_a_lock_of_a_process_that_died_is_not_a_stage(cells: Path) -> None:
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    (cells.parent / "exported" / "cells" / ".training.lock").write_bytes(dead.stdout)

    assert overview([cells]).jobs[0].running == ()


def test_a_folder_lists_all_jobs_and_their_faults(cells: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken" / "job.toml"
    broken.parent.mkdir()
    broken.write_text("name = 5")

    found = overview([tmp_path])

    assert [state.name for state in found.jobs] == ["broken", "cells"]
    assert "name" in found.jobs[0].fault
    assert line_of(found.jobs[0]).startswith("broken: ")
    assert table_of(found).row_count == 2


def test_a_narrow_terminal_gets_fewer_columns_and_whole_words() -> None:
    jobs = [
        JobState(
            name=name,
            job=Path("job.toml"),
            champion="20261129T204156Z-984343ee",
            nights=28,
            last="dt=2013-02-28",
            rows=964,
            flagged=26,
            alarms=tuple(range(20)),
            quarantined=0,
            running=(),
        )
        for name in ("flights", "digits")
    ]
    shown = {}
    for width in (130, 80, 40):
        console = Console(width=width, file=io.StringIO())
        console.print(table_of(Overview(at="now", jobs=tuple(jobs)), width=width))
        shown[width] = console.file.getvalue()  # type: ignore[attr-defined]

    assert "20261129T204156Z-984343ee" in shown[130]
    assert "champion" not in shown[80]
    for text in shown.values():
        lines = text.splitlines()
        assert len(lines) == 7  # title, three of the header, one per job, one below
        assert sum("dt=2013-02-28" in line for line in lines) == 2


def test_a_place_without_a_job_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JobInvalid, match=r"has no job.toml: expected a job file or a folder of jobs"):
        overview([tmp_path])
