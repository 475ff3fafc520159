"""Lineage of scored partitions, samples and training: events against the specification, in a file and over HTTP."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jsonschema
import pytest

from aepipe.bundles.registry import Registry
from aepipe.config.job import read_job
from aepipe.jobs.lineage.emit import CommitEvents, emit, emit_training, parent_run
from aepipe.jobs.lineage.events import Event, dataset, event_time
from aepipe.jobs.sample.sample import sample
from aepipe.jobs.score import score
from aepipe.storage import SCORE, Outputs, read_parquet
from aepipe.stores.store_path import as_path
from aepipe.tables.partitions import discover
from tests.support.mail_server import web_server
from tests.support.two_models import DAYS, write_job

SCHEMA = json.loads((Path(__file__).parents[2] / "fixtures" / "openlineage_2_0_2.json").read_text())


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", "DISABLED", "NAMESPACE", "PARENT_ID", "API_KEY", "ENDPOINT"):
        monkeypatch.delenv(f"OPENLINEAGE_{name}", raising=False)


@pytest.fixture
def job(tmp_path: Path) -> Path:
    return write_job(tmp_path, "[samples]\nquality = { check = false }\n")


def events_of(job: Path) -> list[Event]:
    folder = read_job(job).out_path / ".aepipe" / "lineage"
    return [json.loads(line) for path in sorted(folder.glob("*.ndjson")) for line in path.read_text().splitlines()]


def check(events: list[Event]) -> None:
    validator = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker())
    assert [error.message for event in events for error in validator.iter_errors(event)] == []


def test_each_written_partition_is_a_run_with_its_inputs_and_outputs(job: Path) -> None:
    score(job)

    events = events_of(job)
    check(events)
    assert [event["eventType"] for event in events] == ["START", "COMPLETE"] * 3
    for (start, complete), day in zip(zip(events[::2], events[1::2], strict=True), DAYS, strict=True):
        assert start["run"]["runId"] == complete["run"]["runId"]
        assert start["eventTime"] < complete["eventTime"]
        assert complete["job"] == {"namespace": "aepipe", "name": "linear.score"}
        manifest = Outputs(read_job(job).out_path).manifest(SCORE, day)
        facet = complete["run"]["facets"]["aepipe"]
        assert (facet["partition"], facet["rows"], facet["flagged"]) == (day, 200, manifest.details.flagged)
        source, model = complete["inputs"]
        assert source["name"] == str((job.parent / "rows").resolve())
        assert source["inputFacets"]["dataQualityMetrics"]["rowCount"] == 200
        assert source["inputFacets"]["dataQualityMetrics"]["columnMetrics"]["a"] == {"nullCount": 0}
        assert model["name"].endswith(manifest.model_version)
        outputs = {Path(each["name"]).name: each for each in complete["outputs"]}
        assert outputs.keys() == {"scores", "features"}
        table = read_parquet(read_job(job).out_path / manifest.files["scores"].path)
        fields = outputs["scores"]["facets"]["schema"]["fields"]
        assert [field["name"] for field in fields] == table.column_names
        assert outputs["scores"]["outputFacets"]["outputStatistics"]["rowCount"] == 200


def test_events_of_a_run_equal_events_from_its_files(job: Path) -> None:
    result = score(job)

    from_files = CommitEvents(read_job(job))
    expected = [event for night in result.nights for event in from_files.of_commit(SCORE, night.partition, {})]
    assert all(night.written is not None and night.written.source is not None for night in result.nights)
    assert events_of(job) == json.loads(json.dumps(expected))


def test_datasets_of_object_stores_are_named_by_bucket_and_key(tmp_path: Path) -> None:
    found = dataset(as_path("s3://plant/rows/raw"))

    assert (found["namespace"], found["name"]) == ("s3://plant", "rows/raw")
    assert dataset(tmp_path)["namespace"] == "file"


def test_completed_partitions_are_not_runs_and_a_failure_names_its_reason(job: Path) -> None:
    score(job)
    before = len(events_of(job))
    score(job)
    assert len(events_of(job)) == before

    (job.parent / "rows" / DAYS[1] / "part-0.parquet").write_bytes(b"no parquet")
    score(job)

    start, fail = events_of(job)[before:]
    check([start, fail])
    assert (start["eventType"], fail["eventType"]) == ("START", "FAIL")
    assert fail["run"]["facets"]["aepipe"]["partition"] == DAYS[1]
    assert "part-0.parquet" in fail["run"]["facets"]["errorMessage"]["message"]


def test_the_next_run_writes_the_events_of_partitions_whose_process_was_killed_after_the_commit(
    job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with parent_run(read_job(job), "night"):
        score(job, partitions=DAYS[:1])
    with monkeypatch.context() as killed:
        killed.setattr("aepipe.jobs.score.emit_scores", lambda *_: None)
        score(job)
    before = events_of(job)

    with parent_run(read_job(job), "night"):
        score(job)
    found = [each for each in events_of(job)[len(before) :] if each["job"]["name"] == "linear.score"]
    for _ in range(2):
        score(job)

    check(found)
    assert [(each["eventType"], each["run"]["facets"]["aepipe"]["partition"]) for each in found] == [
        (kind, day) for day in DAYS[1:] for kind in ("START", "COMPLETE")
    ]
    assert all("parent" not in each["run"]["facets"] for each in found)  # the run of the night that wrote the scores
    commits = [Outputs(read_job(job).out_path).manifest(SCORE, day).created_at for day in DAYS[1:]]
    assert [each["eventTime"] for each in found[1::2]] == [event_time(datetime.fromisoformat(at)) for at in commits]
    assert len(events_of(job)) == len(before) + 4 + 2


def test_a_first_run_that_is_killed_loses_no_event_and_outputs_without_lineage_get_none(
    job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as killed:
        killed.setattr("aepipe.jobs.score.emit_scores", lambda *_: None)
        score(job)
    assert events_of(job) == []
    score(job)
    assert [each["eventType"] for each in events_of(job)] == ["START", "COMPLETE"] * 3

    shutil.rmtree(read_job(job).out_path / ".aepipe" / "lineage")  # outputs of an early version
    score(job)
    assert events_of(job) == []
    with parent_run(read_job(job), "night"):  # lineage begins now
        score(job)
    assert {each["job"]["name"] for each in events_of(job)} == {"linear.night"}


def test_scores_of_earlier_months_get_no_events_later(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENLINEAGE_DISABLED", "true")
    score(job)
    monkeypatch.delenv("OPENLINEAGE_DISABLED")
    monkeypatch.setattr("aepipe.jobs.lineage.emit._now", lambda: datetime.now(UTC) + timedelta(days=70))

    score(job)

    assert events_of(job) == []


def test_samples_and_training_are_runs(job: Path) -> None:
    sample(job, rows=10)
    opened = read_job(job)
    emit_training(opened, (opened.bundle_path / _champion(job)), discover(opened), {"train": 7}, {"train": 2.0})

    events = events_of(job)
    check(events)
    assert [event["job"]["name"] for event in events] == ["linear.sample"] * 2 + ["linear.train"] * 2
    assert events[1]["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 10
    trained = events[3]
    assert trained["inputs"][0]["inputFacets"]["dataQualityMetrics"]["fileCount"] == 3
    assert Path(trained["outputs"][0]["name"]).name == _champion(job)


def _champion(job: Path) -> str:
    return Registry(job.parent / "exported" / "linear").resolve("champion").name


def test_runs_inside_a_night_name_it_as_their_parent(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with parent_run(read_job(job), "night"):
        score(job, partitions=DAYS[:1])
    with pytest.raises(ValueError, match="boom"), parent_run(read_job(job), "night"):
        raise ValueError("boom")
    monkeypatch.setenv("OPENLINEAGE_PARENT_ID", "airflow/dag.task/01941c6b-5a3b-7c4e-8f0a-2b1d3e4f5a6b")
    score(job, partitions=DAYS[1:2])

    events = events_of(job)
    check(events)
    kinds = [(event["job"]["name"], event["eventType"]) for event in events]
    scored = [("linear.score", "START"), ("linear.score", "COMPLETE")]
    assert kinds == [
        ("linear.night", "START"),
        *scored,
        ("linear.night", "COMPLETE"),
        ("linear.night", "START"),
        ("linear.night", "FAIL"),
        *scored,
    ]
    parents = [event["run"]["facets"].get("parent", {}).get("run", {}).get("runId") for event in events]
    night = events[0]["run"]["runId"]
    assert parents[:4] == [None, night, night, None]
    assert events[6]["run"]["facets"]["parent"]["job"] == {"namespace": "airflow", "name": "dag.task"}


def test_the_next_night_ends_the_runs_of_killed_ones_and_no_others(job: Path) -> None:
    folder = read_job(job).out_path / ".aepipe" / "lineage"
    with parent_run(read_job(job), "night"):
        score(job, partitions=DAYS[:1])
        with parent_run(read_job(job), "night"):  # as another process that is at work at the same time
            pass
    assert [event["eventType"] for event in events_of(job)].count("ABORT") == 0
    (path,) = folder.iterdir()
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]) + lines[-1][:50] + "\n")  # killed at its last event

    for _ in range(2):
        with parent_run(read_job(job), "night"):
            pass

    events = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
    check(events)
    kinds = [(event["eventType"], event["run"]["runId"]) for event in events if event["job"]["name"] == "linear.night"]
    first = kinds[0][1]
    assert [kind for kind, run in kinds if run == first] == ["START", "ABORT"]
    assert [kind for kind, _ in kinds].count("ABORT") == 1


def test_events_are_posted_and_a_refusal_is_a_warning(
    job: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with web_server() as (port, posts):
        monkeypatch.setenv("OPENLINEAGE_URL", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("OPENLINEAGE_NAMESPACE", "plant")
        score(job, partitions=DAYS[:1])
        assert posts == events_of(job)
        assert posts[0]["job"]["namespace"] == "plant"
        monkeypatch.setenv("OPENLINEAGE_ENDPOINT", "/500")
        nights = score(job, partitions=DAYS[1:2]).nights
    assert [night.status for night in nights] == ["written"]
    assert "lineage is not delivered: OPENLINEAGE_URL answered 500" in caplog.text
    for url in ("http://127.0.0.1:9", "ftp://a", "http://[bad"):
        monkeypatch.setenv("OPENLINEAGE_URL", url)
        assert score(job, partitions=DAYS[2:], force=True).nights[0].status == "written"
    assert caplog.text.count("lineage is not delivered") == 4


def test_lineage_can_be_switched_off_and_a_full_disk_does_not_end_a_run(
    job: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENLINEAGE_DISABLED", "true")
    score(job, partitions=DAYS[:1])
    assert events_of(job) == []
    monkeypatch.delenv("OPENLINEAGE_DISABLED")
    (read_job(job).out_path / ".aepipe" / "lineage").write_text("a file in place of the folder")

    emit(read_job(job), [{}])

    assert "lineage is not written" in caplog.text
