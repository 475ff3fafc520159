"""Backfill flow: `python flows/backfill.py --job data/digits/job.toml --first 2026-01-05 --model as-of`."""

import time
from collections.abc import Sequence
from typing import NamedTuple, cast
from uuid import UUID

from pydantic import Field

from aepipe.cli.console import print_table
from aepipe.config.job import Device
from aepipe.errors import ArgumentInvalid
from aepipe.jobs.backfill.plan import AS_OF, BackfillPlan, BackfillStep, plan_backfill
from aepipe.storage import PartitionResult
from flows.engine import Unfinished, pipeline, run_log
from flows.options import Options
from flows.prefect_api import FlowRun, ObjectNotFound, State, get_client, run_deployment
from flows.score import ScoreOptions, describe_faults, score_partitions
from flows.terminal import run

FLOW = "score"
POLL_S = 2.0
NOT_DONE = "its run did not complete"


class BackfillOptions(Options):
    """Score a span of past partitions, with one model or with the champion of each day."""

    first: str | None = Field(None, description="first partition; default: the first there is")
    last: str | None = Field(None, description="last partition, inclusive; default: the last there is")
    model: str = Field("champion", description="alias or version; as-of: the version that was champion on each day")
    device: Device | None = Field(None, description="default: the job's")
    deployment: str | None = Field(
        None, description="deployment of the score flow that runs each partition; default: tasks of this run"
    )
    at_once: int = Field(1, ge=1, le=100, description="runs of the deployment that are unfinished at the same time")
    dry_run: bool = Field(False, description="log the plan only")


class Backfilled(NamedTuple):
    """Plan of a backfill, results of the partitions, and the reason per partition without new scores."""

    plan: BackfillPlan
    nights: tuple[PartitionResult, ...]
    faults: dict[str, str]
    completed: tuple[str, ...] = ()
    """partitions that runs of a deployment have scored"""


@pipeline
def backfill(options: BackfillOptions) -> Backfilled:
    """Score a span of past partitions; finished ones are skipped, and a faulty one does not stop the others."""
    if options.deployment is not None:
        _check_deployment(options.deployment)
    plan = plan_backfill(options.job, first=options.first, last=options.last, model=options.model)
    run_log().info("%s", plan.sentence)
    faults = {step.partition: step.reason for step in plan.impossible}
    nights: tuple[PartitionResult, ...] = ()
    completed: tuple[str, ...] = ()
    if not options.dry_run:
        if options.deployment is None:
            nights, failed = _score_here(options, plan)
        else:
            completed, failed = _score_there(options, plan)
        faults |= failed
    done = Backfilled(plan, nights, faults, completed)
    if faults:
        raise Unfinished(describe_faults(faults), done, is_partial=len(faults) < len(plan.steps))
    return done


def _check_deployment(name: str) -> None:
    """Raise ArgumentInvalid unless the server has this deployment of the score flow."""
    flow, _, rest = name.partition("/")
    if flow != FLOW or not rest:
        raise ArgumentInvalid("deployment", [f"expected a deployment of the score flow, {FLOW}/NAME, got '{name}'"])
    try:
        with get_client(sync_client=True) as client:
            client.read_deployment_by_name(name)
    except ObjectNotFound:
        fault = f"the server has no deployment '{name}'. Choose one that `prefect deployment ls` lists."
        raise ArgumentInvalid("deployment", [fault]) from None


def _score_here(options: BackfillOptions, plan: BackfillPlan) -> tuple[tuple[PartitionResult, ...], dict[str, str]]:
    """Score the due partitions in tasks of this run."""
    nights: list[PartitionResult] = []
    faults: dict[str, str] = {}
    for version, names in plan.runs():
        request = ScoreOptions(
            job=options.job, partitions=names, model=version, device=options.device, as_of=options.model == AS_OF
        )
        scored = score_partitions(request)
        nights += scored.nights
        faults |= scored.faults
    return tuple(nights), faults


def _score_there(options: BackfillOptions, plan: BackfillPlan) -> tuple[tuple[str, ...], dict[str, str]]:
    """Score each due partition in a run of the deployment, at most `at_once` at the same time."""
    waiting, running = list(plan.due), dict[UUID, BackfillStep]()
    faults: dict[str, str] = {}
    completed: list[str] = []
    while waiting or running:
        while waiting and len(running) < options.at_once:
            step = waiting.pop(0)
            running[_submit(options, step).id] = step
        time.sleep(POLL_S)
        for state, step in _finished(running):
            if state.is_completed():
                completed.append(step.partition)
            else:
                faults[step.partition] = state.message or NOT_DONE
    return tuple(completed), faults


def _submit(options: BackfillOptions, step: BackfillStep) -> FlowRun:
    """Create the run of a step, or return the one that exists; after a failure the next attempt has another key.

    A backfill that is started twice creates each run once. The key holds the output folder and the digests of data,
    model and calibration: another job with the same model waits for runs of its own.
    """
    request = ScoreOptions(
        job=options.job.absolute(),  # a worker starts its runs in another folder
        partitions=(step.partition,),
        model=step.version or "",
        device=options.device,
        as_of=options.model == AS_OF,
    )
    attempt = 0
    while True:
        answer = run_deployment(
            str(options.deployment),
            parameters={"options": request.model_dump(mode="json")},
            flow_run_name=f"backfill {step.partition}",
            idempotency_key=f"{step.key}:{attempt}",
            tags=["aepipe", "backfill", step.partition],
            timeout=0,
            as_subflow=False,
        )
        found = cast(FlowRun, answer)  # a coroutine only in an asynchronous flow
        # a finished run of a partition that is due did not write its scores, or they were removed since
        if found.state is None or not found.state.is_final():
            return found
        attempt += 1


def _finished(running: dict[UUID, BackfillStep]) -> Sequence[tuple[State, BackfillStep]]:
    """Remove the finished runs and return their states and steps."""
    found = []
    with get_client(sync_client=True) as client:
        for run_id in list(running):
            state = client.read_flow_run(run_id).state
            if state is not None and state.is_final():
                found.append((state, running.pop(run_id)))
    return found


def show_backfill(done: Backfilled) -> None:
    """Print the plan with the results."""
    status: dict[str, str] = dict.fromkeys(done.completed, "written")
    status |= {night.partition: night.status for night in done.nights}
    header = ("partition", "model", "status", "rows")
    steps = [(s.partition, s.version, status.get(s.partition, s.status), s.rows) for s in done.plan.steps]
    print_table("", header, steps)
    print(done.plan.sentence)


if __name__ == "__main__":
    run(backfill, BackfillOptions, show_backfill)
