"""The tutorial of docs/waveforms.md, command by command; samples and explanations of its model."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

PAGE = Path(__file__).parents[1] / "docs" / "waveforms.md"


@pytest.mark.slow
def test_the_tutorial_of_waveforms_runs_and_ranks_damage_first(tmp_path: Path) -> None:
    text = PAGE.read_text()
    (script,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    (commands,) = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)

    (tmp_path / "bearings.py").write_text(script)
    for command in commands.strip().splitlines():
        _run(command, tmp_path)
        if command.startswith("aepipe init"):
            assert re.search(
                r"^vibration *= {waveform = {rate = 1.0}}   # lists of 1,200 samples in", _job(tmp_path), re.M
            )

    assert "rate = 12000" in _job(tmp_path)
    scores, is_damaged = [], []
    for night in ("dt=2026-01-05", "dt=2026-01-06"):
        found = pq.ParquetFile(tmp_path / "out" / "bearings" / "scores" / night / "part-0.parquet").read()
        source = pq.ParquetFile(tmp_path / "bearings" / night / "part-0.parquet").read()
        assert found["recording_id"].to_pylist() == source["recording_id"].to_pylist()
        scores += found["score"].to_pylist()
        is_damaged += source["is_damaged"].to_pylist()
    assert roc_auc_score(is_damaged, scores) > 0.8
    worst = source["recording_id"].to_pylist()[int(np.argmax(found["score"].to_numpy()))]
    assert "vibration" in _run(f"aepipe explain job.toml {worst}", tmp_path)
    _run("aepipe sample job.toml --rows 20 --seed 1", tmp_path)
    (made,) = (tmp_path / "out" / "bearings" / "samples").rglob("*.parquet")
    assert {len(wave) for wave in pq.ParquetFile(made).read()["vibration"].to_pylist()} == {1_200}


def _job(folder: Path) -> str:
    return (folder / "job.toml").read_text()


def _run(command: str, folder: Path) -> str:
    name, *arguments = shlex.split(command)
    modules = {"aepipe": ["-m", "aepipe.cli.main"], "python": []}
    found = subprocess.run(
        [sys.executable, *modules[name], *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout
