"""Calibration and threshold anew for a model that stays as it is. Nothing here knows torch or pandas."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe import where
from aepipe.batch.model import TableModel
from aepipe.batch.reader import READ_ROWS, read_footer, slices
from aepipe.bundle import Bundle
from aepipe.calibration import Calibration
from aepipe.config import Device, Job, read_job
from aepipe.errors import CalibrationInvalid
from aepipe.jobs import threshold
from aepipe.jobs.result import Result
from aepipe.jobs.score import chosen_partitions
from aepipe.jobs.scored import latest_nights
from aepipe.jobs.threshold import Evidence, Labelled
from aepipe.jobs.truth import truth_of
from aepipe.partitions import Partition
from aepipe.progress import Progress, silent
from aepipe.recalibration import in_force, put_in_force
from aepipe.registry import current_user
from aepipe.storage import Manifest, Outputs, read_parquet

log = logging.getLogger(__name__)


class CalibrateResult(Result):
    """What judges the model's scores from now on; `created` is false where it did already."""

    model_version: str
    created: bool
    digest: str
    rows: int
    alpha: float
    threshold: float
    alpha_before: float
    threshold_before: float
    sentence: str = ""
    path: Path | None = None


class _Rows(NamedTuple):
    """What partitions hold: scores, which rows calibrate, and the truth as far as it is known, (B,) each."""

    scores: NDArray[np.float64]
    calibrates: NDArray[np.bool_]
    known: NDArray[np.bool_]
    is_anomaly: NDArray[np.bool_]

    def of(self, chosen: NDArray[np.bool_]) -> "_Rows":
        return _Rows(self.scores[chosen], self.calibrates[chosen], self.known[chosen], self.is_anomaly[chosen])


def calibrate(
    job_path: str | Path,
    *,
    partitions: Sequence[str] | None = None,
    model: str = "champion",
    device: Device | None = None,
    progress: Progress | None = None,
) -> CalibrateResult:
    """A calibration on the rows of these partitions, by default on the bundle's own rows, and the job's alpha or costs.

    It lies beside the outputs and judges what the version scores from now on; nights that were scored under another
    one are no longer done. The bundle stays as it is.
    Raises CalibrationInvalid where the rows cannot be calibrated on, and what reading and scoring them raises.
    """
    job = read_job(job_path)
    bundle = Bundle.open(f"{job.bundle_path}@{model}")
    nights = latest_nights(Outputs(job.out_path), bundle.version)
    if partitions:
        rows = _read(job, bundle, chosen_partitions(job, partitions), device, progress or silent)
        evidence = _evidence(job, bundle, nights, rows, len(partitions))
        found = threshold.calibrate(job, rows.scores[rows.calibrates], evidence)
    else:
        found = threshold.choose(job, bundle.calibration, _evidence(job, bundle, nights, None, 0))
    return _put(job, bundle, found, " ".join(partitions or ["the bundle's own rows"]))


def _put(job: Job, bundle: Bundle, found: Calibration, why: str) -> CalibrateResult:
    before = in_force(job.out_path, bundle).calibration
    created = found != before
    path = None
    if created:
        path = put_in_force(job.out_path, bundle.version, found, who=current_user(), why=f"calibrated on {why}")
    return CalibrateResult(
        model_version=bundle.version,
        created=created,
        digest=found.digest,
        rows=found.n,
        alpha=found.alpha,
        threshold=found.threshold,
        alpha_before=before.alpha,
        threshold_before=before.threshold,
        sentence="" if found.choice is None else found.choice.sentence,
        path=path,
    )


def _read(
    job: Job, bundle: Bundle, partitions: Sequence[Partition], device: Device | None, progress: Progress
) -> _Rows:
    """The rows of partitions that can be scored. Raises CalibrationInvalid where the model learned from one."""
    learned = [partition.name for partition in partitions if partition.name in bundle.manifest.train_partitions]
    if learned:
        raise CalibrationInvalid(
            f"{bundle.version} learned from {', '.join(learned)}: calibrate on partitions that it has not seen, "
            "or on none, which takes the rows that were kept from it"
        )
    model = TableModel(bundle, device=device or job.run.device)
    found: list[_Rows] = []
    for at, partition in enumerate(partitions):
        progress("score", at / len(partitions))
        found += [_judged(job, model, rows) for rows in slices(partition.files, None, rows=READ_ROWS)]
    rows = _Rows(*(np.concatenate(columns) for columns in zip(*found, strict=True))) if found else None
    scored = 0 if rows is None else int(np.isfinite(rows.scores).sum())
    if rows is None or not scored:
        names = ", ".join(partition.name for partition in partitions)
        raise CalibrationInvalid(f"no row of {names} has a score: there is nothing to calibrate on, look at the source")
    if scored < len(rows.scores):
        log.warning("%d rows are left out, they cannot be scored", len(rows.scores) - scored)
    return rows.of(np.isfinite(rows.scores))


def _judged(job: Job, model: TableModel, rows: pa.RecordBatch) -> _Rows:
    table = pa.Table.from_batches([rows])
    scores = model.score(table)["score"].to_numpy().astype(np.float64)
    everywhere = np.ones(len(scores), np.bool_)
    condition, anomaly = job.train.where, job.evaluate.anomaly
    calibrates = where.apply(condition, table).to_numpy(zero_copy_only=False) if condition else everywhere
    known, is_anomaly = truth_of(anomaly, table) if anomaly and job.calibration.costs else (~everywhere, ~everywhere)
    return _Rows(scores, calibrates, known, is_anomaly)


def _evidence(job: Job, bundle: Bundle, nights: Sequence[Manifest], rows: _Rows | None, partitions: int) -> Evidence:
    """What the job's costs are held against: labels of these rows, else of scored nights, else those nights' scores."""
    a_night = _rows_a_night(job, nights, rows, partitions)
    if job.calibration.costs is None:
        return Evidence(a_night)
    if rows is not None and rows.known.any():
        labelled = Labelled(rows.scores[rows.known], rows.is_anomaly[rows.known], "labelled rows of the partitions")
        return Evidence(a_night, labelled)
    if not nights:
        return Evidence(a_night)
    scores, known, is_anomaly = _of_nights(job, nights)
    if known.any():
        return Evidence(a_night, Labelled(scores[known], is_anomaly[known], "labelled rows of the latest nights"))
    # Calibrated on polluted rows, alpha is no share of false alarms: what is flagged beyond it are not the anomalies.
    return Evidence(a_night, None, None if bundle.manifest.is_polluted else scores)


def _of_nights(
    job: Job, nights: Sequence[Manifest]
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Scores of the nights, and their truth where the scores carry the columns that tell it."""
    anomaly = job.evaluate.anomaly
    needed = where.columns(anomaly) if anomaly else set()
    scores, known, truth = [], [], []
    for night in nights:
        table = read_parquet(job.out_path / night.files["scores"].path, ["score", *sorted(needed)])
        found = table["score"].to_numpy().astype(np.float64)
        nothing = np.zeros(len(found), np.bool_)
        told = truth_of(anomaly, table) if anomaly and needed <= set(table.column_names) else (nothing, nothing)
        fine = np.isfinite(found)
        scores.append(found[fine])
        known.append(told[0][fine])
        truth.append(told[1][fine])
    if not sum(map(len, scores)):
        names = f"{nights[0].partition} to {nights[-1].partition}"
        raise CalibrationInvalid(f"the score column of {names} is null in every row: look at why, and score them again")
    return np.concatenate(scores), np.concatenate(known), np.concatenate(truth)


def _rows_a_night(job: Job, nights: Sequence[Manifest], rows: _Rows | None, partitions: int) -> float:
    """The median of the scored nights, else of what there is."""
    if nights:
        return float(np.median([night.files["scores"].rows for night in nights]))
    if rows is not None:
        return len(rows.scores) / partitions
    found = [sum(read_footer(file).rows for file in part.files) for part in chosen_partitions(job, None)]
    return float(np.median(found))
