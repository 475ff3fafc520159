"""Series jobs and lineage whose data, outputs and bundles lie in an object store."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from aepipe.jobs.evaluate.evaluate import evaluate
from aepipe.jobs.score import score
from aepipe.jobs.train.train import train
from aepipe.storage import SCORE, Outputs
from aepipe.tables.parquet_reader import slices
from tests.support.object_store import Store

pytestmark = pytest.mark.slow

JOB = """
name = "machines"
[data]
path = "{root}/rows"
event_time = "at"
labels = ["fault"]
[series]
entity = ["machine"]
window = 24
[model]
family = "pca"
[train]
to = "2026-01-06"
[score]
head = "reconstruction"
[evaluate]
anomaly = "fault"
[output]
path = "{root}/out"
exported = "{root}/exported"
[run]
workers = 1
"""
DAYS, STEPS = 8, 96


def day_of(day: int) -> pa.Table:
    rng, step = np.random.default_rng(day), day * STEPS + np.arange(STEPS)
    at = np.datetime64("2026-01-01", "us") + step * np.timedelta64(900_000_000, "us")
    tables = []
    for machine in ("m0", "m1"):
        load = np.sin(2 * np.pi * step / 24) + rng.normal(0, 0.1, STEPS)
        fault = (step >= 7 * STEPS + 40) & (step < 7 * STEPS + 60) & (machine == "m1")
        load[fault] += 2
        tables.append(pa.table({"machine": [machine] * STEPS, "at": at, "load": load, "fault": fault}))
    return pa.concat_tables(tables)


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
    for day in range(DAYS):
        name = f"rows/dt={np.datetime64('2026-01-01') + day}/p.parquet"
        path = store.put_table(name, day_of(day))
        (local / name).parent.mkdir(parents=True)
        (local / name).write_bytes(path.read_bytes())
    jobs = {root: tmp_path / f"{at}.toml" for at, root in enumerate((str(store.bucket), str(local)))}

    for root, job in jobs.items():
        job.write_text(JOB.format(root=root))
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
    for day in range(DAYS):
        store.put_table(f"rows/dt={np.datetime64('2026-01-01') + day}/p.parquet", day_of(day))
    job = tmp_path / "job.toml"
    job.write_text(JOB.format(root=store.bucket))

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
