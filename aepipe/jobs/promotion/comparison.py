"""Comparison of two versions of a model on the same recent partitions; each partition is read once."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe.batch.series.partition import score_points
from aepipe.calibration.cost_curve import curve_of_nights
from aepipe.config.job import Job
from aepipe.errors import DataUnreadable, EvaluationInvalid, SchemaMismatch
from aepipe.inference.series_columns import point_table
from aepipe.inference.table_model import TableModel
from aepipe.jobs.evaluate.evaluate import Measured
from aepipe.jobs.ground_truth import LabelRule, label_rule
from aepipe.jobs.promotion.column_drift import ColumnDrift, column_drifts
from aepipe.jobs.results import Result
from aepipe.metrics.ranking import (
    Interval,
    Ranking,
    bootstrap_ranking,
    confusion,
    rank_correlation,
)
from aepipe.progress import Progress
from aepipe.tables.parquet_reader import READ_ROWS, read_footer, slices
from aepipe.tables.partitions import Partition, discover
from aepipe.tables.unification import unified_table

KEPT_ROWS = 1_000_000
"""Rows whose scores are kept for the rank correlation and the expected cost, evenly spaced."""
DRIFT_ROWS = 50_000
"""Rows whose columns are compared with the training data, evenly spaced."""
_ROUNDS = 200

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


class LabelMeasures(Result):
    """Measures of one model against the labels of the recent partitions."""

    auroc: Measured
    average_precision: Measured
    precision: float
    recall: float
    false_alarm_rate: float


class ModelFigures(Result):
    """Figures of one model on the recent partitions."""

    version: str
    family: str
    head: str
    alpha: float
    calibration_alarm_rate: float
    """share of the calibration rows that is flagged"""
    alarm_rate: float
    """share of the recent rows that is flagged"""
    alarms_per_partition: float
    invalid: int
    """recent rows that the model cannot score"""
    trained_on: tuple[str, ...]
    """recent partitions that the model was trained on"""
    cost: float | None
    """expected cost per partition; None without a cost table"""
    labels: LabelMeasures | None
    """None unless labels of both classes are known"""
    rows_per_s: float
    bytes: int
    """size of the bundle"""
    drift: ColumnDrift | None = None
    """largest change of a column since the training data; None if it cannot be measured"""


class PartitionAlarms(Result):
    """Flagged rows of one partition by each model."""

    partition: str
    rows: int
    champion: int
    challenger: int
    both: int


class Comparison(Result):
    """Champion and challenger on the same rows."""

    champion: ModelFigures
    challenger: ModelFigures
    partitions: tuple[PartitionAlarms, ...]
    left_out: dict[str, str]
    """partitions that cannot be compared, and why"""
    rows: int
    """rows that both models can score"""
    agreement: float | None
    """rows that both flag, as a share of the rows that one of them flags; None if none is flagged"""
    rank_correlation: float | None
    cost_difference: float | None
    """expected cost per partition of the challenger minus that of the champion"""
    labelled: int
    anomalies: int


class _Scored(NamedTuple):
    """Answers of one model to a batch, (B,) each."""

    scores: Floats
    flags: Flags

    @classmethod
    def of(cls, answers: pa.Table) -> "_Scored":
        scores = np.asarray(answers["score"].to_numpy(), np.float64)
        return cls(scores, np.asarray(answers["is_anomaly"].to_numpy()))

    @property
    def valid(self) -> Flags:
        return np.isfinite(self.scores)


@dataclass(slots=True)
class _Collected:
    """Running figures of one model."""

    model: TableModel
    seconds: float = 0.0
    invalid: int = 0
    alarms: int = 0
    kept: list[Floats] = field(default_factory=list)
    labelled: list[_Scored] = field(default_factory=list)

    def score(self, table: pa.Table, partition: Partition, context: Sequence[Partition]) -> pa.Table:
        """Score rows. Of a series job they are a whole partition, whose windows reach into the context."""
        began, bundle = perf_counter(), self.model.bundle
        if bundle.series is None:
            answers = self.model.score(table)
        else:
            answers = point_table(score_points(bundle, bundle.series, partition, context, self.model.scorer))
        self.seconds += perf_counter() - began
        return answers


class Watcher(Protocol):
    """Consumer of the scores of both models, batch by batch."""

    @property
    def columns(self) -> Sequence[str]:
        """Further columns to read, as far as the files have them."""
        ...

    def add_batch(self, partition: str, begin: int, table: pa.Table, answers: tuple[pa.Table, pa.Table]) -> None:
        """Take a batch, whose first row is `begin` in the partition, and its scores by each model."""
        ...

    def end_partition(self, *, is_compared: bool) -> None:
        """Take note that the partition is complete, or that it is left out."""
        ...


def compare_models(
    job: Job,
    champion: TableModel,
    challenger: TableModel,
    partitions: Sequence[Partition],
    *,
    progress: Progress,
    watch: Watcher | None = None,
) -> Comparison:
    """Score the partitions with both models in one read, and compare scores, alarms, labels, cost and speed.

    A partition that one of the models cannot read is left out, with the reason. `watch` sees the scores of each batch.

    Raises:
        DataUnreadable: no partition can be compared.
    """
    both = _Comparing(job, champion, challenger, partitions, watch)
    for index, partition in enumerate(partitions):
        progress(f"compare {partition.name}", index / len(partitions))
        both.add(partition)
        if watch is not None:
            watch.end_partition(is_compared=partition.name not in both.left_out)
    if not both.partitions:
        reasons = "; ".join(f"{name}: {why}" for name, why in both.left_out.items())
        raise DataUnreadable(f"no recent partition can be compared: {reasons}. Repair the source, or name partitions.")
    return both.result()


class _Comparing:
    """Accumulator of a comparison, one partition after another."""

    def __init__(
        self,
        job: Job,
        champion: TableModel,
        challenger: TableModel,
        partitions: Sequence[Partition],
        watch: Watcher | None,
    ) -> None:
        self._job = job
        self._watch = watch
        self._rule = label_rule(job)
        self._models = (_Collected(champion), _Collected(challenger))
        has_points = any(each.model.bundle.series is not None for each in self._models)
        self._context = discover(job) if has_points else ()
        self._truth: list[Flags] = []
        self._rows = 0
        self.partitions: list[PartitionAlarms] = []
        self.left_out: dict[str, str] = {}
        rows = sum(map(rows_of, partitions))
        self._step = max(1, math.ceil(rows / KEPT_ROWS))
        self._drift_step = max(1, math.ceil(rows / DRIFT_ROWS))
        self._sampled: list[pa.Table] = []

    def add(self, partition: Partition) -> None:
        """Score a partition; note it as left out if that fails, without a trace in the figures."""
        try:
            batches, sampled, begin = [], [], 0
            for table in self._tables(partition):
                first, second = (each.score(table, partition, self._context) for each in self._models)
                if self._watch is not None:
                    self._watch.add_batch(partition.name, begin, table, (first, second))
                batches.append((_Scored.of(first), _Scored.of(second), _labels(self._rule, table)))
                begin += table.num_rows
                sampled.append(table.take(np.arange(0, table.num_rows, self._drift_step)))
        except (DataUnreadable, SchemaMismatch) as error:
            self.left_out[partition.name] = str(error)
            return
        rows = sum(len(champion.scores) for champion, _, _ in batches)
        if not rows:
            self.left_out[partition.name] = "it has no rows"
            return
        self._sampled += sampled
        counts = np.zeros(3, np.int64)
        for champion, challenger, labels in batches:
            counts += self._take(champion, challenger, labels)
        first, second, both = (int(count) for count in counts)
        self.partitions.append(
            PartitionAlarms(partition=partition.name, rows=rows, champion=first, challenger=second, both=both)
        )

    def _tables(self, partition: Partition) -> Iterator[pa.Table]:
        """Yield the rows of a partition; of a series job all at once, since their windows belong together."""
        tables = self._batches(partition)
        if not self._context:
            yield from tables
        elif whole := list(tables):
            yield unified_table(whole)

    def _batches(self, partition: Partition) -> Iterator[pa.Table]:
        wanted = {name for each in self._models for name in each.model.bundle.source.columns_read}
        wanted |= self._rule.columns if self._rule is not None else frozenset()
        wanted |= set(self._watch.columns) if self._watch is not None else frozenset()
        for path in partition.files:
            present = [name for name in read_footer(path).schema.names if name in wanted]
            for batch in slices([path], present, rows=READ_ROWS):
                yield pa.Table.from_batches([batch])

    def _take(self, champion: _Scored, challenger: _Scored, labels: "tuple[Flags, Flags] | None") -> NDArray[np.int64]:
        """Add the rows of a batch, and return the flags of each model and of both."""
        valid = champion.valid & challenger.valid
        self._rows += int(np.count_nonzero(valid))
        known = valid & labels[0] if labels is not None else np.zeros(len(valid), np.bool_)
        for each, scored in zip(self._models, (champion, challenger), strict=True):
            each.invalid += int(np.count_nonzero(~scored.valid))
            each.alarms += int(np.count_nonzero(scored.flags))
            each.kept.append(scored.scores[valid][:: self._step])
            each.labelled.append(_Scored(scored.scores[known], scored.flags[known]))
        if labels is not None:
            self._truth.append(labels[1][known])
        both = champion.flags & challenger.flags
        return np.array([np.count_nonzero(flags) for flags in (champion.flags, challenger.flags, both)])

    def result(self) -> Comparison:
        """Return the comparison of all partitions so far."""
        champion, challenger = self._models
        truth = np.concatenate(self._truth) if self._truth else np.zeros(0, np.bool_)
        first, second = (self._figures(each, truth) for each in self._models)
        either = sum(night.champion + night.challenger - night.both for night in self.partitions)
        kept = [np.concatenate(each.kept) for each in (champion, challenger)]
        known = first.cost is not None and second.cost is not None
        return Comparison(
            champion=first,
            challenger=second,
            partitions=tuple(self.partitions),
            left_out=self.left_out,
            rows=self._rows,
            agreement=sum(night.both for night in self.partitions) / either if either else None,
            rank_correlation=rank_correlation(*kept) if len(kept[0]) > 1 else None,
            cost_difference=second.cost - first.cost if known else None,  # type: ignore[operator]
            labelled=len(truth),
            anomalies=int(np.count_nonzero(truth)),
        )

    def _figures(self, each: _Collected, truth: Flags) -> ModelFigures:
        bundle, nights = each.model.bundle, len(self.partitions)
        rows = sum(night.rows for night in self.partitions)
        scores, flags = (np.concatenate(parts) for parts in zip(*each.labelled, strict=True))
        measures = measure_labels(truth, scores, flags)
        calibration = bundle.calibration
        above = np.searchsorted(calibration.scores, calibration.threshold, side="right")
        ranks = calibration.ranks or range(1, calibration.n + 1)
        return ModelFigures(
            version=bundle.path.name,
            family=bundle.manifest.family,
            head=bundle.manifest.head,
            alpha=calibration.alpha,
            calibration_alarm_rate=1 - ranks[int(above) - 1] / calibration.n,
            alarm_rate=each.alarms / rows,
            alarms_per_partition=each.alarms / nights,
            invalid=each.invalid,
            trained_on=tuple(n.partition for n in self.partitions if n.partition in bundle.manifest.train_partitions),
            cost=self._cost(each, measures, rows=rows / nights),
            labels=measures,
            rows_per_s=rows / each.seconds,
            bytes=sum(len(data) for data in bundle.files.values()),
            drift=next(iter(column_drifts(each.model, self._sampled)), None),
        )

    def _cost(self, each: _Collected, measures: LabelMeasures | None, *, rows: float) -> float | None:
        """Return the expected cost per partition: by labels, else as `calibrate` estimates it from unlabelled rows."""
        costs = self._job.calibration.costs
        if costs is None:
            return None
        if measures is not None:
            return rows * costs.expected(false_alarm_rate=measures.false_alarm_rate, recall=measures.recall)
        scores = np.concatenate(each.kept)
        if not len(scores) or each.model.bundle.manifest.is_polluted:
            return None
        calibration = each.model.bundle.calibration
        if calibration.entities:  # no threshold on the scores stands for all rows: the flags do
            excess = each.alarms / self._rows - (1 - costs.base_rate) * calibration.alpha
            recall = min(1.0, max(0.0, excess / costs.base_rate))
            return rows * costs.expected(false_alarm_rate=calibration.alpha, recall=recall)
        curve = curve_of_nights(calibration.steps, scores, costs, rows=rows)
        return float(curve.cost[np.searchsorted(curve.alpha, calibration.alpha, side="right") - 1])


def rows_of(partition: Partition) -> int:
    """Return the number of rows by the footers; 0 if a file cannot be read."""
    try:
        return sum(read_footer(path).rows for path in partition.files)
    except DataUnreadable:  # the partition is left out when it is read
        return 0


def _labels(rule: LabelRule | None, table: pa.Table) -> "tuple[Flags, Flags] | None":
    if rule is None or not rule.columns <= set(table.column_names):
        return None
    labels = rule.of(table)
    return labels.known, labels.is_anomaly


def measure_labels(truth: Flags, scores: Floats, flags: Flags) -> LabelMeasures | None:
    """Return the measures against labels, (B,) each; None unless both classes are labelled."""
    try:
        ranking = Ranking.of(truth, scores)
    except EvaluationInvalid:
        return None
    found = confusion(truth, flags)
    intervals = bootstrap_ranking(ranking, seed=0, rounds=_ROUNDS)
    return LabelMeasures(
        auroc=_interval(intervals.auroc),
        average_precision=_interval(intervals.average_precision),
        precision=found.precision,
        recall=found.recall,
        false_alarm_rate=found.false_alarm_rate,
    )


def _interval(found: Interval) -> Measured:
    return Measured(value=found.value, low=found.low, high=found.high)
