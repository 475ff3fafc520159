"""The tutorial of docs/series.md, command by command."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

PAGE = Path(__file__).parents[1] / "docs" / "series.md"


@pytest.mark.slow
def test_the_tutorial_of_series_runs_and_finds_the_fault(tmp_path: Path) -> None:
    text = PAGE.read_text()
    (script,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    (commands,) = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)

    (tmp_path / "machines.py").write_text(script)
    modules = {"aepipe": ["-m", "aepipe.cli.main"], "python": []}
    for command in commands.strip().splitlines():
        name, *arguments = shlex.split(command)
        _run([sys.executable, *modules[name], *arguments], tmp_path)

    assert "[series]" in (tmp_path / "job.toml").read_text()
    night = tmp_path / "out" / "machines" / "events" / "dt=2026-01-11" / "part-0.parquet"
    (highest,) = pq.ParquetFile(night).read().sort_by([("peak_score", "descending")]).slice(0, 1).to_pylist()
    assert highest["machine"] == "m1"
    assert 8 <= highest["peak"].hour <= 10
    assert highest["channels"][0] == "load"


def _run(command: list[str], folder: Path) -> None:
    found = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
