"""Notebooks of docs/notebooks: each runs, and its last table has the figures of the page about them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
NOTEBOOKS = {path.stem: path for path in sorted((DOCS / "notebooks").glob("*.py"))}


def _features(shown: str) -> None:
    accuracy = {name: float(mean) for name, mean in re.findall(r"^(\w+).*?(0\.\d+)  0\.\d+$", shown, re.MULTILINE)}
    assert accuracy.keys() == {"pixels", "latents", "principal"}
    assert accuracy["latents"] > accuracy["pixels"] - 0.05 > 0.7


def _triage(shown: str) -> None:
    ranking = dict(re.findall(r"^(aepipe vae|isolation forest|at random) +([\d.]+)$", shown, re.MULTILINE))
    assert float(ranking["aepipe vae"]) > float(ranking["isolation forest"]) + 0.2
    share = {
        night: float(flagged) for night, flagged in re.findall(r"^dt=2013-(\S+) +\d+ +([\d.]+)", shown, re.MULTILINE)
    }
    assert share["02-07"] < 0.1
    assert min(share["02-08"], share["02-09"]) > 0.3


def _augmentation(shown: str) -> None:
    lines = re.findall(r"^(logistic regression|boosted trees) +([\d.]+) +([\d.]+) +([\d.]+)$", shown, re.MULTILINE)
    assert [name for name, *_ in lines] == ["logistic regression", "boosted trees"]
    for _, *found in lines:
        assert max(map(float, found)) - min(map(float, found)) < 0.05  # synthetic rows make little difference
        assert min(map(float, found)) > 0.9


CHECKS = {"features_to_classifier": _features, "anomaly_triage": _triage, "augmentation": _augmentation}


def test_every_notebook_has_a_check_and_a_line_on_the_page() -> None:
    page = (DOCS / "notebooks.md").read_text()

    assert NOTEBOOKS.keys() == CHECKS.keys()
    for name, path in NOTEBOOKS.items():
        cells = re.split(r"^# %%", path.read_text(), flags=re.MULTILINE)
        assert "format_name: percent" in cells[0]
        assert cells[1].startswith(" [markdown]\n# # ")
        assert f"`{name}.py`" in page


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_and_its_table_is_true(tmp_path: Path, name: str) -> None:
    found = subprocess.run(
        [sys.executable, str(NOTEBOOKS[name])], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=900
    )

    assert found.returncode == 0, found.stderr
    CHECKS[name](found.stdout)
    assert not list(tmp_path.iterdir())
