"""Deployments of a job on a real server: the objects created, and no change the second time."""

from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client

from flows.deploy import FINISHED, STUCK, DeployOptions, deploy
from tests.support.two_models import write_job

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_server")]


@pytest.fixture
def job(tmp_path: Path) -> Path:
    return write_job(tmp_path)


def deployments(job: Path) -> dict[str, Any]:
    with get_client(sync_client=True) as client:
        found = client.read_deployments()
    return {each.name: each for each in found if each.parameters.get("options", {}).get("job") == str(job)}


def test_every_flow_has_a_deployment_with_schedule_limit_and_tags(job: Path) -> None:
    deploy(DeployOptions(job=job, nightly="15 3 * * *", timezone="Europe/Berlin"))

    found = deployments(job)

    assert sorted(found) == ["linear-backfill", "linear-nightly", "linear-sampling", "linear-training"]
    night = found["linear-nightly"]
    (schedule,) = night.schedules
    assert (schedule.schedule.cron, schedule.schedule.timezone) == ("15 3 * * *", "Europe/Berlin")
    assert night.parameters == {"options": {"job": str(job), "samples": False}}
    assert night.global_concurrency_limit.limit == 1
    assert night.concurrency_options.collision_strategy == "ENQUEUE"
    assert {"aepipe", "linear", "scoring"} <= set(night.tags)
    assert night.work_pool_name == "aepipe"
    assert night.enforce_parameter_schema
    assert found["linear-backfill"].schedules == []


def test_deploying_again_changes_only_the_given_options(job: Path) -> None:
    deploy(DeployOptions(job=job))
    before = {name: each.id for name, each in deployments(job).items()}

    lines = deploy(DeployOptions(job=job, nightly="0 5 * * *"))

    after = deployments(job)
    assert {name: each.id for name, each in after.items()} == before
    (schedule,) = after["linear-nightly"].schedules
    assert schedule.schedule.cron == "0 5 * * *"
    assert lines[0] == "work pool aepipe is there"
    assert lines[-1] == f"updated automation '{STUCK}'"
    with get_client(sync_client=True) as client:
        (automation,) = client.read_automations_by_name(STUCK)
    assert set(automation.trigger.expect) == FINISHED


def test_a_job_without_samples_has_no_sampling(job: Path) -> None:
    job.write_text(job.read_text() + "[samples]\nrows = 0\n")

    deploy(DeployOptions(job=job))

    assert "linear-sampling" not in deployments(job)
