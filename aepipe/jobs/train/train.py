"""Training, if it is needed: from a job file to a bundle with the job's alias."""

import logging
from pathlib import Path

from pydantic import Field

from aepipe.bundles.registry import Registry, current_user
from aepipe.config.job import Device, Job, Train, read_job
from aepipe.jobs.results import Result
from aepipe.progress import Progress, no_progress
from aepipe.storage import digest_file, digest_of, lock
from aepipe.tables.partitions import Partition, discover, select

log = logging.getLogger(__name__)

CONTRACT = "train/1"
CHOOSES_ALPHA = {"alpha", "false_alarm_cost", "miss_cost", "base_rate", "capacity"}


class TrainResult(Result):
    """Path and version of the bundle; `created` is False if it existed before."""

    bundle: Path
    version: str
    alias: str
    created: bool
    summary: str = ""
    rows: dict[str, int] = Field(default_factory=dict)
    seconds: dict[str, float] = Field(default_factory=dict)


def train(
    job_path: str | Path, *, device: Device | None = None, force: bool = False, progress: Progress | None = None
) -> TrainResult:
    """Return the bundle of a job and its data, trained if there is none yet; a new bundle gets the job's alias.

    Raises JobInvalid, OptionInvalid, SchemaMismatch, DataUnreadable, TrainingDiverged, ExportFailed,
    CalibrationInvalid, or Busy while another process trains this model.
    """
    return train_job(read_job(job_path), device=device, force=force, progress=progress)


def train_job(
    job: Job,
    *,
    partitions: tuple[Partition, ...] | None = None,
    device: Device | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> TrainResult:
    """Train from a job in memory, as `train`. partitions: training partitions, in place of the job's."""
    if partitions is None:
        partitions = select(discover(job), job.train.first, job.train.last)
    key = training_key(job, partitions)
    known = Registry(job.bundle_path).find_by_training_key(key)
    if known is not None and not force:
        return TrainResult(bundle=known, version=known.name, alias=job.train.alias, created=False)
    with lock(job.bundle_path / ".training.lock"):
        return _train(job, partitions, key, device=device, progress=progress)


def _train(
    job: Job,
    partitions: tuple[Partition, ...],
    key: str,
    *,
    device: Device | None,
    progress: Progress | None,
) -> TrainResult:
    from aepipe.jobs.train.build_bundle import make_bundle  # torch: not for the answer that there is nothing to do

    made = make_bundle(job, partitions, key, device=device, progress=progress or no_progress)
    _name(job, made.path)
    return TrainResult(
        bundle=made.path,
        version=made.path.name,
        alias=job.train.alias,
        created=True,
        summary=made.summary,
        rows=made.rows,
        seconds=made.seconds,
    )


def training_key(job: Job, partitions: tuple[Partition, ...]) -> str:
    """Return the digest of a bundle's inputs: the job's sections that shape it, and every byte of training data."""
    shaping = job.model_dump_json(
        include={
            "name": True,
            "data": {"keys", "labels", "event_time"},
            "columns": True,
            "model": True,
            "train": set(Train.model_fields) - {"alias"},
            "calibration": CHOOSES_ALPHA,
            "score": {"head", "reasons", "clusters", "classes"},
            "samples": {"components"},
        }
    )
    inputs = [f"{partition.name}:{digest_file(file)}" for partition in partitions for file in partition.files]
    labels = job.evaluate.anomaly if job.uses_labels and job.evaluate.anomaly else ""
    return digest_of(CONTRACT, shaping, labels, *inputs)


def _name(job: Job, path: Path) -> None:
    registry = Registry(job.bundle_path)
    before = registry.aliases().get(job.train.alias)
    registry.set_alias(job.train.alias, path.name, who=current_user(), why="trained")
    if before is not None:
        log.warning(
            "%s replaces %s as %s; its features are another space: train downstream models again",
            path.name,
            before,
            job.train.alias,
        )
