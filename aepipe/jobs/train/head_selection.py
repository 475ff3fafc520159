"""The head of a job whose labels may choose it: labels never reach the network, nor what heads are fitted on."""

import logging

from aepipe.config.job import LABELLED, Job
from aepipe.errors import JobInvalid, OptionInvalid
from aepipe.heads import scores as heads
from aepipe.heads.base import HeadStats, ScoringInputs
from aepipe.heads.model_outputs import collect_outputs, fit_probe
from aepipe.heads.scorer import FITTED_ROWS, collect_training_outputs
from aepipe.heads.selection import FEWEST, HeadChoice, choose_head
from aepipe.jobs.train.training_data import TrainingData
from aepipe.jobs.train.training_rows import MOST_LABELLED
from aepipe.models.base import Model

log = logging.getLogger(__name__)


def choose_head_by_labels(
    job: Job, learning: TrainingData, model: Model, *, default: str
) -> tuple[HeadChoice, ScoringInputs | None]:
    """Return the best head by labels if the job asks for it, else the default.

    Labelled rows are dev rows among others, so the heads that labels choose from are fitted on training rows alone.

    Args:
        job: The job.
        learning: Training data with the labelled rows.
        model: Trained model.
        default: Head of the job, or the one to keep in case of doubt.

    Returns:
        The choice, and the outputs of the training rows if they were computed for it.
    """
    if job.score.head not in heads.CHOSEN or min(_counts(learning)) < FEWEST:
        return HeadChoice(default, {}, ""), None
    seed = job.train.seed
    probe = fit_probe(model.eval(), learning.train, most=FITTED_ROWS, seed=seed)
    learned = collect_training_outputs(probe, learning.train, seed=seed)
    labelled = collect_outputs(probe, learning.labelled, most=MOST_LABELLED, seed=seed)
    chosen = choose_head(HeadStats(learned, learned, seed), labelled, learning.is_anomaly, default=default)
    log.info("%s", chosen.sentence)
    return chosen, learned


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
