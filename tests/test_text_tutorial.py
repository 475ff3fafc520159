"""The tutorial of docs/text.md, command by command."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

PAGE = Path(__file__).parents[1] / "docs" / "text.md"


@pytest.mark.slow
def test_the_tutorial_of_texts_runs_and_finds_new_kinds_of_lines(tmp_path: Path) -> None:
    text = PAGE.read_text()
    (script,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    (commands,) = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)

    (tmp_path / "logs.py").write_text(script)
    modules = {"aepipe": ["-m", "aepipe.cli.main"], "python": []}
    for command in commands.strip().splitlines():
        name, *arguments = shlex.split(command)
        _run([sys.executable, *modules[name], *arguments], tmp_path)

    assert '\nmessage  = "text"' in (tmp_path / "job.toml").read_text()
    flags, is_novel = [], []
    for night in ("dt=2026-01-05", "dt=2026-01-06"):
        scores = pq.ParquetFile(tmp_path / "out" / "logs" / "scores" / night / "part-0.parquet").read()
        source = pq.ParquetFile(tmp_path / "logs" / night / "part-0.parquet").read()
        assert scores["line_id"].to_pylist() == source["line_id"].to_pylist()
        flags += scores["is_anomaly"].to_pylist()
        is_novel += source["is_novel"].to_pylist()
    flagged, novel = np.array(flags), np.array(is_novel)
    assert flagged[novel].mean() > 0.5
    assert flagged[~novel].mean() < 0.03


def _run(command: list[str], folder: Path) -> None:
    found = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
