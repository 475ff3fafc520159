"""Scores the partitions that have no scores of this model yet. Nothing here knows torch, pandas or Prefect."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from aepipe.bundles.active_calibration import with_active_calibration
from aepipe.bundles.bundle import Bundle
from aepipe.config.job import Device, Job, read_job
from aepipe.engines.local import PartitionResult, ScoreSpec, run
from aepipe.errors import JobInvalid
from aepipe.inference.session import usable_device
from aepipe.jobs.results import Result
from aepipe.progress import Progress
from aepipe.tables.partitions import Partition, discover, named, natural_order, select


class NightScore(Result):
    """What became of one partition; paths are None where nothing was written."""

    partition: str
    status: Literal["written", "already done", "quarantined"]
    rows: int = 0
    flagged: int = 0
    invalid: int = 0
    rows_per_s: float = 0.0
    seconds: dict[str, float] = Field(default_factory=dict)
    scores: Path | None = None
    features: Path | None = None
    reason: str = ""

    def row(self) -> tuple[object, ...]:
        """For a table."""
        return self.partition, self.status, self.rows, self.flagged, self.invalid, self.rows_per_s


class ScoreResult(Result):
    """All partitions that were asked for, in order."""

    model_version: str
    nights: tuple[NightScore, ...]
    seconds: float

    @property
    def failed(self) -> bool:
        """Whether a partition could not be scored."""
        return any(night.status == "quarantined" for night in self.nights)


def score(
    job_path: str | Path,
    *,
    partitions: Sequence[str] | None = None,
    model: str = "champion",
    device: Device | None = None,
    progress: Progress | None = None,
) -> ScoreResult:
    """Scores and features of the named partitions, by default those that `[score]` names.

    A partition that was scored with this model and these settings is not written again; one that cannot be scored is
    quarantined with its reason, and the others go on.
    Raises JobInvalid, BundleNotFound, BundleCorrupt, DeviceUnavailable.
    """
    began = time.perf_counter()
    job = read_job(job_path)
    usable_device(device or job.run.device)
    bundle = with_active_calibration(job.out_path, Bundle.open(f"{job.bundle_path}@{model}"))
    chosen = chosen_partitions(job, partitions)
    if job.calibration.adaptive:
        chosen = tuple(sorted(chosen, key=lambda partition: natural_order(partition.name)))
    results = run(bundle, [_spec(job, partition, device) for partition in chosen], progress=progress)
    nights = tuple(_night(job, result) for result in results)
    return ScoreResult(model_version=bundle.version, nights=nights, seconds=time.perf_counter() - began)


def chosen_partitions(job: Job, names: Sequence[str] | None) -> tuple[Partition, ...]:
    """The named partitions, by default those that `[score]` names. Raises JobInvalid where there is none of a name."""
    found = discover(job)
    if not names:
        return select(found, job.score.first, job.score.last)
    known = {name: named(found, name) for name in names}
    absent = [name for name, partition in known.items() if partition is None]
    if absent:
        latest = ", ".join(partition.name for partition in found[-3:])
        raise JobInvalid(
            str(job.source), [f"no partition '{name}' in {job.data_path}; the latest are {latest}" for name in absent]
        )
    return tuple(partition for partition in known.values() if partition is not None)


def _spec(job: Job, partition: Partition, device: Device | None) -> ScoreSpec:
    return ScoreSpec(
        partition=partition,
        out=job.out_path,
        device=device or job.run.device,
        workers=job.run.workers,
        batch_rows=job.run.batch_rows,
        memory_mb=job.run.memory_mb,
        gpu_memory_mb=job.run.gpu_memory_mb,
        max_invalid_share=job.score.max_invalid_share,
        features=job.score.features,
        adaptive=job.calibration.adaptive,
    )


def _night(job: Job, result: PartitionResult) -> NightScore:
    manifest = result.manifest
    if manifest is None:
        return NightScore(partition=result.partition, status=result.status, reason=result.reason or "")
    details = manifest.details
    files = {name: job.out_path / record.path for name, record in manifest.files.items()}
    return NightScore(
        partition=result.partition,
        status=result.status,
        rows=details.rows,
        flagged=details.flagged,
        invalid=sum(details.invalid.values()),
        rows_per_s=details.rows_per_s or 0.0,
        seconds=dict(details.seconds),
        scores=files.get("scores"),
        features=files.get("features"),
        reason=result.reason or "",
    )
