"""Evaluation of scored nights against labels, with baselines on the same rows.

Accuracy is not among the measures: where one row in a hundred is an anomaly, silence is 99 % accurate. Neither is
point-adjusted F1, under which one alarm counts for a whole event and a random score reaches 0.945.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aepipe.config.cost_table import Costs
from aepipe.config.job import Job, read_job
from aepipe.errors import ArgumentInvalid, DataUnreadable, EvaluationInvalid
from aepipe.jobs.evaluate.baseline_scores import rank_baselines
from aepipe.jobs.evaluate.baselines import Rivals, fit_baselines
from aepipe.jobs.evaluate.labelled_scores import CHANGED, LabelledScores, join_labels
from aepipe.jobs.evaluate.series_order import SeriesOrder, order_by_series
from aepipe.jobs.ground_truth import LabelRule, resolve_label_rule
from aepipe.jobs.results import Result
from aepipe.jobs.role_warnings import label_copy_warnings, modelled_label_warnings
from aepipe.jobs.scored_partitions import ScoredPartitions, open_model
from aepipe.metrics.events import EventRecall, event_recall
from aepipe.metrics.ranking import (
    Interval,
    Ranking,
    bootstrap_alarms,
    bootstrap_ranking,
    confusion,
)
from aepipe.progress import Progress
from aepipe.storage import SCORE, Manifest, Outputs, ScoreDetails
from aepipe.stores import as_path
from aepipe.tables.open_files import files_opened_once
from aepipe.tables.partitions import Partition, select

ROUNDS = 1_000
_DRAWN = 100_000_000
"""Rows drawn for one interval at most: of many rows an interval is narrow, and fewer rounds tell how narrow."""


class Measured(Result):
    """A measure, and the 95 % interval of a bootstrap that draws rows again within each class."""

    value: float
    low: float
    high: float


class Contender(Result):
    """Measures of one detector; its alarms are the scores above its own threshold at the alpha of the model."""

    name: str
    auroc: Measured
    average_precision: Measured
    precision: Measured
    recall: Measured
    f1: float
    alarms_per_night: float
    false_alarms_per_night: float
    cost: float | None
    """expected cost of false alarms and misses per night; None without costs"""
    event_recall: float | None
    """share of events found within the budget of false alarms; None without an event time"""
    vus_pr: float | None = None
    """volume under the surface of precision and recall, mean over the series with anomalies; None for rows"""
    median_delay: float | None = None
    """steps from the start of an event to its first alarm, of the events found; None for rows"""


class Evaluation(Result):
    """The model first, then the baselines, all on the same rows."""

    model_version: str
    truth: str
    """which rows are anomalies"""
    partitions: tuple[str, ...]
    rows: int
    anomalies: int
    unscored: int
    """rows without a score, which count as rows that nothing raised an alarm for"""
    unlabelled: int
    """rows that are left out, since nothing says what they are"""
    left_out: dict[str, str]
    """partitions that are left out, and why"""
    alpha: float
    threshold: float
    events: int | None
    false_alarms_a_night: float
    """the budget of `event_recall`"""
    rejudged: tuple[str, ...]
    """partitions scored under another calibration; their alarms follow the active one"""
    costs: Costs | None
    cost_of_silence: float | None
    """expected cost per night of missing every anomaly"""
    contenders: tuple[Contender, ...]
    rounds: int
    seed: int
    trained_on: tuple[str, ...] = ()
    """evaluated partitions that the model was trained on"""
    warnings: tuple[str, ...] = ()
    """what the figures do not say: labels that the model sees, nights that it was trained on, a baseline that wins"""


@files_opened_once()
def evaluate(
    job_path: str | Path,
    *,
    label: str | None = None,
    positive: str | None = None,
    first: str | None = None,
    last: str | None = None,
    cost_false_alarm: float | None = None,
    cost_miss: float | None = None,
    false_alarms: float = 1.0,
    seed: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate the scores of the nights from `first` to `last` against their labels.

    Alarms follow the active calibration. The baselines are stored with the outputs; nothing else is written.

    Args:
        job_path: The job file.
        label: Source column; None for `[evaluate] anomaly`, or the job's only label.
        positive: Value of the label column that marks an anomaly.
        first: First night; None for the first one scored.
        last: Last night; None for the last one scored.
        cost_false_alarm: Cost of a false alarm, in place of the job's.
        cost_miss: Cost of a miss, in place of the job's. The base rate defaults to the share of anomalies.
        false_alarms: Budget of false alarms per night for the recall of events.
        seed: Seed of the bootstrap.
        progress: Callback for progress.

    Raises:
        DataUnreadable: No night is scored.
        SchemaMismatch: No source has the label column.
        EvaluationInvalid: Labels, scores or nights support no measure.
        ArgumentInvalid: A cost or the budget is out of range.
    """
    job = read_job(job_path)
    _refuse_costs(job, cost_false_alarm, cost_miss)
    if not 0 <= false_alarms < math.inf:
        raise ArgumentInvalid("false_alarms", [f"expected a finite number per night, 0 or more, got {false_alarms:g}"])
    manifests = _chosen(job, first, last)
    _refuse_unlike(manifests)
    version = manifests[0].model_version.rpartition("/")[2]
    scored = ScoredPartitions(job, open_model(job, version), names={manifest.partition for manifest in manifests})
    truth = _truth(scored, label, positive)
    labelled = join_labels(scored, truth)
    Ranking.of(labelled.truth, labelled.scores)  # refuses labels of one class before anything is written
    costs = _costs(job, labelled, cost_false_alarm, cost_miss)
    rivals = rank_rivals(scored, labelled, progress=progress)
    return evaluate_labelled(scored, labelled, rivals, truth=truth, costs=costs, false_alarms=false_alarms, seed=seed)


def rank_rivals(scored: ScoredPartitions, labelled: LabelledScores, *, progress: Progress | None = None) -> Rivals:
    """Fit the baselines of a model, and score the labelled rows by them."""
    bundle = scored.model.bundle
    if bundle.series is not None:
        from aepipe.jobs.evaluate.series_baselines import rank_series_baselines  # torch, which other jobs do not need

        return rank_series_baselines(scored, labelled, bundle.series)
    return rank_baselines(scored, labelled, fit_baselines(scored, alpha=bundle.calibration.alpha, progress=progress))


def evaluate_labelled(
    scored: ScoredPartitions,
    labelled: LabelledScores,
    rivals: Rivals,
    *,
    truth: LabelRule,
    costs: Costs | None = None,
    false_alarms: float = 1.0,
    seed: int = 0,
) -> Evaluation:
    """Evaluate labelled scores against the scores of baselines."""
    calibration = scored.model.bundle.calibration
    stage = scored.model.bundle.series
    in_series = None if stage is None else order_by_series(scored, labelled, window=stage.window)
    terms = _Terms(labelled, costs, math.floor(false_alarms * len(labelled.nights)), seed, in_series)
    ours = terms.measure(f"aepipe {scored.model.bundle.manifest.family}", labelled.scores, labelled.flagged)
    others = [terms.measure(name, found, found > rivals.thresholds[name]) for name, found in rivals.scores.items()]
    names = tuple(night.manifest.partition for night in labelled.nights)
    trained_on = tuple(name for name in names if name in scored.model.bundle.manifest.train_partitions)
    return Evaluation(
        model_version=scored.model.version,
        truth=truth.words,
        partitions=names,
        rows=len(labelled.truth),
        anomalies=int(labelled.truth.sum()),
        unscored=labelled.unscored,
        unlabelled=labelled.unlabelled,
        left_out=dict(labelled.left_out),
        alpha=calibration.alpha,
        threshold=calibration.threshold,
        events=terms.count_events(),
        false_alarms_a_night=false_alarms,
        rejudged=tuple(
            night.manifest.partition for night in labelled.nights if not scored.has_active_calibration(night.manifest)
        ),
        costs=costs,
        cost_of_silence=terms.cost(false_alarm_rate=0.0, recall=0.0),
        contenders=(ours, *others),
        rounds=terms.rounds,
        seed=seed,
        trained_on=trained_on,
        warnings=(
            *modelled_label_warnings(
                scored.job, scored.model.bundle.source.schema, version=scored.model.version, used=truth.columns
            ),
            *label_copy_warnings(scored.model.bundle.source.schema, rivals.first_rows, labels=sorted(truth.columns)),
            *comparison_warnings(ours, others, trained_on=trained_on, nights=len(names)),
            *rivals.absent,
        ),
    )


def comparison_warnings(
    ours: Contender, rivals: Sequence[Contender], *, trained_on: Sequence[str], nights: int
) -> Iterator[str]:
    """Yield what a reader must know to compare the model with the baselines.

    Args:
        ours: measures of the model.
        rivals: measures of the baselines.
        trained_on: evaluated partitions that the model was trained on.
        nights: number of evaluated partitions.
    """
    if trained_on:
        span = trained_on[0] if len(trained_on) == 1 else f"{trained_on[0]} to {trained_on[-1]}"
        later = "Score and evaluate partitions that it has not seen" if len(trained_on) == nights else "Leave them out"
        yield (
            f"the model was trained on {len(trained_on)} of the {nights} partitions evaluated ({span}), which can make "
            f"it look better than it is. {later}, with the options from and to."
        )
    best = max(rivals, key=lambda rival: rival.average_precision.value, default=None)
    if best is not None and best.average_precision.value > ours.average_precision.value:
        is_clear = best.average_precision.low > ours.average_precision.high
        yield (
            f"the baseline '{best.name}' ranks the anomalies better than the model: average precision "
            f"{best.average_precision.value:.3f} against {ours.average_precision.value:.3f}"
            f"{'' if is_clear else ', within the intervals'}. Use it, or try another family or head."
        )


@dataclass(frozen=True, slots=True)
class _Terms:
    """Evaluation settings shared by all contenders: rows, costs, budget of false alarms and draws."""

    labelled: LabelledScores
    costs: Costs | None
    budget: int
    seed: int
    in_series: SeriesOrder | None = None
    """order of the points of a series job"""

    @property
    def rounds(self) -> int:
        return max(100, min(ROUNDS, _DRAWN // len(self.labelled.truth)))

    def measure(self, name: str, scores: NDArray[np.float64], flagged: NDArray[np.bool_]) -> Contender:
        nights, truth, rounds, seed = len(self.labelled.nights), self.labelled.truth, self.rounds, self.seed
        found, ranking = confusion(truth, flagged), Ranking.of(truth, scores)
        of_series = None if self.in_series is None else self.in_series.measure(truth, scores, budget=self.budget)
        events = self.events(scores) if of_series is None else of_series.events
        intervals = bootstrap_ranking(ranking, seed=seed, rounds=rounds)
        alarms = bootstrap_alarms(found, seed=seed, rounds=ROUNDS)
        return Contender(
            name=name,
            auroc=_measured(intervals.auroc),
            average_precision=_measured(intervals.average_precision),
            precision=_measured(alarms.precision),
            recall=_measured(alarms.recall),
            f1=found.f_beta(),
            alarms_per_night=found.flagged / nights,
            false_alarms_per_night=found.false_positives / nights,
            cost=self.cost(false_alarm_rate=found.false_alarm_rate, recall=found.recall),
            event_recall=None if events is None else events.recall,
            vus_pr=None if of_series is None else of_series.vus_pr,
            median_delay=None if of_series is None else of_series.events.median_delay,
        )

    def count_events(self) -> int | None:
        """Count the runs of anomalies; None without event times."""
        if self.in_series is not None:
            return self.in_series.count_events(self.labelled.truth)
        found = self.events(self.labelled.scores)
        return None if found is None else found.events

    def cost(self, *, false_alarm_rate: float, recall: float) -> float | None:
        """Return the expected cost per partition; None without costs."""
        if self.costs is None:
            return None
        rows = len(self.labelled.truth) / len(self.labelled.nights)
        return rows * self.costs.expected(false_alarm_rate=false_alarm_rate, recall=recall)

    def events(self, scores: NDArray[np.float64]) -> EventRecall | None:
        """Return the recall of events; None without event times."""
        in_time = self.labelled.in_time
        if in_time is None:
            return None
        return event_recall(self.labelled.truth[in_time], scores[in_time], false_alarms=self.budget)


def _refuse_costs(job: Job, false_alarm: float | None, miss: float | None) -> None:
    if job.calibration.costs is None and (false_alarm is None) != (miss is None):
        absent = "cost_false_alarm" if false_alarm is None else "cost_miss"
        raise ArgumentInvalid(absent, ["expected both costs, got the other one alone. Give both, or neither."])
    for name, cost in (("cost_false_alarm", false_alarm), ("cost_miss", miss)):
        if cost is not None and not 0 <= cost < math.inf:
            raise ArgumentInvalid(name, [f"expected a finite number, 0 or more, got {cost:g}"])


def _costs(job: Job, labelled: LabelledScores, false_alarm: float | None, miss: float | None) -> Costs | None:
    """Return the job's cost table with these costs in place of its own; the base rate defaults to that of the rows."""
    table = job.calibration.costs
    if false_alarm is None or miss is None:
        if table is None:
            return None
        false_alarm = table.false_alarm if false_alarm is None else false_alarm
        miss = table.miss if miss is None else miss
    base_rate = float(labelled.truth.mean()) if table is None else table.base_rate
    return Costs(false_alarm=false_alarm, miss=miss, base_rate=base_rate)


def _chosen(job: Job, first: str | None, last: str | None) -> tuple[Manifest[ScoreDetails], ...]:
    found = {manifest.partition: manifest for manifest in Outputs(job.out_path).manifests(SCORE)}
    if not found:
        raise DataUnreadable(f"{job.out_path} has no scores. Run: aepipe score {job.source}")
    partitions = [Partition(name, ()) for name in found]
    return tuple(found[partition.name] for partition in select(partitions, first, last))


def _refuse_unlike(manifests: Sequence[Manifest[ScoreDetails]]) -> None:
    """Raise EvaluationInvalid if the scores are of more than one model."""
    nights: dict[str, list[str]] = {}
    for manifest in manifests:
        nights.setdefault(manifest.model_version, []).append(manifest.partition)
    if len(nights) > 1:
        counts = {
            version: f"{len(names)} nights such as " if len(names) > 1 else "" for version, names in nights.items()
        }
        each = "; ".join(f"{counts[version]}{names[0]} by {version}" for version, names in nights.items())
        raise EvaluationInvalid(
            f"the nights have scores of several models: expected one, got {each}. Choose nights of one model, or score "
            "them again."
        )


def _truth(scored: ScoredPartitions, label: str | None, positive: str | None) -> LabelRule:
    names = scored.unchanged
    if not names:
        raise EvaluationInvalid(f"no scored night can be evaluated: for each, {CHANGED}. Score a night again.")
    files = [as_path(path) for m in scored.manifests if m.partition in names for path in m.details.inputs]
    return resolve_label_rule(scored.job, files, label=label, positive=positive)


def _measured(found: Interval) -> Measured:
    return Measured(value=found.value, low=found.low, high=found.high)
