"""Two versions of a model on the same recent partitions, for the page that compares them."""

import math
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe.config.job import Job
from aepipe.inference.table_model import TableModel
from aepipe.jobs.evaluate.evaluate import Measured
from aepipe.jobs.promotion.column_drift import column_drifts
from aepipe.jobs.promotion.comparison import (
    DRIFT_ROWS,
    Comparison,
    LabelMeasures,
    ModelFigures,
    compare_models,
    rows_of,
)
from aepipe.jobs.promotion.promote import recent_partitions
from aepipe.jobs.report.page_data import HISTOGRAM_ROWS
from aepipe.jobs.report.paired_alarms import AlarmTally, SideRows, lowest, paired_alarm, row_names
from aepipe.metrics.drift import Change
from aepipe.progress import Progress
from aepipe.report import formatting
from aepipe.report.compare_page import ComparePage, Measure, PairedDrift, Side
from aepipe.report.page_model import PairedNight, Scores
from aepipe.tables.partitions import Partition

Pair = tuple[TableModel, TableModel]


def pair_models(job: Job, models: Pair, names: tuple[str, str], *, progress: Progress) -> ComparePage:
    """Score the latest partitions that neither version was trained on with both, and compare what they find.

    Points of a series job are flagged by the calibration of each version alone, without thresholds that adapt.

    Raises:
        DataUnreadable: no partition can be compared.
    """
    trained_on = {name for model in models for name in model.bundle.manifest.train_partitions}
    partitions = recent_partitions(job, sorted(trained_on))
    series = next((model.bundle.series for model in models if model.bundle.series is not None), None)
    source = None if series is None else series.source
    columns = job.data.keys if source is None else (*source.entity, source.time) if source.time is not None else ()
    watched = _Watched(columns, names, partitions)
    found = compare_models(job, *models, partitions, progress=progress, watch=watched)
    figures = (found.champion, found.challenger)
    sides = tuple(watched.side(at, model, figures[at], names[at]) for at, model in enumerate(models))
    drifts = [column_drifts(model, watched.sampled) for model in models]
    before, after = (
        {each.column: Change(each.distance, each.low, each.high, each.shift) for each in changes} for changes in drifts
    )
    drift = tuple(PairedDrift(name, "column", before.get(name), after.get(name)) for name in {**before, **after})
    unit = "rows" if series is None else "points"
    joined = f"Both versions scored the same {found.rows:,} {unit} of {len(found.partitions)} partitions."
    if found.agreement is not None:
        joined += f" Of the {unit} that either flags, both flag {formatting.percent(found.agreement)}."
    if found.rank_correlation is not None:
        joined += f" The rank correlation of their scores is {formatting.number(found.rank_correlation)}."
    absent = {}
    if not any(side.reasons for side in sides):
        absent["reasons"] = "No flagged row has an attribution."
    if not drift:
        absent["drift"] = "Neither version has a drift reference of its columns."
    if not any(side.measures for side in sides):
        absent["labels"] = "The partitions have no labels of both classes ([evaluate] anomaly)."
    return ComparePage(
        job=job.name,
        kind="models",
        written_at=max(datetime.fromisoformat(model.bundle.manifest.created_at) for model in models),
        sides=(sides[0], sides[1]),
        notices=_notices(found, names, is_adaptive=series is not None and job.calibration.adaptive),
        joined=joined,
        alarms=watched.alarms.groups(),
        partitions=tuple(
            PairedNight(night.partition, night.rows, night.champion, night.challenger, night.both)
            for night in found.partitions
        ),
        drift=drift,
        absent=absent,
    )


def _notices(found: Comparison, names: tuple[str, str], *, is_adaptive: bool) -> list[str]:
    """Return what the reader of the page has to know: partitions left out or trained on, thresholds left out."""
    notices = [f"{partition} is left out: {why}" for partition, why in found.left_out.items()]
    notices += [
        f"{name} was trained on {len(each.trained_on)} of the {len(found.partitions)} partitions, where its alarms are "
        "too few"
        for each, name in zip((found.champion, found.challenger), names, strict=True)
        if each.trained_on
    ]
    if is_adaptive:
        notices.append(
            "thresholds that adapt from night to night are left out: each version flags points by its calibration, so "
            "that the alarms differ from the outputs"
        )
    return notices


class _Watched:
    """Watcher of a comparison: flagged rows, attributions, scores and a sample of the rows."""

    def __init__(self, columns: Sequence[str], names: tuple[str, str], partitions: Sequence[Partition]) -> None:
        self.columns = columns
        self.alarms = AlarmTally(("flagged by both", f"only by {names[0]}", f"only by {names[1]}"))
        self.sampled: list[pa.Table] = []
        self._reasons: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
        self._scores: tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]] = ([], [])
        self._rows = 0
        self._pending: list[tuple[str, int, pa.Table, tuple[SideRows, SideRows], list[NDArray[np.float64]]]] = []
        rows = sum(map(rows_of, partitions))
        self._drift_step = max(1, math.ceil(rows / DRIFT_ROWS))
        self._score_step = max(1, math.ceil(rows / HISTOGRAM_ROWS))

    def add_batch(self, partition: str, begin: int, table: pa.Table, answers: tuple[pa.Table, pa.Table]) -> None:
        """Take the answers of both versions to a batch; they count once the partition is complete."""
        sides = (SideRows.of(answers[0]), SideRows.of(answers[1]))
        scores = [np.asarray(each["score"].to_numpy(), np.float64)[:: self._score_step] for each in answers]
        self._pending.append((partition, begin, table, sides, scores))

    def end_partition(self, *, is_compared: bool) -> None:
        """Count the batches of a partition, or drop them."""
        for partition, begin, table, sides, scores in self._pending if is_compared else ():
            self._rows += len(table)
            self._count_alarms(partition, begin, table, sides)
            self.sampled.append(table.take(np.arange(0, len(table), self._drift_step)))
            for side, counter, kept, found in zip(sides, self._reasons, self._scores, scores, strict=True):
                counter.update(reason for reason in side.reason if reason is not None)
                kept.append(found)
        self._pending = []

    def _count_alarms(self, partition: str, begin: int, table: pa.Table, sides: tuple[SideRows, SideRows]) -> None:
        first, second = sides
        p_values = np.fmin(first.p_value, second.p_value)
        present = [name for name in self.columns if name in table.column_names]
        groups = (first.flagged & second.flagged, first.flagged & ~second.flagged, second.flagged & ~first.flagged)
        for at, group in enumerate(groups):
            rows = lowest(p_values, group).tolist()
            names = row_names(table.select(present), partition, begin, rows)
            found = [paired_alarm(name, sides, (row, row)) for name, row in zip(names, rows, strict=True)]
            self.alarms.add(at, int(group.sum()), found)

    def side(self, at: int, model: TableModel, figures: ModelFigures, name: str) -> Side:
        """Return the figures of one version."""
        calibration = model.bundle.calibration
        facts = {
            "share of the calibration rows that is flagged": formatting.percent(figures.calibration_alarm_rate),
            "partitions it was trained on": formatting.count(len(figures.trained_on)),
            "size of the bundle": formatting.size(figures.bytes),
        }
        if figures.cost is not None:
            facts["expected cost per partition"] = formatting.number(figures.cost)
        return Side(
            name=name,
            note=f"{figures.family}, {figures.head}",
            model_version=model.version,
            rows=self._rows,
            invalid=figures.invalid,
            flagged=round(figures.alarm_rate * self._rows),
            alpha=calibration.alpha,
            calibration_rows=calibration.n,
            scores=Scores(np.concatenate(self._scores[at]), np.asarray(calibration.scores), calibration.threshold),
            reasons=dict(self._reasons[at].most_common()),
            measures=to_measures(figures.labels),
            rows_per_s=figures.rows_per_s,
            facts=facts,
        )


def to_measures(labels: LabelMeasures | None) -> dict[str, Measure]:
    """Return measures against labels by name; empty without labels."""
    if labels is None:
        return {}
    return {
        "AUROC": _measure(labels.auroc),
        "average precision": _measure(labels.average_precision),
        "precision of the flagged rows": Measure(labels.precision),
        "recall of the flagged rows": Measure(labels.recall),
        "false alarm rate": Measure(labels.false_alarm_rate),
    }


def _measure(found: Measured) -> Measure:
    return Measure(found.value, (found.low, found.high))
