"""Training, if it is needed: from a job file to a bundle with the job's alias."""

import logging
from pathlib import Path

from pydantic import Field

from aepipe.bundles.aliases import CHALLENGER, CHAMPION
from aepipe.bundles.bundle import read_manifest
from aepipe.bundles.registry import Registry, current_user
from aepipe.config.job import Device, Job, Train, read_job
from aepipe.errors import Busy
from aepipe.jobs.feedback.verdicts import feedback_digest
from aepipe.jobs.lineage.emit import emit_training
from aepipe.jobs.results import Result
from aepipe.jobs.score import known_digests
from aepipe.progress import Progress, no_progress
from aepipe.storage import digest_of, lock, source_digest
from aepipe.tables.open_files import files_opened_once
from aepipe.tables.partitions import Partition, discover, select, well_placed

log = logging.getLogger(__name__)

CONTRACT = "train/1"
_FORMER_BATCH_ROWS = 256
CHOOSES_ALPHA = {"alpha", "false_alarm_cost", "miss_cost", "base_rate", "capacity", "per"}


class TrainResult(Result):
    """Path and version of the bundle; `created` is False if it existed before."""

    bundle: Path
    version: str
    alias: str
    created: bool
    summary: str = ""
    rows: dict[str, int] = Field(default_factory=dict)
    seconds: dict[str, float] = Field(default_factory=dict)
    warnings: tuple[str, ...] = Field((), description="what to know about columns and alarms before using the model")

    @property
    def sentence(self) -> str:
        """Describe the result, for a terminal."""
        if not self.created:
            return f"nothing to do: {self.bundle} was trained with this job on these data"
        return f"new bundle {self.bundle} ({self.summary}); it is now {self.alias}"


@files_opened_once()
def train(
    job_path: str | Path, *, device: Device | None = None, force: bool = False, progress: Progress | None = None
) -> TrainResult:
    """Return the bundle of a job and its data, trained if there is none yet.

    The first bundle becomes champion and a later one challenger, unless `[train] alias` names another alias. With
    `[promotion] automatic`, a challenger that passes every check is promoted.

    Raises JobInvalid, OptionInvalid, SchemaMismatch, DataUnreadable, TrainingDiverged, ExportFailed,
    CalibrationInvalid, or Busy while another process trains this model.
    """
    job = read_job(job_path)
    result = train_job(job, device=device, force=force, progress=progress)
    if result.created:
        emit_training(job, result.bundle, _training_partitions(job), result.rows, result.seconds)
    return result


@files_opened_once()
def train_job(
    job: Job,
    *,
    partitions: tuple[Partition, ...] | None = None,
    device: Device | None = None,
    force: bool = False,
    only_scorer: bool = False,
    progress: Progress | None = None,
) -> TrainResult:
    """Train from a job in memory, as `train`.

    Args:
        job: The job.
        partitions: Training partitions, in place of the job's.
        device: Device to train on; None: the job's.
        force: Train although there is a bundle.
        only_scorer: Export the scorer alone, which a baseline needs; a bundle with all parts serves too.
        progress: Callback for progress.
    """
    if partitions is None:
        partitions = _training_partitions(job)
    known_sums = known_digests(job)
    if known_sums is not None:
        known_sums.refuse_different([file for partition in partitions for file in partition.files])
    key = training_key(job, partitions)
    known = Registry(job.bundle_path).find_by_training_key(key)
    if known is not None and not force:
        warnings = read_manifest(known).details.get("warnings", ())
        return TrainResult(
            bundle=known, version=known.name, alias=_alias_of(job, known), created=False, warnings=warnings
        )
    with lock(job.bundle_path / ".training.lock"):
        return _train(job, partitions, key, device=device, only_scorer=only_scorer, progress=progress)


def _training_partitions(job: Job) -> tuple[Partition, ...]:
    return well_placed(select(discover(job), job.train.first, job.train.last))


def _train(
    job: Job,
    partitions: tuple[Partition, ...],
    key: str,
    *,
    device: Device | None,
    only_scorer: bool,
    progress: Progress | None,
) -> TrainResult:
    from aepipe.jobs.train.build_bundle import make_bundle  # torch: not for the answer that there is nothing to do
    from aepipe.jobs.train.last_partition import last_partition_warning

    found, progress = None, progress or no_progress
    if job.train.search is not None:
        from aepipe.jobs.train.search import search

        found = search(job, job.train.search, partitions, device=device, progress=progress)
    chosen = job if found is None else found.job
    made = make_bundle(chosen, partitions, key, device=device, progress=progress, found=found, only_scorer=only_scorer)
    alias = _name_and_promote(job, made.path)
    far_above = last_partition_warning(job, made.path, partitions)
    if far_above:
        log.warning("%s", far_above)
    return TrainResult(
        bundle=made.path,
        version=made.path.name,
        alias=alias,
        created=True,
        summary=made.summary,
        rows=made.rows,
        seconds=made.seconds,
        warnings=(*made.warnings, *([far_above] if far_above else [])),
    )


def training_key(job: Job, partitions: tuple[Partition, ...]) -> str:
    """Return the digest of a bundle's inputs: the job's sections that shape it, and every byte of training data."""
    asked = job.train.batch_rows
    # no number has the key of 256, which was the default for all tables: bundles from then stay valid
    as_before = job.train.model_copy(update={"batch_rows": asked or _FORMER_BATCH_ROWS})
    shaping = job.model_copy(update={"train": as_before}).model_dump_json(
        include={
            "name": True,
            "data": {"keys", "labels", "event_time", "entity", "context"},
            "columns": True,
            "series": True,
            "model": True,
            "train": set(Train.model_fields) - {"alias"},
            "calibration": CHOOSES_ALPHA | (set() if job.calibration.cells else {"cells"}),
            "score": {"head", "reasons", "clusters", "classes"},
            "samples": {"components", *(("labels",) if job.samples.labels else ())},
        }
    )
    inputs = [f"{partition.name}:{source_digest(file)}" for partition in partitions for file in partition.files]
    labels = job.evaluate.anomaly if job.uses_labels and job.evaluate.anomaly else ""
    feedback = feedback_digest(job) if job.uses_labels else None
    fixed = (f"batch_rows = {asked}",) if asked == _FORMER_BATCH_ROWS else ()
    return digest_of(CONTRACT, shaping, labels if feedback is None else f"{labels}\n{feedback}", *inputs, *fixed)


def _is_promoted(job: Job, path: Path) -> bool:
    """Promote a new challenger if `[promotion]` says so; return whether it became champion."""
    from aepipe.jobs.promotion.promote import promote_if_automatic

    result = promote_if_automatic(job, path.name)
    return result is not None and result.promoted


def _alias_of(job: Job, path: Path) -> str:
    """Return the alias of an existing bundle; name it if training was killed before it had one."""
    registry = Registry(job.bundle_path)
    found = sorted(alias for alias, version in registry.aliases().items() if version == path.name)
    if found == [CHALLENGER]:
        return _finish_promotion(job, path)
    if found:
        return CHAMPION if CHAMPION in found else found[0]
    was_named = any(naming.version == path.name for naming in registry.history())
    return (job.train.alias or CHALLENGER) if was_named else _name_and_promote(job, path)


def _finish_promotion(job: Job, path: Path) -> str:
    """Promote a challenger if a killed training left that to do, and return its alias."""
    from aepipe.jobs.promotion.promote import awaits_promotion

    if not awaits_promotion(job, path.name):
        return CHALLENGER
    try:
        with lock(job.bundle_path / ".training.lock"):
            return CHAMPION if _is_promoted(job, path) else CHALLENGER
    except Busy:  # the training that set the alias is about to promote it
        return CHALLENGER


def _name_and_promote(job: Job, path: Path) -> str:
    """Set the alias of a new bundle, promote it if `[promotion]` says so, and return the alias."""
    alias = _name(job, path)
    return CHAMPION if alias == CHALLENGER and _is_promoted(job, path) else alias


def _name(job: Job, path: Path) -> str:
    """Set the alias of a new bundle and return it."""
    registry = Registry(job.bundle_path)
    before = registry.aliases()
    alias = job.train.alias or (CHALLENGER if CHAMPION in before else CHAMPION)
    registry.set_alias(alias, path.name, who=current_user(), why="trained")
    if alias == CHAMPION and CHAMPION in before:
        log.warning(
            "%s replaces %s as %s; its features are another space: train downstream models again",
            path.name,
            before[CHAMPION],
            CHAMPION,
        )
    return alias
