"""Search over options of a job by successive halving (Jamieson & Talwalkar 2016)."""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from aepipe.batch.score_settings import ClusterSettings, MachineSettings
from aepipe.config.job import Device, Job, parse_job
from aepipe.config.search import Search
from aepipe.engines.tasks import TaskWorkers
from aepipe.errors import OptionInvalid
from aepipe.jobs.train.trial import Trial, TrialValue, run_trial
from aepipe.progress import Progress
from aepipe.tables.partitions import Partition
from aepipe.training.schedule import EPOCHS

log = logging.getLogger(__name__)

_KEPT = 3
"""One of this many trials goes on with this many times the epochs."""
_FEWEST_EPOCHS = 3


class FinishedTrial(NamedTuple):
    """Options of a trial, its most epochs in its last round, and its value there; lower is better."""

    options: Mapping[str, object]
    epochs: int
    value: float
    reason: str = ""


class Found(NamedTuple):
    """Job with the best options, and all trials, best first."""

    job: Job
    metric: str
    trials: tuple[FinishedTrial, ...]

    def details(self) -> dict[str, Any]:
        """Return the trials for the manifest of the bundle."""
        trials = [
            {
                "options": dict(trial.options),
                "epochs": trial.epochs,
                "value": round(trial.value, 6) if math.isfinite(trial.value) else None,
                **({"reason": trial.reason} if trial.reason else {}),
            }
            for trial in self.trials
        ]
        return {"metric": self.metric, "trials": trials}


def search(
    job: Job, settings: Search, partitions: tuple[Partition, ...], *, device: Device | None, progress: Progress
) -> Found:
    """Return the job with the best of the options that `[train.search]` lists; the job itself has no search then.

    All trials train for few epochs; the best third of them trains again with three times as many, and so on, until one
    is left. Trials run on the engine of the job.

    Raises:
        OptionInvalid: no trial has a value. Errors of the job or of an option are raised as for training.
    """
    base = job.model_copy(update={"train": job.train.model_copy(update={"search": None})})
    left = combinations(settings, seed=job.train.seed)
    rounds = math.ceil(math.log(len(left), _KEPT) - 1e-9) if len(left) > 1 else 0
    finished: list[FinishedTrial] = []
    most = job.train.epochs or EPOCHS
    tasks_left = sum(-(-len(left) // _KEPT**at) for at in range(rounds))
    tasks = tasks_left
    machine = MachineSettings(workers=job.run.workers, cluster=ClusterSettings(**job.run.ray.model_dump()))
    with TaskWorkers(job.run.engine, machine) as workers:
        for at in range(rounds):
            epochs = max(_FEWEST_EPOCHS, most // _KEPT ** (rounds - at))
            shares = _Shares(progress, done=tasks - tasks_left, of=tasks)
            values = _run(base, left, settings, partitions, epochs, device=device, workers=workers, shares=shares)
            tasks_left -= len(left)
            trials = [
                FinishedTrial(options, epochs, value, reason)
                for options, (value, reason) in zip(left, values, strict=True)
            ]
            ranked = sorted(trials, key=lambda trial: trial.value)
            winner = ", ".join(f"{name} = {value}" for name, value in ranked[0].options.items())
            log.info("%d trials of %d epochs: best %s, %.4g", len(ranked), epochs, winner, ranked[0].value)
            if math.isinf(ranked[0].value):
                raise OptionInvalid(f"[train.search]: no trial has a value: {ranked[0].reason}. Change the options.")
            kept = -(-len(left) // _KEPT)
            finished = [*ranked[kept:], *finished]
            left = [dict(trial.options) for trial in ranked[:kept]]
            best = ranked[:kept]
    if rounds:
        finished = [*best, *finished]
    return Found(with_options(base, left[0]), settings.metric, tuple(finished))


def combinations(settings: Search, *, seed: int) -> list[dict[str, object]]:
    """Return the options of each trial, by names such as `model.latent`; drawn at random if there are too many.

    >>> combinations(Search(model={"latent": (4, 8)}, train={"seed": (0,)}), seed=0)
    [{'model.latent': 4, 'train.seed': 0}, {'model.latent': 8, 'train.seed': 0}]
    """
    values: dict[str, Sequence[object]] = {f"model.{name}": given for name, given in settings.model.items()}
    values |= {f"train.{name}": given for name, given in settings.train.items()}
    count = settings.size if settings.trials is None else min(settings.trials, settings.size)
    chosen = np.sort(np.random.default_rng(seed).permutation(settings.size)[:count]) if settings.size <= 10**6 else None
    if chosen is None:
        draws = np.random.default_rng(seed).integers(settings.size, size=count, dtype=np.int64)
        chosen = np.unique(draws)
    sizes = [len(each) for each in values.values()]
    places = np.stack(np.unravel_index(chosen, sizes), axis=1)
    return [{name: given[at] for (name, given), at in zip(values.items(), row, strict=True)} for row in places.tolist()]


def with_options(job: Job, options: Mapping[str, object]) -> Job:
    """Return a job with other options, by names such as `model.latent`. Raises JobInvalid."""
    raw = job.model_dump(mode="json", by_alias=True)
    for name, value in options.items():
        section, _, key = name.partition(".")
        raw[section] = raw[section] | {key: value}
    return parse_job(raw, source=job.source)


class _Shares:
    """Progress of a round, as a share of all rounds."""

    def __init__(self, progress: Progress, *, done: int, of: int) -> None:
        self._progress, self._done, self._of = progress, done, of

    def __call__(self, count: int) -> None:
        self._progress("search", (self._done + count) / self._of)


def _run(
    job: Job,
    trials: Sequence[Mapping[str, object]],
    settings: Search,
    partitions: tuple[Partition, ...],
    epochs: int,
    *,
    device: Device | None,
    workers: TaskWorkers,
    shares: _Shares,
) -> list[TrialValue]:
    text = _json(job)
    requests = [
        Trial(
            _json(with_options(job, options)),
            job.source,
            partitions,
            text,
            epochs,
            settings.metric,
            device or job.run.device,
        )
        for options in trials
    ]
    answers = workers.run(run_trial, requests, done=shares)
    return [TrialValue(math.inf, "its worker ended twice") if answer is None else answer for answer in answers]


def _json(job: Job) -> str:
    return json.dumps(job.model_dump(mode="json", by_alias=True))
