"""Series jobs from the job file to alarms, evaluation and report, through the command line."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_allclose

from aepipe.bundles.bundle import Bundle
from aepipe.config.job import parse_job, read_job
from aepipe.errors import JobInvalid, SchemaMismatch
from aepipe.inference.table_model import TableModel
from aepipe.jobs.train.series_rows import read_series
from aepipe.tables.partitions import discover
from tests.support.machines import JOB, STEPS, write_machines

DAYS = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a job of three machines, one of them with a fault on the last day but one."""
    return write_machines(tmp_path_factory.mktemp("machines"), days=DAYS, fault_on=DAYS - 2, learned=8).parent


def _aepipe(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "aepipe.cli.main", *arguments]
    found = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def _read(folder: Path, output: str) -> pa.Table:
    files = sorted((folder / "out" / "machines" / output).rglob("*.parquet"))
    return pa.concat_tables([pq.ParquetFile(file).read() for file in files], promote_options="permissive")


@pytest.mark.slow
def test_a_night_of_series_is_trained_scored_evaluated_and_reported(folder: Path) -> None:
    assert "explain one: aepipe explain job.toml --row dt=2026-01-" in _aepipe(folder, "run", "job.toml")

    assert "events: " in _aepipe(folder, "score", "job.toml")
    scores, events = _read(folder, "scores"), _read(folder, "events")
    assert scores.num_rows == DAYS * STEPS * 3
    assert scores["score"].null_count == 0
    fault = scores.filter(scores["fault"])
    assert pc.min(fault["score"]).as_py() > 2 * pc.mean(scores["score"]).as_py()
    flagged = fault.filter(fault["is_anomaly"])
    assert flagged.num_rows > 0
    assert set(flagged["channel"].to_pylist()) == {"load"}
    highest = events.sort_by([("peak_score", "descending")]).slice(0, 1).to_pylist()[0]
    assert highest["machine"] == "m1"
    assert highest["peak"] in fault["at"].to_pylist()
    (page,) = (folder / "out" / "machines" / "reports").glob("*.html")
    assert ", alarm" in page.read_text()  # a point with a tooltip

    found = json.loads(_aepipe(folder, "evaluate", "job.toml", "--from", "2026-01-09", "--json"))
    ours, *others = found["contenders"]
    assert ours["vus_pr"] > 0.9
    assert ours["event_recall"] == 1
    assert {each["name"] for each in others} == {"random", "max |z|", "moving variance", "PCA", "isolation forest"}
    assert found["events"] == 1

    result = json.loads(_aepipe(folder, "calibrate", "job.toml", "--partition", "2026-01-09", "--json"))
    assert result["rows"] == 3 * STEPS

    bundle = Bundle.open(next(path for path in (folder / "exported" / "machines").iterdir() if path.is_dir()))
    last = pq.ParquetFile(next((folder / "rows" / "dt=2026-01-12").iterdir())).read()
    points = TableModel(bundle).score(last)
    first = pq.ParquetFile(next((folder / "rows" / "dt=2026-01-01").iterdir())).read()
    written = pq.ParquetFile(folder / "out" / "machines" / "scores" / "dt=2026-01-01" / "part-0.parquet").read()
    assert_allclose(TableModel(bundle).score(first)["score"], written["score"], rtol=1e-4)
    assert points.num_rows == last.num_rows
    assert points["score"].null_count == 0


@pytest.mark.parametrize("key", ["entity", "values"])
def test_an_unknown_column_is_named_with_its_key(folder: Path, key: str) -> None:
    job = parse_job(
        {
            "name": "a",
            "data": {"path": str(folder / "rows"), "event_time": "at"},
            "series": {"entity": ["machine"]} | {key: ["heatt"]},
        },
        source=folder / "job.toml",
    )

    with pytest.raises(
        SchemaMismatch, match=rf"has no column 'heatt', which \[series\] {key} names; did you mean 'heat'"
    ):
        read_series(job, discover(job))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ('step = "often"', "step is not a duration: expected auto, row or a duration such as 5min or 1h, got 'often'"),
        ("window = 2", "series.window"),
        ('values = ["fault"]', "column 'fault' has two roles: expected one, got values and [data] labels"),
        ('[calibration]\nper = "entity"', "[calibration] per does not fit the points of a series"),
        ('[score]\nclasses = "fault"', "[score] classes does not fit the points of a series"),
    ],
)
def test_faults_of_a_series_job_are_named(tmp_path: Path, change: str, fault: str) -> None:
    job = JOB.format(root="", last="2026-01-08").replace("window = 24", change if not change.startswith("[") else "")
    if change.startswith("["):
        job = job.replace('[score]\nhead = "reconstruction"', change)
    (tmp_path / "job.toml").write_text(job)

    with pytest.raises(JobInvalid) as error:
        read_job(tmp_path / "job.toml")
    assert fault in str(error.value)


def test_defaults_of_a_series_job(tmp_path: Path) -> None:
    raw: dict[str, Any] = {"name": "a", "data": {"path": "rows", "event_time": "at"}, "series": {"entity": "machine"}}

    job = parse_job(raw, source=tmp_path / "job.toml")

    assert job.calibration.adaptive
    assert job.data.keys == ("machine", "at")
    assert job.data.entity == ("machine",)
    again = parse_job(json.loads(job.model_dump_json(by_alias=True)), source=tmp_path / "job.toml")
    assert again == job
    assert not parse_job(raw | {"calibration": {"adaptive": False}}, source=tmp_path / "job.toml").calibration.adaptive
