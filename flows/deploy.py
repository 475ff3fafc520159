"""Deployments of a job: `python -m flows.deploy --job data/digits/job.toml`, which is what `aepipe deploy` runs.

Everything is created or updated by its name: running it again changes nothing.
"""

import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from prefect.automations import AutomationCore, ChangeFlowRunState, EventTrigger, Posture
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy, StateType
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL
from prefect.utilities.callables import parameter_schema
from pydantic import Field, ValidationError

from aepipe.config.job import Job, read_job
from aepipe.errors import AepipeError
from flows import nightly, score, synthesize, train
from flows.engine import PARTIAL
from flows.options import Options
from flows.terminal import parse

GRACE_S = 300
"""Seconds after which the place of a run whose worker died is free again."""
STUCK = "aepipe: end runs that are stuck"
FINISHED = frozenset(f"prefect.flow-run.{name}" for name in ("Completed", "Failed", "Crashed", "Cancelled", PARTIAL))
POOL_VARIABLES = {"env": {"DO_NOT_TRACK": "1", "PREFECT_LOGGING_EXTRA_LOGGERS": "aepipe"}}


class DeployOptions(Options):
    """Create or update work pool, deployments, concurrency limits and the automation of a job on the server."""

    pool: str = Field("aepipe", description="work pool of type process; created if there is none")
    nightly: str = Field("30 2 * * *", description="cron schedule of scoring")
    training: str = Field("0 4 * * 6", description="cron schedule of training")
    sampling: str = Field("0 6 * * 0", description="cron schedule of synthetic rows, if the job asks for some")
    timezone: str = Field("UTC", description="time zone of the schedules")
    stuck_hours: float = Field(12.0, gt=0, description="hours after which a run counts as stuck and is ended")


class Planned(NamedTuple):
    """One deployment: flow, name, schedule (None: by hand), parameters."""

    flow: Any
    entrypoint: str
    name: str
    cron: str | None
    parameters: dict[str, Any]
    tags: list[str]


def plan(options: DeployOptions, job: Job) -> Iterator[Planned]:
    """Yield the deployments of a job."""
    own = {"job": str(job.source)}
    yield Planned(
        nightly.nightly,
        "flows/nightly.py:nightly",
        f"{job.name}-nightly",
        options.nightly,
        own | {"samples": False},
        ["scoring"],
    )
    yield Planned(train.train, "flows/train.py:train", f"{job.name}-training", options.training, own, ["training"])
    if job.samples.rows:
        yield Planned(
            synthesize.synthesize,
            "flows/synthesize.py:synthesize",
            f"{job.name}-sampling",
            options.sampling,
            own,
            ["sampling"],
        )
    yield Planned(score.score, "flows/score.py:score", f"{job.name}-backfill", None, own, ["backfill"])


def deploy(options: DeployOptions) -> list[str]:
    """Apply the deployments of a job and return one line per object."""
    job = read_job(options.job)
    with get_client(sync_client=True) as client:
        lines = [_apply_pool(client, options.pool)]
        lines += [_apply(client, options, job, each) for each in plan(options, job)]
        return [*lines, _apply_automation(client, timedelta(hours=options.stuck_hours))]


def _apply_pool(client: SyncPrefectClient, name: str) -> str:
    try:
        client.read_work_pool(name)
    except ObjectNotFound:
        client.create_work_pool(WorkPoolCreate(name=name, type="process"))
        return f"created work pool {name}"
    return f"work pool {name} is there"


def _apply(client: SyncPrefectClient, options: DeployOptions, job: Job, planned: Planned) -> str:
    root = Path(__file__).resolve().parent.parent
    limit = ConcurrencyLimitConfig(
        limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE, grace_period_seconds=GRACE_S
    )
    schedules = []
    if planned.cron is not None:
        schedule = CronSchedule(cron=planned.cron, timezone=options.timezone)
        schedules = [DeploymentScheduleCreate(schedule=schedule, slug="schedule")]
    client.create_deployment(
        flow_id=client.create_flow_from_name(planned.flow.name),
        name=planned.name,
        entrypoint=planned.entrypoint,
        path=str(root),
        pull_steps=[{"prefect.deployments.steps.set_working_directory": {"directory": str(root)}}],
        parameters={"options": planned.parameters},
        parameter_openapi_schema=parameter_schema(planned.flow).model_dump_for_openapi(),
        enforce_parameter_schema=True,
        schedules=schedules,
        concurrency_limit=limit.limit,
        concurrency_options={
            "collision_strategy": limit.collision_strategy,
            "grace_period_seconds": limit.grace_period_seconds,
        },  # type: ignore[arg-type]
        work_pool_name=options.pool,
        job_variables=POOL_VARIABLES,
        tags=["aepipe", job.name, *planned.tags],
        description=planned.flow.description,
    )
    when = "by hand" if planned.cron is None else f"{planned.cron} {options.timezone}"
    return f"deployed {planned.flow.name}/{planned.name}: {when}"


def _apply_automation(client: SyncPrefectClient, within: timedelta) -> str:
    """Create or update the automation that ends runs of aepipe which neither finish nor report."""
    automation = AutomationCore(
        name=STUCK,
        description="A run that was killed with its worker keeps the state Running: end it, so that its place is free.",
        trigger=EventTrigger(
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related={"prefect.resource.id": "prefect.tag.aepipe", "prefect.resource.role": "tag"},
            for_each={"prefect.resource.id"},
            after={"prefect.flow-run.Running"},
            expect=set(FINISHED),
            posture=Posture.Proactive,
            threshold=1,
            within=within,
        ),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, name="Stuck", message="neither finished nor reported")],
    )
    known = client.read_automations_by_name(STUCK)
    if known:
        client.update_automation(known[0].id, automation)
        return f"updated automation '{STUCK}'"
    client.create_automation(automation)
    return f"created automation '{STUCK}'"


def main() -> None:
    """Deploy, and end with exit code 2 for an error that the user can fix."""
    if not PREFECT_API_URL.value():
        print(
            "error: PREFECT_API_URL is not set. Start a server and set it; docs/scheduling.md says how.",
            file=sys.stderr,
        )
        sys.exit(2)
    try:
        for line in deploy(parse(DeployOptions)):
            print(line)
    except (AepipeError, ValidationError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
