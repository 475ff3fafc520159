"""Backfill without a scheduler: score a span of partitions, each with its model."""

import time
from collections.abc import Mapping
from pathlib import Path

from pydantic import computed_field

from aepipe.config.job import Device
from aepipe.jobs.backfill.plan import AS_OF, BackfillPlan, plan_backfill
from aepipe.jobs.results import Result
from aepipe.jobs.score import Outcome, score
from aepipe.progress import Progress
from aepipe.storage import PartitionResult


class BackfillResult(Result):
    """Plan of a backfill, and the results of the partitions that were due; a dry run has none."""

    plan: BackfillPlan
    nights: tuple[PartitionResult, ...]
    seconds: float

    @computed_field  # type: ignore[prop-decorator]
    @property
    def outcome(self) -> Outcome:
        """Outcome for the partitions of the plan: all, some or none have scores; complete after a dry run."""
        if self.faults and len(self.faults) < len(self.plan.steps):
            return "partial"
        return "failed" if self.faults else "complete"

    @property
    def faults(self) -> Mapping[str, str]:
        """Reason per partition that could not be scored."""
        planned = {step.partition: step.reason for step in self.plan.impossible}
        return planned | {night.partition: night.reason for night in self.nights if night.status == "quarantined"}


def backfill(
    job_path: str | Path,
    *,
    first: str | None = None,
    last: str | None = None,
    model: str = "champion",
    device: Device | None = None,
    workers: int | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> BackfillResult:
    """Score the partitions from `first` to `last` that do not have the scores of their model yet.

    Finished partitions are skipped, so that an interrupted backfill is resumed by running it again. A partition that
    cannot be scored does not stop the others.

    Args:
        job_path: job file, or the folder that holds job.toml.
        first: first partition; None: the first of the source.
        last: last partition, inclusive; None: the last of the source.
        model: alias, version, or `as-of`, as `plan_backfill`.
        device: None: the job's.
        workers: partitions scored at the same time; None: the job's.
        dry_run: plan only.
        progress: callback for progress.

    Raises:
        ArgumentInvalid: `as-of` for a partition without a date.
        BundleNotFound: there is no such model.
        DataUnreadable: no partition lies between the bounds.
    """
    began = time.perf_counter()
    plan = plan_backfill(job_path, first=first, last=last, model=model)
    nights: list[PartitionResult] = []
    if not dry_run:
        for version, names in plan.runs():
            done = score(
                job_path,
                partitions=names,
                model=version,
                device=device,
                workers=workers,
                as_of=model == AS_OF,
                progress=progress,
            )
            nights += done.nights
    return BackfillResult(plan=plan, nights=tuple(nights), seconds=time.perf_counter() - began)
