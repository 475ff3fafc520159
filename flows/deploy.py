"""Deployments of a job: `python -m flows.deploy --job data/digits/job.toml`, which is what `aepipe deploy` runs.

Everything is created or updated by its name: running it again changes nothing.
"""

import json
import shlex
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple, NoReturn
from zoneinfo import ZoneInfo

import httpx
from pydantic import Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from aepipe.config.job import Job, read_job
from aepipe.errors import AepipeError, describe_failure
from aepipe.tables.partitions import discover
from flows import nightly, score, synthesize, train
from flows.engine import PARTIAL
from flows.options import Options
from flows.prefect_api import (
    PREFECT_API_URL,
    AutomationCore,
    ChangeFlowRunState,
    ConcurrencyLimitConfig,
    ConcurrencyLimitStrategy,
    CronSchedule,
    DeploymentScheduleCreate,
    EventTrigger,
    ObjectNotFound,
    Posture,
    StateType,
    SyncPrefectClient,
    WorkPoolCreate,
    get_client,
    parameter_schema,
)
from flows.terminal import parse

GRACE_S = 300
"""Seconds after which the place of a run whose worker died is free again."""
NEXT = "next: "
"""Start of a line that is a command to run."""
_REMEDY = "Check it with `aepipe doctor`."
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

    @field_validator("nightly", "training", "sampling")
    @classmethod
    def _check_cron(cls, value: str) -> str:
        """Refuse a schedule that Prefect would not run."""
        try:
            return CronSchedule(cron=value).cron
        except ValidationError:
            raise PydanticCustomError("cron", "expected a cron schedule such as '30 2 * * *'") from None

    @field_validator("timezone")
    @classmethod
    def _check_timezone(cls, value: str) -> str:
        try:
            return ZoneInfo(value).key
        except (OSError, ValueError, LookupError):  # a folder of the database; a path; no such zone
            raise PydanticCustomError("timezone", "expected a time zone such as 'Europe/Berlin'") from None


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


def next_commands(options: DeployOptions, job: Job) -> list[str]:
    """Return the commands that start a night now: as scheduled, and again for one partition with all other options."""
    night = next(iter(plan(options, job)))
    start = f"prefect deployment run {shlex.quote(f'{night.flow.name}/{night.name}')}"
    again = json.dumps(night.parameters | {"partitions": [_last_partition(job)]}, ensure_ascii=False)
    return [start, f"{start} -p {shlex.quote(f'options={again}')}"]


def _last_partition(job: Job) -> str:
    try:
        return discover(job)[-1].name
    except AepipeError:  # the first night has not come yet
        return "dt=2026-01-06"


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
        _end("PREFECT_API_URL is not set. Start a server and set it; docs/scheduling.md says how.")
    options = parse(DeployOptions)
    try:
        lines = deploy(options)
        lines += [f"{NEXT}{command}" for command in next_commands(options, read_job(options.job))]
    except AepipeError as error:
        _end(str(error))
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        _end(f"the server at {PREFECT_API_URL.value()} refused the request with status {status}. {_REMEDY}")
    except httpx.HTTPError as error:
        _end(f"the server at {PREFECT_API_URL.value()} does not answer: {describe_failure(error)}. {_REMEDY}")
    print("\n".join(lines))


def _end(fault: str) -> NoReturn:
    print(f"error: {fault}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
