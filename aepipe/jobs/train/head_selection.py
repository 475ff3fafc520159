"""The head of a job whose labels may choose it: labels never reach the network, nor what heads are fitted on."""

import logging

from aepipe.config.job import LABELLED, Job
from aepipe.errors import JobInvalid, OptionInvalid
from aepipe.heads import scores as heads
from aepipe.heads.base import HeadStats
from aepipe.heads.model_outputs import ModelProbe, collect_outputs
from aepipe.heads.scorer import FITTED_ROWS
from aepipe.heads.selection import FEWEST, HeadChoice, choose_head
from aepipe.jobs.train.training_data import MOST_LABELLED, TrainingData
from aepipe.models.base import Model

log = logging.getLogger(__name__)


def head_of(job: Job, learning: TrainingData, model: Model) -> HeadChoice:
    """Return the job's head, or the best by labels.

    Labelled rows are dev rows among others, so the heads that labels choose from are fitted on training rows alone.
    """
    default = heads.resolve(job.score.head, job.train.data)
    if job.score.head not in heads.CHOSEN or min(_counts(learning)) < FEWEST:
        return HeadChoice(default, {}, "")
    probe, seed = ModelProbe(model.eval()), job.train.seed
    learned = collect_outputs(probe, learning.train, most=FITTED_ROWS, seed=seed)
    labelled = collect_outputs(probe, learning.labelled, most=MOST_LABELLED, seed=seed)
    chosen = choose_head(HeadStats(learned, learned, seed), labelled, learning.is_anomaly, default=default)
    log.info("%s", chosen.sentence)
    return chosen


def refuse_unlabelled(job: Job) -> None:
    """Raise JobInvalid if labels must select the head and no rule marks anomalies."""
    if job.score.head == LABELLED and job.evaluate.anomaly is None:
        fault = f"[score] head = '{LABELLED}' needs [evaluate] anomaly, such as digit = 9"
        raise JobInvalid(str(job.source), [fault])


def refuse_few(job: Job, learning: TrainingData) -> None:
    """Raise OptionInvalid if labels must select the head and too few rows are labelled."""
    anomalies, normal = _counts(learning)
    if job.score.head == LABELLED and min(anomalies, normal) < FEWEST:
        raise OptionInvalid(
            f"[score] head = '{LABELLED}': {anomalies} anomalies and {normal} normal rows with labels are kept "
            f"from training, {FEWEST} of each are needed; name a head, or widen [train]"
        )


def _counts(learning: TrainingData) -> tuple[int, int]:
    anomalies = int(learning.is_anomaly.sum())
    return anomalies, len(learning.is_anomaly) - anomalies
