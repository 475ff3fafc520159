"""The nightly Prefect flow on real rows: its outputs, and its message about a corrupt partition."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from prefect.client.orchestration import get_client

from aepipe.errors import BundleNotFound
from flows.engine import Unfinished
from flows.nightly import NightlyResult, NightOptions, nightly
from flows.score import ScoreOptions, chunks, score
from flows.synthesize import SynthesizeOptions, synthesize
from flows.train import TrainOptions, train
from tests.conftest import UNCHECKED

on_a_server = pytest.mark.usefixtures("prefect_server")
NIGHTS = ["dt=2026-01-05", "dt=2026-01-06", "dt=2026-01-07"]


def scores(job: Path, partition: str) -> Path:
    return job.parent / "out" / "scores" / partition / "part-0.parquet"


def latest_artifact(key: str) -> Any:
    """Return the latest artifact under a key: the rows of a table, or text."""
    with get_client(sync_client=True) as client:
        artifact = client.request("GET", f"/artifacts/{key}/latest").json()
    return json.loads(artifact["data"]) if artifact["type"] == "table" else artifact["data"]


@pytest.mark.slow
@on_a_server
def test_nightly_flow_writes_scores_features_samples_and_a_report(plain_cells: Path) -> None:
    plain_cells.write_text(plain_cells.read_text() + '[[publish]]\ndelta = "scores_table"\n')

    night = nightly(NightOptions(job=plain_cells))

    assert night.train is None  # there is a champion
    assert [(scored.partition, scored.status) for scored in night.nights] == [(name, "written") for name in NIGHTS]
    for scored in night.nights:
        assert scored.scores == scores(plain_cells, scored.partition)
        assert pq.read_metadata(scored.scores).num_rows == pq.read_metadata(scored.features).num_rows == scored.rows > 0
    assert night.sample is not None
    assert pq.read_metadata(night.sample.path).num_rows == night.sample.rows == 500
    assert night.report is not None
    assert night.report.path.as_uri() in latest_artifact("report-cells")
    summary = latest_artifact("summary-cells")
    assert f"new partitions: {len(NIGHTS)}, already done: 0, failed: 0" in summary
    assert "## Strongest alarms" in summary
    with get_client(sync_client=True) as client:
        named = [each for each in client.read_flow_runs() if each.name.startswith(f"nightly cells: {NIGHTS[0]} to")]
    assert {"aepipe", "cells", f"partition:{NIGHTS[0]}"} <= set(named[0].tags)
    assert any(tag.startswith("model:") for tag in named[0].tags)
    table = latest_artifact("night-cells")
    assert [(row["partition"], row["status"], row["rows"]) for row in table] == [
        (scored.partition, "written", scored.rows) for scored in night.nights
    ]
    (lineage,) = (plain_cells.parent / "out" / ".aepipe" / "lineage").glob("*.ndjson")
    events = [json.loads(line) for line in lineage.read_text().splitlines()]
    runs = {event["run"]["runId"] for event in events if event["job"]["name"] == "cells.night"}
    of_scores = [event for event in events if event["job"]["name"] == "cells.score"]
    assert len(runs) == 1
    assert len(of_scores) == 2 * len(NIGHTS)
    assert {event["run"]["facets"]["parent"]["run"]["runId"] for event in of_scores} == runs
    published = DeltaTable(str(plain_cells.parent / "scores_table")).to_pyarrow_table()
    assert published.num_rows == sum(scored.rows for scored in night.nights)


@pytest.mark.slow
@on_a_server
def test_corrupt_partition_fails_the_run_after_the_rest_is_done(plain_cells: Path) -> None:
    (plain_cells.parent / NIGHTS[1] / "part-0.parquet").write_bytes(b"PAR1 and nothing more")

    state = nightly(NightOptions(job=plain_cells), return_state=True)

    assert state.is_failed()
    assert state.name == "Partial"
    assert state.message is not None
    assert state.message.startswith(f"1 partition has no new scores: {NIGHTS[1]}: ")
    assert "part-0.parquet" in state.message
    assert [scores(plain_cells, name).exists() for name in NIGHTS] == [True, False, True]
    row = latest_artifact("night-cells")[1]
    assert (row["partition"], row["status"]) == (NIGHTS[1], "quarantined")
    assert "part-0.parquet" in row["reason"]
    with pytest.raises(Unfinished) as fault:
        state.result()
    assert isinstance(fault.value.done, NightlyResult)
    assert [night.status for night in fault.value.done.nights] == ["written", "quarantined", "written"]
    assert fault.value.done.sample is not None
    assert fault.value.done.report is not None


@pytest.mark.slow
@on_a_server
def test_second_run_writes_nothing(cells: Path) -> None:
    score(ScoreOptions(job=cells, partitions=(NIGHTS[0],)))
    before = scores(cells, NIGHTS[0]).stat()

    nights = score(ScoreOptions(job=cells))

    assert [night.status for night in nights] == ["already done", "written", "written"]
    assert (scores(cells, NIGHTS[0]).stat().st_mtime_ns, scores(cells, NIGHTS[0]).stat().st_ino) == (
        before.st_mtime_ns,
        before.st_ino,
    )


@pytest.mark.slow
@on_a_server
def test_first_night_trains(plain_cells: Path) -> None:
    shutil.rmtree(plain_cells.parent / "exported")
    plain_cells.write_text(plain_cells.read_text().replace('family = "ae"\ntrunk = "mlp"', 'family = "pca"'))

    night = nightly(NightOptions(job=plain_cells, partitions=(NIGHTS[0],), samples=False))

    assert night.train is not None
    assert night.train.created
    assert [scored.status for scored in night.nights] == ["written"]
    assert night.sample is None


@pytest.mark.slow
@on_a_server
def test_training_again_on_the_same_rows_does_nothing(cells: Path) -> None:
    result = train(TrainOptions(job=cells))

    assert not result.created
    assert result.bundle.parent == cells.parent / "exported" / "cells"


@pytest.mark.slow
@on_a_server
def test_each_partition_of_samples_has_its_own_seed(cells: Path) -> None:
    first, again, other = (
        synthesize(SynthesizeOptions(job=cells, rows=20, partition=name)) for name in ("dt=a", "dt=a", "dt=b")
    )

    assert (first.created, again.created, other.created) == (True, False, True)
    assert first.seed == again.seed != other.seed
    assert pq.read_table(first.path, partitioning=None) != pq.read_table(other.path, partitioning=None)


@pytest.mark.slow
@on_a_server
def test_failed_quality_check_fails_the_run_with_a_message(cells: Path) -> None:
    cells.write_text(cells.read_text().replace(UNCHECKED, "quality = { shapes = 0.9999 }\n"))

    state = synthesize(SynthesizeOptions(job=cells, rows=100, partition="dt=a"), return_state=True)

    assert state.is_failed()
    assert state.message is not None
    assert state.message.startswith("100 synthetic rows are quarantined in ")
    assert "expected at least 0.9999" in state.message
    assert not (cells.parent / "out" / "samples").exists()


@pytest.mark.slow
@on_a_server
def test_missing_model_error_names_the_command(cells: Path) -> None:
    state = score(ScoreOptions(job=cells, model="challenger"), return_state=True)

    assert state.is_failed()
    assert state.message is not None
    assert "challenger" in state.message
    with pytest.raises(BundleNotFound):
        state.result()


def test_many_partitions_share_a_bounded_number_of_tasks() -> None:
    names = [f"dt={number}" for number in range(1_001)]

    found = list(chunks(names))

    assert len(found) <= 200
    assert [name for chunk in found for name in chunk] == names
    assert list(chunks([])) == []
