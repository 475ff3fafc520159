"""Series jobs and lineage whose data, outputs and bundles lie in an object store."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from aepipe.config.job import read_job
from aepipe.jobs.evaluate.evaluate import evaluate
from aepipe.jobs.report.current_page import report_if_changed
from aepipe.jobs.report.page_state import is_current, page_state
from aepipe.jobs.score import score
from aepipe.jobs.train.train import train
from aepipe.storage import SCORE, Outputs
from aepipe.stores import StorePath
from aepipe.tables.parquet_reader import slices
from tests.support.machines import JOB, STEPS, day_of, night
from tests.support.object_store import Store

pytestmark = pytest.mark.slow

DAYS, LEARNED = 8, 6


def job_at(root: str) -> str:
    """Return the text of a job whose data, outputs and bundles are in a folder or bucket."""
    folders = f'[output]\npath = "{root}/out"\nexported = "{root}/exported"\n[run]\nworkers = 1\n'
    return JOB.format(root=f"{root}/", last=night(LEARNED - 1)) + folders


def day(number: int) -> pa.Table:
    """Generate a day of two machines, one of them with a fault on the last day."""
    return day_of(number, machines=2, faulty="m1" if number == DAYS - 1 else None)


def scores_of(out: Path) -> list[list[float]]:
    found = []
    for manifest in Outputs(out).manifests(SCORE):
        path = out / manifest.files["scores"].path
        found.append(
            [value for batch in slices([path], ["score"], rows=10_000) for value in batch["score"].to_pylist()]
        )
    return found


def test_points_in_a_store_have_the_scores_of_local_files(store: Store, tmp_path: Path) -> None:
    local = tmp_path / "local"
    for number in range(DAYS):
        name = f"rows/{night(number)}/p.parquet"
        path = store.put_table(name, day(number))
        (local / name).parent.mkdir(parents=True)
        (local / name).write_bytes(path.read_bytes())
    jobs = {root: tmp_path / f"{at}.toml" for at, root in enumerate((str(store.bucket), str(local)))}

    for root, job in jobs.items():
        job.write_text(job_at(root))
        train(job)
        assert {night.status for night in score(job).nights} == {"written"}
        assert {night.status for night in score(job).nights} == {"already done"}
    in_store, on_disk = (scores_of(out) for out in (store.bucket / "out", local / "out"))

    assert in_store == on_disk
    assert Outputs(store.bucket / "out").verify() == []
    last = Outputs(store.bucket / "out").manifests(SCORE)[-1]
    assert set(last.files) >= {"scores", "events", "thresholds"}
    assert last.details.events
    assert evaluate(jobs[str(store.bucket)], label="fault").model_dump_json()


def test_lineage_names_the_objects_of_a_run(store: Store, tmp_path: Path) -> None:
    for number in range(DAYS):
        store.put_table(f"rows/{night(number)}/p.parquet", day(number))
    job = tmp_path / "job.toml"
    job.write_text(job_at(str(store.bucket)))

    train(job)
    score(job)

    files = [path for path in (store.bucket / "out").rglob("*") if "lineage" in path.parts]
    events = [json.loads(line) for path in files for line in path.read_bytes().splitlines()]
    runs = [event for event in events if event["eventType"] == "COMPLETE"]
    assert len(runs) == 1 + DAYS
    bucket = store.bucket.parts[1].partition("?")[0]
    for run in runs:
        for dataset in (*run["inputs"], *run["outputs"]):
            assert dataset["namespace"] == f"s3://{bucket}"
    assert runs[0]["inputs"][0]["name"] == "rows"
    assert runs[-1]["inputs"][0]["inputFacets"]["dataQualityMetrics"]["rowCount"] == 2 * STEPS
    assert {dataset["name"] for dataset in runs[-1]["outputs"]} >= {"out/scores"}


def test_a_page_in_a_store_is_made_again_only_after_a_change(store: Store, tmp_path: Path) -> None:
    for number in range(DAYS):
        store.put_table(f"rows/{night(number)}/p.parquet", day(number))
    job = tmp_path / "job.toml"
    job.write_text(job_at(str(store.bucket)).replace('[evaluate]\nanomaly = "fault"\n', ""))
    train(job)
    score(job)
    page = report_if_changed(job).path
    assert isinstance(page, StorePath)
    state = page_state(read_job(job), "champion")

    assert state is not None
    assert is_current(read_job(job), "champion", state)
    page.file_system.delete_file(page.in_store)
    assert not is_current(read_job(job), "champion", state)
    report_if_changed(job)
    assert is_current(read_job(job), "champion", state)
    store.put_table(f"rows/{night(DAYS)}/p.parquet", day(DAYS))  # windows may reach into it
    assert page_state(read_job(job), "champion") != state
