"""Building a bundle: read and split, plan, fit, export, calibrate, publish."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from aepipe import versions as installed
from aepipe.bundles import drift_reference
from aepipe.bundles.bundle import BundleManifest, write_bundle
from aepipe.bundles.golden_rows import Golden
from aepipe.calibration.conformal import Calibration
from aepipe.config.job import Device, Job
from aepipe.encoding.relations.find import FoundRelations, find_relations
from aepipe.export.export import Exported, export_model, export_parts
from aepipe.heads import scores as heads
from aepipe.inference import condition_bank as conditions
from aepipe.inference.batch_runner import Runner, outputs_of
from aepipe.inference.related_rows import relation_files
from aepipe.inference.series_scores import score_windows, scores_with_memory
from aepipe.inference.session import Session, usable_device
from aepipe.jobs import threshold_selection as threshold
from aepipe.jobs.train.bundle_plan import BundlePlan, plan_bundle
from aepipe.jobs.train.cell_calibration import with_training_cells
from aepipe.jobs.train.cross_conformal import FOLDS, out_of_fold_scores
from aepipe.jobs.train.fitting import (
    FittedModel,
    FittedScorer,
    fit_bundle_scorer,
    fit_labels,
    fit_model,
    model_warnings,
)
from aepipe.jobs.train.head_selection import refuse_unlabelled
from aepipe.jobs.train.model_card import model_card
from aepipe.jobs.train.search import Found
from aepipe.jobs.train.series_memory import fit_memory
from aepipe.jobs.train.series_nights import Origin, point_reference
from aepipe.jobs.train.series_rows import SeriesTraining, read_series
from aepipe.jobs.train.training_data import TrainingData, encode_rows, rows_of
from aepipe.jobs.train.training_rows import TrainingRows, read_training_rows
from aepipe.models import families
from aepipe.models.layers.loss_pooling import reason_names
from aepipe.progress import Progress, count_rows
from aepipe.series import stage as series_stage
from aepipe.series.memory import SeriesMemory
from aepipe.series.stage import SeriesStage
from aepipe.series.windows import point_scores
from aepipe.storage import HIDDEN, remove
from aepipe.tables.entities import Entities
from aepipe.tables.partitions import Partition
from aepipe.training.threads import SMALL_TABLE, single_threaded

log = logging.getLogger(__name__)

GOLDEN_ROWS = 16
PACKAGES = ("aepipe", "torch", "onnx", "onnxscript", "onnxruntime-gpu", "onnxruntime", "pyarrow", "numpy")


@dataclass(frozen=True, slots=True)
class BuiltBundle:
    """A new bundle: its folder, a summary of its training, rows per part, seconds per stage and warnings."""

    path: Path
    summary: str
    rows: dict[str, int]
    seconds: dict[str, float]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ExportedParts:
    """ONNX parts of a bundle, and the outputs of its scorer for the calibration rows."""

    parts: Mapping[str, Exported]
    outputs: Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class CalibratedScores:
    """Calibration of a scorer, and how its scores came about; empty for a plain split."""

    calibration: Calibration
    details: Mapping[str, str | int]
    memory: SeriesMemory | None = None
    """Known steps of a series job"""
    drift: drift_reference.DriftReference | None = None
    """Reference of the points of a series job; None: that of the rows of the model"""


@dataclass(frozen=True, slots=True)
class Build:
    """Inputs of a bundle and the results of all stages."""

    job: Job
    partitions: tuple[Partition, ...]
    key: str
    plan: BundlePlan
    data: TrainingData
    fitted: FittedModel
    scorer: FittedScorer
    exported: ExportedParts
    calibrated: CalibratedScores
    warnings: tuple[str, ...]
    relations: FoundRelations = field(default_factory=FoundRelations)
    series: SeriesStage | None = None
    found: Found | None = None


class _Stages:
    """Reports the stages of a build and measures their seconds."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.seconds: dict[str, float] = {}
        self.rows = 0

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        self.progress(name, 0.0)
        yield
        count_rows(self.progress, name, self.rows)
        self.progress(name, 1.0)
        self.seconds[name] = time.perf_counter() - began


def make_bundle(
    job: Job,
    partitions: tuple[Partition, ...],
    key: str,
    *,
    device: Device | None,
    progress: Progress,
    found: Found | None = None,
    only_scorer: bool = False,
) -> BuiltBundle:
    """Write a new version under exported/<name>, without an alias; found: the search that chose options of the job.

    only_scorer: fit no prior and export the scorer alone, for a baseline, which is neither sampled nor decoded.

    Raises:
        JobInvalid, OptionInvalid, SchemaMismatch, DataUnreadable, CalibrationInvalid, EvaluationInvalid: Before
            training, if the job and its rows do not fit.
        TrainingDiverged: A loss is not finite.
        ExportFailed: An exported graph and the network differ.
    """
    stage = _Stages(progress)
    head = heads.resolve_for(job)  # refuses an unknown head first
    refuse_unlabelled(job)
    with stage("read"):
        series, rows, data = _read(job, partitions)
        stage.rows = sum(data.counts.values())
        relations = _relations(job, rows, data)
    plan = plan_bundle(job, data, head=head)
    used, why = usable_device(device or job.run.device)
    log.info("training on %s: %s", used, why)
    checkpoint = job.out_path / HIDDEN / "checkpoints" / f"{key.rpartition(':')[2]}.pt"
    with single_threaded(rows_of(data.train) * data.encoding.layout.features < SMALL_TABLE):
        with stage("train"):
            fitted = fit_model(job, plan, data, device=used, checkpoint=checkpoint, progress=progress)
        with stage("export"):
            scorer = fit_bundle_scorer(job, plan, data, fitted.model, with_priors=not only_scorer)
            exported = _export(job, data, fitted, scorer, only_scorer=only_scorer)
        with stage("calibrate"):
            if series is None:
                calibrated = _calibrate(job, plan, rows, data, scorer, exported, device=used, progress=progress)
            else:
                calibrated = _calibrate_on_points(job, series, data, exported)
    warnings = (*rows.warnings, *model_warnings(data.encoding, fitted.metrics))
    of_series = None if series is None else series.stage
    build = Build(
        job, partitions, key, plan, data, fitted, scorer, exported, calibrated, warnings, relations, of_series, found
    )
    path = publish(build, used, stage.seconds)
    remove(checkpoint)
    curve, counts = fitted.curve, data.counts
    summary = f"{job.model.family}, {counts['train']:,} rows, {len(curve.epochs)} epochs, {curve.stopped_because}"
    return BuiltBundle(path, summary, counts, stage.seconds, warnings)


def _read(job: Job, partitions: tuple[Partition, ...]) -> tuple[SeriesTraining | None, TrainingRows, TrainingData]:
    takes_codes = families.find(job.model.family).takes_codes
    series = None if job.series is None else read_series(job, partitions)
    rows = read_training_rows(job, partitions) if series is None else series.rows
    return series, rows, encode_rows(job, rows, as_codes=takes_codes)


def _relations(job: Job, rows: TrainingRows, data: TrainingData) -> FoundRelations:
    """Return the relations between columns; windows of series have none."""
    if job.series is not None:
        return FoundRelations()
    return find_relations(data.encoding, rows.train, seed=job.train.seed)


def _export(
    job: Job, data: TrainingData, fitted: FittedModel, scorer: FittedScorer, *, only_scorer: bool
) -> ExportedParts:
    if only_scorer:
        made = export_parts((scorer.scorer.part(),), data.train)
    else:
        made = export_model(fitted.model, scorer.scorer, (*scorer.priors, *fit_labels(job, data)), data.train)
    parts = {part.part: part for part in made}
    return ExportedParts(parts, scorer_outputs(parts["scorer"].onnx, data.calibration))


def _calibrate(
    job: Job,
    plan: BundlePlan,
    rows: TrainingRows,
    data: TrainingData,
    scorer: FittedScorer,
    exported: ExportedParts,
    *,
    device: Literal["cpu", "cuda"],
    progress: Progress,
) -> CalibratedScores:
    """Calibrate on the calibration rows, with the job's alpha or the cheapest by its cost table."""
    labelled, per_entity = None, threshold.entity_columns(job)
    if data.labelled:
        found = scorer_outputs(exported.parts["scorer"].onnx, data.labelled)["score"]
        finite = np.isfinite(found)
        names = None if not per_entity else Entities.find(data.labelled_rows, per_entity)
        labelled = threshold.Labelled(
            found[finite],
            data.is_anomaly[finite],
            "labelled rows kept from training",
            None if names is None else names.take(finite),
        )
    scores, cells = exported.outputs["score"], exported.outputs.get("cell_z")
    cells = None if cells is None else cells[:, 0]
    with_training = None
    if cells is not None and plan.is_cross_fitted:
        with_training = with_training_cells(job, data, scorer.scorer, cells)
    details, held_out = dict[str, str | int](), len(scores)
    calibration_rows = data.calibration_rows
    if plan.is_cross_conformal:
        out_of_fold = out_of_fold_scores(
            job,
            rows,
            head=scorer.head.name,
            as_codes=plan.model.family.takes_codes,
            most=plan.most_out_of_fold,
            device=device,
            progress=progress,
        )
        scores = np.concatenate([scores, out_of_fold.scores])
        if cells is not None and out_of_fold.cells is not None:
            cells = np.concatenate([cells, out_of_fold.cells])
        calibration_rows = pa.concat_tables([calibration_rows, out_of_fold.rows])
        added = len(out_of_fold.scores)
        details = {"method": "cross-conformal", "folds": FOLDS, "held_out": held_out, "out_of_fold": added}
        why = f"{held_out} held-out rows are too few for alpha"
        log.info("calibrated by %d-fold cross-conformal prediction: %s, %d training rows join them", FOLDS, why, added)
    if with_training is not None and len(with_training) > len(scores):
        cells, details = with_training, details | {"training_rows_of_cells": len(with_training) - held_out}
    calibration = threshold.calibrate(
        job,
        scores,
        threshold.Evidence(rows.per_partition, labelled),
        entities=Entities.find(calibration_rows, per_entity),
        cell_scores=cells,
    )
    if calibration.choice is not None:
        log.log(logging.WARNING if calibration.choice.by == "assumption" else logging.INFO, calibration.choice.sentence)
    return CalibratedScores(calibration, details)


def _calibrate_on_points(
    job: Job, series: SeriesTraining, data: TrainingData, exported: ExportedParts
) -> CalibratedScores:
    """Calibrate on the scores of the points that the calibration windows contain, as they would be known at night."""
    of_series = series.calibration
    runner = Runner(partial(Session, exported.parts["scorer"].onnx, device="cpu"))
    memory = fit_memory(series, data.encoding, runner)
    of_model = score_windows(runner, data.encoding, of_series.values, of_series.starts, window=of_series.window)
    found = scores_with_memory(
        memory, series.grid, of_series.values, of_series.starts, of_model, names=series.names, is_training=True
    )
    points = point_scores(
        found, of_series.starts, steps=len(of_series.values), window=of_series.window, last=of_series.last
    )
    chosen = of_series.counts & np.isfinite(points.score)
    scores = points.score[chosen]
    origin = Origin(*(part[chosen] for part in of_series.origin))
    calibration = threshold.calibrate(
        job, scores, threshold.Evidence(series.rows.per_partition), window=of_series.window
    )
    details: dict[str, str | int] = {"method": "points", "windows": len(scores) // of_series.window}
    drift = point_reference(series.stage, series.source_rows, series.origin, scores, origin, settings=job.drift)
    return CalibratedScores(calibration, details, memory, drift)


def publish(build: Build, device: str, seconds: Mapping[str, float]) -> Path:
    """Write the bundle with its golden rows, training curve, model card and conditions."""
    manifest, data, outputs = _manifest(build, device, seconds), build.data, build.exported.outputs
    kept = ("score", *manifest.latent.features)
    drift = build.calibrated.drift or drift_reference.DriftReference.fit(
        data.encoding,
        manifest.latent,
        (data.train, data.calibration),
        outputs,
        partitions=data.origins,
        settings=build.job.drift,
    )
    golden = Golden(data.calibration_rows.slice(0, GOLDEN_ROWS), {name: outputs[name][:GOLDEN_ROWS] for name in kept})
    return write_bundle(
        build.job.bundle_path,
        manifest,
        encoding=data.encoding,
        onnx={name: part.onnx for name, part in build.exported.parts.items()},
        calibration=build.calibrated.calibration,
        golden=golden,
        extras={
            "curve.json": build.fitted.curve.model_dump_json(indent=1).encode(),
            "card.md": model_card(manifest, build.fitted.curve, build.relations.relations, build.found).encode(),
            **_conditions_file(data.conditions),
            **relation_files(build.relations),
            **({} if build.series is None else {series_stage.FILE: build.series.model_dump_json().encode()}),
            **({} if build.calibrated.memory is None else build.calibrated.memory.files()),
            drift_reference.FILE: drift.to_json(),
        },
    )


def _manifest(build: Build, device: str, seconds: Mapping[str, float]) -> BundleManifest:
    job, resolved, classes, head = build.job, build.plan.model.resolved, build.scorer.classes, build.scorer.head
    return BundleManifest(
        name=job.name,
        family=str(resolved["family"]),
        trunk=str(resolved["trunk"]),
        head=head.name,
        training_key=build.key,
        job=job.model_dump(mode="json", by_alias=True) | {"model": resolved},
        train_partitions=tuple(partition.name for partition in build.partitions),
        rows=build.data.counts,
        parts={name: part.info for name, part in build.exported.parts.items()},
        latent=build.fitted.model.latent.model_copy(update={"has_clusters": build.scorer.has_clusters}),
        reason_names=reason_names(build.data.encoding.layout),
        open_set=None if classes is None else classes.open_set,
        versions=installed.versions(PACKAGES),
        metrics={**build.fitted.metrics, **({} if classes is None else classes.facts)},
        details={
            "device": device,
            "seconds": {name: round(value, 3) for name, value in seconds.items()},
            **({"head": head._asdict()} if head.sentence else {}),
            **({"search": build.found.details()} if build.found is not None else {}),
            **({"privacy": spent.model_dump()} if (spent := build.fitted.curve.privacy) is not None else {}),
            **({"warnings": list(build.warnings)} if build.warnings else {}),
            **({"calibration": dict(build.calibrated.details)} if build.calibrated.details else {}),
        },
    )


def _conditions_file(rows: pa.Table) -> dict[str, bytes]:
    """Return the file of conditions that samples are drawn at; none without condition columns."""
    if not rows.num_columns:
        return {}
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink)  # into memory: write_bundle writes the bytes
    return {conditions.FILE: bytes(sink.getvalue())}


def scorer_outputs(onnx: bytes, rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run the exported scorer on rows, on the CPU."""
    return outputs_of(Runner(partial(Session, onnx, device="cpu")), rows)
