"""Recalibration of a model without retraining. Nothing here knows torch or pandas."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe.batch.series.partition import score_points
from aepipe.bundles.active_calibration import activate_calibration, with_active_calibration
from aepipe.bundles.bundle import Bundle
from aepipe.bundles.job_bundle import open_bundle
from aepipe.bundles.registry import current_user
from aepipe.calibration.conformal import Calibration
from aepipe.config.job import Device, Job, read_job
from aepipe.errors import ArgumentInvalid, CalibrationInvalid
from aepipe.inference.batch_runner import Runner
from aepipe.inference.session import Session
from aepipe.inference.table_model import TableModel
from aepipe.jobs import threshold_selection as threshold
from aepipe.jobs.ground_truth import LabelRule, Labels, label_rule, resolve_label_rule
from aepipe.jobs.results import Result
from aepipe.jobs.score import chosen_partitions
from aepipe.jobs.scored_manifests import latest_nights
from aepipe.jobs.threshold_selection import Evidence, Labelled
from aepipe.progress import Progress, no_progress
from aepipe.series.stage import SeriesStage
from aepipe.storage import Manifest, Outputs, ScoreDetails, read_parquet
from aepipe.storage.run_details import counted_reasons
from aepipe.tables.entities import Entities, entity_texts
from aepipe.tables.parquet_reader import READ_ROWS, read_footer, slices
from aepipe.tables.partitions import Partition, discover

log = logging.getLogger(__name__)


class CalibrateResult(Result):
    """Active calibration of the model; `created` is False if it was active before."""

    model_version: str
    created: bool
    digest: str
    rows: int
    left_out: int = 0
    """rows of the partitions that do not calibrate because their labels mark anomalies"""
    alpha: float
    threshold: float
    alpha_before: float
    threshold_before: float
    sentence: str = ""
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows of partitions: scores, which rows calibrate, and labels as far as they are known, (B,) each.

    `cells` are the scores of the most unusual cells, (B,); None if the model has no alarm for cells.
    """

    scores: NDArray[np.float64]
    calibrates: NDArray[np.bool_]
    known: NDArray[np.bool_]
    is_anomaly: NDArray[np.bool_]
    entities: pa.Array | None
    """entity of each row as text, if thresholds are per entity"""
    cells: NDArray[np.float64] | None

    def of(self, chosen: NDArray[np.bool_]) -> "_Rows":
        return _Rows(
            self.scores[chosen],
            self.calibrates[chosen],
            self.known[chosen],
            self.is_anomaly[chosen],
            None if self.entities is None else self.entities.filter(pa.array(chosen)),
            None if self.cells is None else self.cells[chosen],
        )

    @property
    def known_anomalies(self) -> NDArray[np.bool_]:
        """Return whether each row would calibrate if its label did not mark an anomaly, (B,)."""
        return self.calibrates & self.known & self.is_anomaly

    @property
    def found_entities(self) -> Entities | None:
        return None if self.entities is None else Entities.of_texts(self.entities)


def _joined(parts: Sequence[_Rows]) -> _Rows:
    return _Rows(
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.calibrates for part in parts]),
        np.concatenate([part.known for part in parts]),
        np.concatenate([part.is_anomaly for part in parts]),
        pa.concat_arrays([part.entities for part in parts]) if parts[0].entities is not None else None,
        None if parts[0].cells is None else np.concatenate([part.cells for part in parts if part.cells is not None]),
    )


def calibrate(
    job_path: str | Path,
    *,
    partitions: Sequence[str] | None = None,
    label: str | None = None,
    positive: str | None = None,
    model: str = "champion",
    device: Device | None = None,
    progress: Progress | None = None,
) -> CalibrateResult:
    """Calibrate a model version with the job's alpha or costs, and activate the calibration.

    The calibration is stored with the outputs and applies to all later scores of the version. Partitions scored under
    another calibration are due again. The bundle is not changed.

    Rows of the partitions that labels or verdicts mark as anomalies do not calibrate: they would only raise the
    threshold.

    Args:
        job_path: Job file.
        partitions: Partitions to calibrate on; None: the bundle's calibration rows.
        label: Label column for the costs and for the anomalies of the partitions; None: `[evaluate] anomaly` and
            verdicts mark the anomalies.
        positive: Value of the label column that marks an anomaly.
        model: Version or alias of the bundle.
        device: Device to score on; None: the job's.
        progress: Callback for progress.

    Raises:
        CalibrationInvalid: The rows cannot be used for a calibration.
        ArgumentInvalid: Labels were named, but neither costs nor partitions that they could mark.
    """
    job = read_job(job_path)
    bundle = open_bundle(job, model)
    nights = latest_nights(Outputs(job.out_path), bundle.version)
    _refuse_other_entities(job, bundle)
    chosen = chosen_partitions(job, partitions) if partitions else ()
    files = [file for partition in chosen for file in partition.files] or _files_of(job, nights)
    labels_of_rows = bool(partitions) and bundle.series is None
    truth = _truth(job, files, label, positive, labels_of_rows=labels_of_rows)
    left_out = 0
    if partitions and bundle.series is not None:
        scores = _point_scores(bundle, bundle.series, chosen, discover(job), progress or no_progress)
        evidence = Evidence(_rows_a_night(job, nights, None, 0))
        found = threshold.calibrate(job, scores, evidence, window=bundle.series.window)
    elif partitions:
        rows = _read(job, TableModel(bundle, device=device or job.run.device), chosen, truth, progress or no_progress)
        evidence = _evidence(job, bundle, nights, truth, rows=rows, partitions=len(partitions))
        held_out, left_out = rows.of(rows.calibrates & ~rows.known_anomalies), int(rows.known_anomalies.sum())
        found = threshold.calibrate(
            job, held_out.scores, evidence, entities=held_out.found_entities, cell_scores=held_out.cells
        )
    else:
        _refuse_other_grouping(job, bundle)
        found = threshold.choose(job, bundle.calibration, _evidence(job, bundle, nights, truth))
    return _put(job, bundle, found, " ".join(partitions or ["the bundle's own rows"]), left_out=left_out)


def _point_scores(
    bundle: Bundle, stage: SeriesStage, chosen: Sequence[Partition], table: Sequence[Partition], progress: Progress
) -> NDArray[np.float64]:
    """Return the scores of the points of partitions.

    Raises:
        CalibrationInvalid: The model was trained on one of the partitions, or no point has a score.
    """
    _refuse_learned(bundle, chosen)
    onnx, _ = bundle.part("scorer")
    runner, found = Runner(partial(Session, onnx, device="cpu")), [np.zeros(0)]
    for at, partition in enumerate(chosen):
        progress("score", at / len(chosen))
        scores = score_points(bundle, stage, partition, table, runner).score.astype(np.float64)
        found.append(scores[np.isfinite(scores)])
    if not sum(map(len, found)):
        names = ", ".join(partition.name for partition in chosen)
        raise CalibrationInvalid(f"no point of {names} has a score: expected points to calibrate on. Check the source.")
    return np.concatenate(found)


def _refuse_learned(bundle: Bundle, partitions: Sequence[Partition]) -> None:
    """Raise CalibrationInvalid if the model was trained on one of the partitions."""
    learned = [partition.name for partition in partitions if partition.name in bundle.manifest.train_partitions]
    if learned:
        raise CalibrationInvalid(
            f"{bundle.version} was trained on {', '.join(learned)}: expected partitions without training rows. Name "
            "others, or none to calibrate on its held-out rows."
        )


def _refuse_other_entities(job: Job, bundle: Bundle) -> None:
    """Raise CalibrationInvalid if the job wants thresholds per entity and the model does not read its entities."""
    known = bundle.source.schema.entity
    if job.calibration.per is not None and known != job.data.entity:
        raise CalibrationInvalid(
            f"{bundle.version} was trained with other entities: expected {', '.join(job.data.entity)}, got "
            f"{', '.join(known) or 'none'}. Train again."
        )


def _refuse_other_grouping(job: Job, bundle: Bundle) -> None:
    """Raise CalibrationInvalid if the job wants thresholds per entity and the bundle's rows have no entities."""
    if (job.calibration.per is None) != (not bundle.calibration.entities):
        wanted = "one threshold" if job.calibration.per is None else "a threshold per entity"
        raise CalibrationInvalid(
            f"the calibration rows of {bundle.version} cannot be grouped again: the job wants {wanted}. "
            "Name partitions to calibrate on, or train again."
        )


def _put(job: Job, bundle: Bundle, found: Calibration, why: str, *, left_out: int) -> CalibrateResult:
    before = with_active_calibration(job.out_path, bundle).calibration
    created = found != before
    path = None
    if created:
        path = activate_calibration(job.out_path, bundle.version, found, who=current_user(), why=f"calibrated on {why}")
    return CalibrateResult(
        model_version=bundle.version,
        created=created,
        digest=found.digest,
        rows=found.n,
        left_out=left_out,
        alpha=found.alpha,
        threshold=found.threshold,
        alpha_before=before.alpha,
        threshold_before=before.threshold,
        sentence="" if found.choice is None else found.choice.sentence,
        path=path,
    )


def _truth(
    job: Job, files: Sequence[Path], label: str | None, positive: str | None, *, labels_of_rows: bool
) -> LabelRule | None:
    """Return the rule that marks anomalies; None without labels, or if they have no use.

    labels_of_rows: whether rows are read that labels can leave out of the calibration.
    """
    named = label is not None or positive is not None
    if job.calibration.costs is None and not labels_of_rows:
        if named:
            raise ArgumentInvalid(
                "label" if label is not None else "positive",
                [
                    f"{job.source} has no costs, by which labels select a threshold, and no partition is named whose "
                    "anomalies labels leave out. Add false_alarm_cost, miss_cost and base_rate under [calibration], "
                    "name partitions of rows, or omit the label."
                ],
            )
        return None
    return resolve_label_rule(job, files, label=label, positive=positive) if named else label_rule(job)


def _files_of(job: Job, nights: Sequence[Manifest[ScoreDetails]]) -> list[Path]:
    return [job.out_path / night.files["scores"].path for night in nights]


def _read(
    job: Job, model: TableModel, partitions: Sequence[Partition], truth: LabelRule | None, progress: Progress
) -> _Rows:
    """Score partitions and return the rows that have a score.

    Raises:
        CalibrationInvalid: The model was trained on one of the partitions, or no row has a score.
    """
    _refuse_learned(model.bundle, partitions)
    found: list[_Rows] = []
    invalid = Counter[str]()
    for at, partition in enumerate(partitions):
        progress("score", at / len(partitions))
        for rows in slices(partition.files, None, rows=READ_ROWS):
            found.append(_score_rows(job, model, rows, truth, invalid))
    read = _joined(found) if found else None
    scored = 0 if read is None else int(np.isfinite(read.scores).sum())
    if read is None or not scored:
        names = ", ".join(partition.name for partition in partitions)
        raise CalibrationInvalid(f"no row of {names} has a score: expected rows to calibrate on. Check the source.")
    if invalid:
        log.warning(
            "%s rows are left out because they have no score: %s", f"{invalid.total():,}", counted_reasons(invalid)
        )
    return read.of(np.isfinite(read.scores))


def _score_rows(
    job: Job, model: TableModel, rows: pa.RecordBatch, truth: LabelRule | None, invalid: Counter[str]
) -> _Rows:
    """Score rows and count those without a score, by reason."""
    table = pa.Table.from_batches([rows])
    predictions = model.predict(table)
    answer = model.scores_of(predictions)
    invalid.update(answer["invalid_reason"].drop_null().to_pylist())
    scores = answer["score"].to_numpy().astype(np.float64)
    calibrates = np.ones(len(scores), np.bool_)
    if job.train.condition is not None:
        calibrates = job.train.condition.mask(table).to_numpy(zero_copy_only=False)
    is_labelled = truth is not None and truth.columns <= set(table.column_names)
    labels = truth.of(table) if truth is not None and is_labelled else Labels.nothing(len(scores))
    entities = None if job.calibration.per is None else model.entities(table).texts
    cells = None if predictions.cells is None else predictions.cells.score.astype(np.float64)
    return _Rows(scores, calibrates, labels.known, labels.is_anomaly, entities, cells)


def _evidence(
    job: Job,
    bundle: Bundle,
    nights: Sequence[Manifest[ScoreDetails]],
    truth: LabelRule | None,
    *,
    rows: _Rows | None = None,
    partitions: int = 0,
) -> Evidence:
    """Return the data behind the threshold's costs: labels of `rows`, else of scored nights, else scores of nights."""
    a_night = _rows_a_night(job, nights, rows, partitions)
    if job.calibration.costs is None:
        return Evidence(a_night)
    if rows is not None and rows.known.any():
        known_rows = rows.of(rows.known)
        labelled = Labelled(
            known_rows.scores, known_rows.is_anomaly, "labelled rows of the partitions", known_rows.found_entities
        )
        return Evidence(a_night, labelled)
    if not nights:
        return Evidence(a_night)
    scores, known, is_anomaly, entities = _of_nights(job, bundle, nights, truth)
    if known.any():
        of_known = None if entities is None else entities.take(known)
        labelled = Labelled(scores[known], is_anomaly[known], "labelled rows of the latest nights", of_known)
        return Evidence(a_night, labelled)
    # Calibrated on polluted rows, alpha is no share of false alarms: what is flagged beyond it are not the anomalies.
    return Evidence(a_night, None, None if bundle.manifest.is_polluted else scores, entities)


def _of_nights(
    job: Job, bundle: Bundle, nights: Sequence[Manifest[ScoreDetails]], truth: LabelRule | None
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], Entities | None]:
    """Return the finite scores of the nights, their labels where the outputs have the label columns, and entities."""
    scores, known, is_anomaly, entities = [], [], [], []
    needed = set() if truth is None else truth.columns
    columns = bundle.source.schema.entity if bundle.calibration.entities else ()
    for path in _files_of(job, nights):
        table = read_parquet(path, ["score", *sorted(needed | set(columns))])
        found = table["score"].to_numpy().astype(np.float64)
        labels = Labels.nothing(len(found))
        if truth is not None and needed <= set(table.column_names):
            labels = truth.of(table)
        fine = np.isfinite(found)
        scores.append(found[fine])
        if columns:
            entities.append(entity_texts([table[name] for name in columns]).filter(pa.array(fine)))
        known.append(labels.known[fine])
        is_anomaly.append(labels.is_anomaly[fine])
    if not sum(map(len, scores)):
        names = f"{nights[0].partition} to {nights[-1].partition}"
        raise CalibrationInvalid(
            f"the score column of {names} is null in every row. Check the source, and score them again."
        )
    of_rows = Entities.of_texts(pa.concat_arrays(entities)) if entities else None
    return np.concatenate(scores), np.concatenate(known), np.concatenate(is_anomaly), of_rows


def _rows_a_night(job: Job, nights: Sequence[Manifest[ScoreDetails]], rows: _Rows | None, partitions: int) -> float:
    """Return the median number of rows per night: of scored nights, else of `rows`, else of the source."""
    if nights:
        return float(np.median([night.files["scores"].rows for night in nights]))
    if rows is not None:
        return len(rows.scores) / partitions
    found = [sum(read_footer(file).rows for file in part.files) for part in chosen_partitions(job, None)]
    return float(np.median(found))
