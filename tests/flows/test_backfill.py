"""The backfill as a flow: tasks of one run, or one run of a deployment for each partition, created once."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags
from prefect.deployments.runner import RunnerDeployment
from prefect.states import Completed, Failed

import flows.backfill as module
from aepipe.jobs.backfill.plan import plan_backfill
from flows.backfill import BackfillOptions, backfill, show_backfill
from flows.engine import Unfinished, outcome
from tests.support.two_models import DAYS, write_job

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_server")]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def job(tmp_path: Path) -> Path:
    return write_job(tmp_path)


@pytest.fixture
def deployment(prefect_server: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Deploy the score flow and return its name; no worker takes its runs."""
    monkeypatch.chdir(ROOT)
    RunnerDeployment.from_entrypoint("flows/score.py:score", name="backfill").apply()
    return "score/backfill"


def test_due_partitions_are_scored_in_tasks(job: Path) -> None:
    done = backfill(BackfillOptions(job=job, first="2026-03-02"))

    assert [(night.partition, night.status) for night in done.nights] == [(day, "written") for day in DAYS[1:]]
    assert backfill(BackfillOptions(job=job, first="2026-03-02")).nights == ()


def test_a_partition_without_scores_fails_the_run_with_its_reason(job: Path) -> None:
    (job.parent / "rows" / DAYS[0] / "part-0.parquet").write_bytes(b"PAR1 and nothing more")

    state = backfill(BackfillOptions(job=job), return_state=True)

    assert state.message is not None
    assert state.message.startswith(f"1 partition has no new scores: {DAYS[0]}")
    with pytest.raises(Unfinished):
        state.result()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("score/absent", "the server has no deployment 'score/absent'. Choose one that `prefect deployment ls` lists."),
        ("nightly/mine", "expected a deployment of the score flow, score/NAME, got 'nightly/mine'"),
        ("mine", "expected a deployment of the score flow, score/NAME, got 'mine'"),
    ],
)
def test_a_deployment_that_cannot_score_is_refused(job: Path, name: str, message: str) -> None:
    state = backfill(BackfillOptions(job=job, deployment=name), return_state=True)

    assert state.message == f"deployment: {message}"
    assert state.name == "Failed"
    assert not list((job.parent / "out").rglob("*.parquet"))


def test_a_run_is_created_once_per_model_and_data_and_again_after_a_failure(job: Path, deployment: str) -> None:
    options = BackfillOptions(job=job, deployment=deployment)
    step = plan_backfill(job).due[0]

    first, again = module._submit(options, step), module._submit(options, step)
    assert first.id == again.id
    assert first.parameters["options"]["partitions"] == [DAYS[0]]
    assert first.parameters["options"]["model"] == step.version
    assert step.key in str(first.idempotency_key)
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(first.id, Failed(), force=True)

    assert module._submit(options, step).id != first.id


def test_a_run_gets_the_absolute_path_of_a_job(job: Path, deployment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(job.parent)
    options = BackfillOptions(job=Path(job.name), deployment=deployment)

    run = module._submit(options, plan_backfill(job).due[0])

    assert run.parameters["options"]["job"] == str(job)


def test_every_due_partition_gets_a_run_of_the_deployment(
    job: Path, deployment: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[int] = []

    def work(seconds: float) -> None:
        """Fail the second partition and complete the others, as a worker would report them."""
        with get_client(sync_client=True) as client:
            tags = FlowRunFilter(tags=FlowRunFilterTags(all_=["backfill"]))
            runs = client.read_flow_runs(flow_run_filter=tags)
            mine = [run for run in runs if run.parameters["options"]["job"] == str(job)]
            unfinished = [run for run in mine if run.state is not None and not run.state.is_final()]
            seen.append(len(unfinished))
            assert len(seen) <= 2, "the backfill waits for a run of another job"
            for run in unfinished:
                is_second = run.parameters["options"]["partitions"] == [DAYS[1]]
                client.set_flow_run_state(run.id, Failed(message="page 3") if is_second else Completed(), force=True)

    monkeypatch.setattr(module, "time", SimpleNamespace(sleep=work))

    answer = outcome(backfill(BackfillOptions(job=job, deployment=deployment, at_once=2), return_state=True))

    assert isinstance(answer, Unfinished)
    assert str(answer) == f"1 partition has no new scores: {DAYS[1]}: page 3"
    assert seen == [2, 1]
    show_backfill(answer.done)
    printed = capsys.readouterr().out.splitlines()
    shown = {day: next(line for line in printed if day in line) for day in DAYS}
    assert ["written" in shown[day] for day in DAYS] == [True, False, True]
    assert "due" in shown[DAYS[1]]
