"""Interrupts of commands whose workers are other processes: one line, the code of the signal, and no worker left."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aepipe.storage import SCORE, Outputs, lock
from tests.support.linear_job import make_job

pytestmark = pytest.mark.slow

HELD = "dt=2026-01-03"


@pytest.mark.parametrize("engine", ["processes", "ray"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_with_one_line(tmp_path: Path, engine: str, number: signal.Signals, code: int) -> None:
    if engine == "ray":
        pytest.importorskip("ray", reason="the extra ray is not installed")
    job = make_job(tmp_path, nights=3)
    job.write_text(f'{job.read_text()}engine = "{engine}"\nworkers = 1\n')
    outputs = Outputs(tmp_path / "out" / "linear")

    with lock(outputs.root / ".aepipe" / "locks" / "score" / f"{HELD}.lock"):  # its worker waits
        words = [sys.executable, "-m", "aepipe.cli.main", "score", str(job)]
        with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
            try:
                deadline = time.monotonic() + 120
                while len(outputs.manifests(SCORE)) < 2:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
                process.send_signal(number)
                _, said = process.communicate(timeout=60)
            finally:
                process.kill()

    assert process.returncode == code
    lines = [line for line in said.splitlines() if line.strip() and "score: " not in line]
    assert lines == ["stopped: complete outputs are kept."]
    assert outputs.verify() == []
