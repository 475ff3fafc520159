"""Signals, full disks and closed streams, as a shell and a scheduler see them."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aepipe.cli.interrupts import describe_os_error
from aepipe.config.job import read_job
from aepipe.jobs.score import chosen_partitions
from aepipe.storage import lock
from aepipe.storage.locks import holder

NIGHT = "dt=2026-01-07"


def start(job: Path, *words: str, **streams: int | None) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "aepipe.cli.main", "score", str(job), *words],
        stdout=subprocess.PIPE,
        stderr=streams.get("stderr", subprocess.PIPE),
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_wait_for_a_lock_with_one_line(cells: Path, number: signal.Signals, code: int) -> None:
    path = cells.parent / "out" / ".aepipe" / "locks" / "score" / f"{NIGHT}.lock"
    with lock(path):
        process = start(cells)
        out = cells.parent / "out" / "scores"
        total = len(chosen_partitions(read_job(cells), None))
        deadline = time.monotonic() + 60
        while len(list(out.glob("*/part-0.parquet"))) < total - 1 and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)
        process.send_signal(number)
        _, said = process.communicate(timeout=20)

    assert process.returncode == code
    (line,) = [line for line in said.splitlines() if line.startswith("stopped: ")]
    assert line == f"stopped: {total - 1} of {total} partitions are complete. Run the command again for the others."
    assert "Traceback" not in said


def test_a_closed_standard_error_does_not_end_scoring(cells: Path) -> None:
    reading, writing = os.pipe()
    process = start(cells, stderr=writing)
    os.close(writing)
    os.close(reading)  # the reader has gone

    process.communicate(timeout=120)

    assert process.returncode == 0
    written = list((cells.parent / "out" / "scores").glob("*/part-0.parquet"))
    assert len(written) == len(chosen_partitions(read_job(cells), None))


def test_an_error_of_the_disk_names_path_remedy_and_what_was_done() -> None:
    error = OSError(errno.ENOSPC, "No space left on device", "out/scores")
    error.add_note("2 of 3 partitions are complete. Run the command again for the others.")

    assert describe_os_error(error) == (
        "out/scores: No space left on device. Free space and run the command again. "
        "2 of 3 partitions are complete. Run the command again for the others."
    )


def test_a_full_disk_does_not_stop_a_run_with_nothing_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.lock"
    with lock(path):
        pass

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with lock(path):
        assert holder(path) is None  # the name of the holder could not be written
