"""One trial of a search: train a network with some options for some epochs, and measure it."""

import math
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from aepipe.config.device import Device
from aepipe.config.job import Job, parse_job
from aepipe.errors import TrainingDiverged
from aepipe.heads import scores as heads
from aepipe.inference.session import usable_device
from aepipe.jobs.train.bundle_plan import plan_bundle
from aepipe.jobs.train.fitting import fit_model
from aepipe.jobs.train.head_selection import choose_head_by_labels
from aepipe.jobs.train.series_rows import read_series
from aepipe.jobs.train.training_data import TrainingData, encode_rows, rows_of
from aepipe.jobs.train.training_rows import read_training_rows
from aepipe.models import families
from aepipe.progress import no_progress
from aepipe.tables.partitions import Partition
from aepipe.training.threads import SMALL_TABLE, single_threaded


class Trial(NamedTuple):
    """Arguments of a trial, which a worker can receive."""

    job: str
    """JSON of the job with the options of the trial."""
    source: Path
    partitions: tuple[Partition, ...]
    data_job: str
    """JSON of the job without them: trials with equal rows read them once per worker."""
    epochs: int | None
    """Most epochs; None: as the job says."""
    metric: str
    device: Device


class TrialValue(NamedTuple):
    """Value of a trial, lower is better; infinite with a reason if training failed."""

    value: float
    reason: str = ""


def run_trial(trial: Trial) -> TrialValue:
    """Train and measure.

    Raises:
        JobInvalid, OptionInvalid, SchemaMismatch, DataUnreadable, CalibrationInvalid: as for training a bundle.
    """
    job = parse_job_text(trial.job, trial.source)
    if trial.epochs is not None:
        job = job.model_copy(update={"train": job.train.model_copy(update={"epochs": trial.epochs})})
    takes_codes = families.find(job.model.family).takes_codes
    data = _read(trial.data_job, trial.source, trial.partitions, takes_codes)
    plan = plan_bundle(
        job,
        data,
        head=heads.resolve_for(job),
    )
    device, _ = usable_device(trial.device)
    with single_threaded(rows_of(data.train) * data.encoding.layout.features < SMALL_TABLE):
        try:
            fitted = fit_model(job, plan, data, device=device, checkpoint=None, progress=no_progress)
        except TrainingDiverged as error:
            return TrialValue(math.inf, str(error))
        if trial.metric == "average_precision":
            choice, _ = choose_head_by_labels(job, data, fitted.model, default=plan.head)
            return TrialValue(1 - max(choice.average_precision.values(), default=0.0))
    losses = [epoch.dev for epoch in fitted.curve.epochs if epoch.epoch == fitted.curve.best_epoch]
    return TrialValue(losses[0]) if losses else TrialValue(math.inf, f"{job.model.family} is not trained by a loss")


def parse_job_text(text: str, source: Path) -> Job:
    """Parse the JSON of a job."""
    import json

    return parse_job(json.loads(text), source=source)


@lru_cache(maxsize=1)
def _read(job_text: str, source: Path, partitions: tuple[Partition, ...], takes_codes: bool) -> TrainingData:
    job = parse_job_text(job_text, source)
    if job.series is not None:
        return encode_rows(job, read_series(job, partitions).rows, as_codes=takes_codes)
    return encode_rows(job, read_training_rows(job, partitions), as_codes=takes_codes)
