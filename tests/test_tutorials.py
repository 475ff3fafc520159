"""The tutorials of docs/, block by block in the order of the page, and the examples in Python of the other pages.

A block of Python or TOML that the text before it names ("Save this script as `a.py`", "Replace `job.toml`", "Add to
`job.toml`") becomes that file. A block of sh is run by bash, any other block of Python by this process.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aepipe.bundles.aliases import read_log
from aepipe.jobs.train.train import train
from aepipe.storage import HIDDEN, SCORE, Outputs, lock
from tests.support.scripts import DOCS

ROOT = DOCS.parent
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
SECTION = re.compile(r"^## Tutorial.*?\n(.*?)(?=^## |\Z)", re.DOTALL | re.MULTILINE)
NAMED = re.compile(r"(Save (?:it|this script) as|Replace|Add to) `([\w.-]+)`")
FIRST = re.compile(r"Start in the folder of \[[^]]+\]\((\w+)\.md#")
Names = dict[str, Any]


def tutorials() -> dict[str, str]:
    """Return the text of the tutorial of each page that has one, by the page's name."""
    texts = {path.stem: path.read_text() for path in sorted(DOCS.glob("*.md"))}
    found = {page: SECTION.search(text) for page, text in texts.items()}
    return {page: match[1] for page, match in found.items() if match}


@pytest.fixture(scope="session")
def shell(shared_folder: Path) -> Callable[[str, Path], None]:
    """Run lines with bash in a folder, with the commands `aepipe` and `python` of this installation."""
    commands = shared_folder / "commands"
    commands.mkdir(exist_ok=True)
    for name, words in {"aepipe": "-m aepipe.cli.main", "python": ""}.items():
        script = commands / f"{name}.{os.getpid()}"
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        script.chmod(0o755)
        script.rename(commands / name)
    env = os.environ | {"PATH": f"{commands}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}

    def run(lines: str, folder: Path) -> None:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", lines],
            cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=900,
        )  # fmt: skip
        assert done.returncode == 0, lines + done.stdout + done.stderr
        assert "Traceback" not in done.stderr, done.stderr

    return run


def follow(text: str, folder: Path, shell: Callable[[str, Path], None]) -> Names:
    """Do what a tutorial says in a folder; return the names that its examples in Python define."""
    names: Names = {}
    end = 0
    for block in BLOCK.finditer(text):
        prose, (language, code), end = text[end : block.start()], block.groups(), block.end()
        if named := NAMED.findall(prose):
            verb, name = named[-1]
            with (folder / name).open("a" if verb == "Add to" else "w") as file:
                file.write(f"\n{code}")
        elif language == "sh":
            shell(code, folder)
        else:
            assert language == "python", f"a block of {language} has neither a file name nor a way to run it"
            run_python(code, folder, names)
    return names


def run_python(code: str, folder: Path, names: Names) -> None:
    before = Path.cwd()
    os.chdir(folder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            exec(code, names)
    finally:
        os.chdir(before)


def finished(page: str, shared: Path, shell: Callable[[str, Path], None]) -> Path:
    """Return the folder that a tutorial leaves behind, once per test run; read only."""
    folder = shared / "tutorials" / page
    folder.parent.mkdir(exist_ok=True)
    with lock(folder.with_suffix(".lock"), wait_s=900):
        if not (folder / ".done").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            follow(tutorials()[page], folder, shell)
            (folder / ".done").touch()
    return folder


def scores_of(folder: Path, job: str, *nights: str) -> pd.DataFrame:
    """Return the scores of nights with the columns of the source that they lack."""
    tables = []
    for night in nights:
        scores = pq.ParquetFile(folder / "out" / job / "scores" / night / "part-0.parquet").read().to_pandas()
        source = pq.ParquetFile(folder / job / night / "part-0.parquet").read().to_pandas()
        assert len(scores) == len(source)
        tables.append(scores.join(source[source.columns.difference(scores.columns)]))
    return pd.concat(tables, ignore_index=True)


def check_first_table(folder: Path, _: Names) -> None:
    assert '\nevent_time = "ordered_at"' in (folder / "job.toml").read_text()
    scores = scores_of(folder, "orders", "dt=2026-01-11", "dt=2026-01-12")
    assert scores["is_anomaly"][scores["is_wrong"]].all()
    assert scores["is_anomaly"][~scores["is_wrong"]].mean() <= 0.03
    assert (folder / "out" / "orders" / "reports" / "dt=2026-01-12.html").exists()


def check_images(folder: Path, _: Names) -> None:
    scores = scores_of(folder, "scans", "dt=2026-01-07", "dt=2026-01-08")
    assert (scores["digit"] == 9).sum() == 20
    assert scores["is_anomaly"][scores["digit"] == 9].mean() >= 0.5
    assert scores["is_anomaly"][scores["digit"] != 9].mean() <= 0.15
    pictures = [folder / "nine.png", *(folder / "new-scans").glob("*.png")]
    assert len(pictures) == 21
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)


def check_series(folder: Path, _: Names) -> None:
    assert "[series]" in (folder / "job.toml").read_text()
    night = folder / "out" / "machines" / "events" / "dt=2026-01-11" / "part-0.parquet"
    (highest,) = pq.ParquetFile(night).read().sort_by([("peak_score", "descending")]).slice(0, 1).to_pylist()
    assert highest["machine"] == "m1"
    assert 8 <= highest["peak"].hour <= 10
    assert highest["channels"][0] == "load"


def check_text(folder: Path, _: Names) -> None:
    assert '\nmessage  = "text"' in (folder / "job.toml").read_text()
    scores = scores_of(folder, "logs", "dt=2026-01-05", "dt=2026-01-06")
    assert scores["is_anomaly"][scores["is_novel"]].mean() > 0.5
    assert scores["is_anomaly"][~scores["is_novel"]].mean() < 0.03


def check_synthesis(folder: Path, _: Names) -> None:
    sets = sorted((folder / "out" / "synthetic-orders" / "samples").glob("*/part-0.parquet"))
    assert [path.parent.name for path in sets][1:] == ["kettles"]
    every, kettles = (pq.ParquetFile(path).read().to_pandas() for path in sets)
    assert len(every) == 1000
    assert set(every["product"]) == {"tea", "coffee", "mug", "kettle"}
    assert len(kettles) == 200
    assert set(kettles["product"]) == {"kettle"}
    assert (kettles["total"] > 50).all()
    real = scores_of(folder, "orders", "dt=2026-01-11", "dt=2026-01-12")
    for rows in (every, kettles):
        np.testing.assert_allclose(rows["pieces"] * rows["price"] + rows["shipping"], rows["total"], atol=0.01)
        assert not set(rows["order_id"]) & set(real["order_id"])


def check_operations(folder: Path, _: Names) -> None:
    outputs = Outputs(folder / "out" / "orders")
    assert len(outputs.manifests(SCORE)) == 18
    assert not outputs.quarantined()
    first, second, third = [each for each in read_log(folder / "exported" / "orders") if each.alias == "champion"]
    assert third.version == first.version != second.version
    assert third.is_rollback
    assert {manifest.model_version.rpartition("/")[2] for manifest in outputs.manifests(SCORE)} == {first.version}
    (verdict,) = [json.loads(line) for line in (outputs.root / HIDDEN / "feedback.jsonl").read_text().splitlines()]
    assert verdict["verdict"] == "expected"


def check_scaling(folder: Path, _: Names) -> None:
    assert len((folder / "before.txt").read_text().splitlines()) == 12
    assert 'engine = "processes"' in (folder / "job.toml").read_text()


def check_tables(folder: Path, names: Names) -> None:
    manifests = Outputs(folder / "out" / "orders").manifests(SCORE)
    assert [(f"dt={night}", scored, flagged) for night, scored, flagged, _ in names["nights"]] == [
        (manifest.partition, manifest.details.rows, manifest.details.flagged) for manifest in manifests
    ]
    assert names["flagged"].height == sum(manifest.details.flagged for manifest in manifests) > 0
    assert len(names["worst"]) == 10
    assert names["scores"].num_rows == names["frame"].height == 100
    assert names["scores"]["score"].to_pylist() == pytest.approx(names["frame"]["score"].to_list())
    assert len(list((folder / "orders_copy").glob("dt=*"))) == 12


CHECKS: dict[str, Callable[[Path, Names], None]] = {
    "first_table": check_first_table,
    "images": check_images,
    "operations": check_operations,
    "scaling": check_scaling,
    "series": check_series,
    "synthesis": check_synthesis,
    "tables": check_tables,
    "text": check_text,
}
"""Checks of the results that a tutorial promises, by page."""


def test_every_tutorial_has_a_check() -> None:
    assert sorted(tutorials()) == sorted([*CHECKS, "waveforms"])  # tests/test_waveform_tutorial.py runs that one


@pytest.mark.slow
@pytest.mark.parametrize("page", CHECKS)
def test_tutorial_runs_and_keeps_its_promises(
    page: str, tmp_path: Path, shared_folder: Path, shell: Callable[[str, Path], None]
) -> None:
    text = tutorials()[page]
    names: Names = {}
    if first := FIRST.search(text):
        for module in ("duckdb", "polars") if page == "tables" else ():
            pytest.importorskip(module)
        folder = Path(shutil.copytree(finished(first[1], shared_folder, shell), tmp_path / page))
        names = follow(text, folder, shell)
    else:
        folder = finished(page, shared_folder, shell)

    CHECKS[page](folder, names)


EXAMPLES = {"README.md": "## From Python", "docs/latents.md": "## Traversals", "docs/coming_from.md": "# Coming from"}
"""Pages with examples in Python of a trained model, and their section."""


@pytest.fixture(scope="module")
def masked_cells(trained_cells: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train the cells example with a model that can do all that the examples need, imputation included."""
    folder = Path(shutil.copytree(trained_cells, tmp_path_factory.mktemp("examples") / "cells"))
    shutil.rmtree(folder / "exported")
    job = folder / "job.toml"
    text = job.read_text().replace('family = "ae"', 'family = "masked_ae"')
    job.write_text(text.replace("epochs = 60", "epochs = 5"))
    train(job)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("page", EXAMPLES)
def test_examples_in_python_run(page: str, masked_cells: Path) -> None:
    section = (ROOT / page).read_text().partition(EXAMPLES[page])[2].partition("\n## ")[0]
    tables = [pq.ParquetFile(path).read() for path in sorted(masked_cells.glob("dt=*/*.parquet"))]
    rows = pa.concat_tables(tables).to_pandas()
    names = {
        "frame": rows, "rows": rows, "row": rows.head(1), "one": rows.head(1), "other": rows.tail(1),
        "malignant": rows[rows["diagnosis"] == "malignant"], "benign": rows[rows["diagnosis"] == "benign"],
    }  # fmt: skip
    codes = [code for language, code in BLOCK.findall(section) if language == "python"]

    assert codes
    for code in codes:
        run_python(f"import aepipe\n{code}", masked_cells, names)
