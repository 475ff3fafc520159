"""Model trained on a table in memory, exported to ONNX part by part when a part is needed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe.bundles.bundle import Bundle
from aepipe.calibration.conformal import Calibration
from aepipe.config.job import Job, parse_job
from aepipe.encoding import Encoding
from aepipe.errors import AepipeError, JobInvalid, SchemaMismatch
from aepipe.export.export import Exported, export_parts
from aepipe.heads import scores as heads
from aepipe.inference.batch_runner import Runner, outputs_of
from aepipe.inference.session import Session
from aepipe.jobs.inspect import SAMPLE_ROWS
from aepipe.jobs.train.build_bundle import (
    Build,
    CalibratedScores,
    ExportedParts,
    publish,
    scorer_outputs,
)
from aepipe.jobs.train.bundle_plan import BundlePlan
from aepipe.jobs.train.fitting import FittedModel, FittedScorer, fit_bundle_scorer, fit_model
from aepipe.jobs.train.training_data import TrainingData, encode_rows, rows_of
from aepipe.jobs.train.training_rows import TrainingRows
from aepipe.models import families
from aepipe.progress import no_progress
from aepipe.storage import digest_of
from aepipe.storage.atomic_folders import scratch_folder
from aepipe.tables.kind_inference import infer
from aepipe.tables.parquet_reader import READ_ROWS
from aepipe.training.threads import SMALL_TABLE, single_threaded

CONTAMINATION = 0.1
"""Share of the training rows that a bundle flags if its estimator flags none."""
DEV_SHARE = 0.1
BLOCK_ROWS = 128
"""Rows per call of a graph, padded: an answer does not depend on the number of rows it is asked for with."""
SCORE_BITS = 17
"""Significant bits of a score, so that it does not depend on the order of the rows; float32 has 24."""


class FitInvalid(AepipeError, ValueError):
    """A setting or a table is not fit for training or scoring. Remedy: change it; scikit-learn expects a ValueError."""


@dataclass(frozen=True, slots=True)
class _Training:
    """Results of the training wing, before the export."""

    job: Job
    plan: BundlePlan
    data: TrainingData
    fitted: FittedModel
    scorer: FittedScorer
    contamination: float


class FittedTable:
    """Model of a table: scores and latents of rows, and the bundle. Pickled as the files of the bundle."""

    def __init__(self, source: _Training | Bundle) -> None:
        self._source = source

    @property
    def encoding(self) -> Encoding:
        """Encoding of the rows."""
        return self._source.encoding if isinstance(self._source, Bundle) else self._source.data.encoding

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the columns of `encode`."""
        return tuple(name for names in self._features.values() for name in names)

    @cached_property
    def bundle(self) -> Bundle:
        """Bundle of the model; the first call exports the remaining parts, which takes a second or more."""
        return self._source if isinstance(self._source, Bundle) else _export(self._source, self._scorer)

    @cached_property
    def training_scores(self) -> NDArray[np.float64]:
        """Scores of the training rows, (B,)."""
        assert isinstance(self._source, _Training)
        return _steady(self._run(self._source.data.calibration)["score"])

    def score(self, table: pa.Table) -> NDArray[np.float64]:
        """Return the anomaly score of each row, (B,). Raises FitInvalid if a row cannot be scored."""
        return _steady(self._run(self._encoded(table))["score"])

    def encode(self, table: pa.Table) -> NDArray[np.float32]:
        """Return the latents and their summaries, (B, Z). Raises FitInvalid if a row cannot be encoded."""
        outputs = self._run(self._encoded(table))
        columns = [outputs[port].reshape(table.num_rows, -1) for port in self._features]
        return np.concatenate(columns, axis=1).astype(np.float32, copy=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return FittedTable, (self.bundle,)

    @property
    def _features(self) -> Mapping[str, Sequence[str]]:
        """Names of the features by output port of the scorer."""
        source = self._source
        latent = source.manifest.latent if isinstance(source, Bundle) else source.fitted.model.latent
        return latent.features

    @cached_property
    def _scorer(self) -> Exported:
        assert isinstance(self._source, _Training)
        (part,) = export_parts([self._source.scorer.scorer.part()], self._source.data.train)
        return part

    @cached_property
    def _runner(self) -> Runner[Session]:
        onnx = self._source.part("scorer")[0] if isinstance(self._source, Bundle) else self._scorer.onnx
        return Runner(partial(Session, onnx, device="cpu"), batch_rows=BLOCK_ROWS, padded=True)

    def _run(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return outputs_of(self._runner, arrays)

    def _encoded(self, table: pa.Table) -> Mapping[str, NDArray[Any]]:
        encoded = self.encoding.encode_table(table, rows=READ_ROWS)
        if encoded.invalid.any():
            raise FitInvalid(
                f"rows cannot be scored: {self.encoding.describe_invalid(encoded.invalid)}. Remove or impute them."
            )
        return encoded.arrays


def _steady(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """Round scores to 17 significant bits: vectorised kernels differ in the last bits by the position of a row."""
    mantissa, exponent = np.frexp(scores.astype(np.float64))
    rounded: NDArray[np.float64] = np.ldexp(np.round(np.ldexp(mantissa, SCORE_BITS)), exponent - SCORE_BITS)
    return rounded


def fit_table(
    table: pa.Table, settings: Mapping[str, Any], *, kinds: Mapping[str, Any], contamination: float, seed: int
) -> FittedTable:
    """Train on all rows of a table but a tenth, which stops the training.

    Args:
        table: at least two rows.
        settings: sections of a job file: model, train, score.
        kinds: kind or settings by column.
        contamination: share of the training rows that the bundle flags.
        seed: seed of the split, the weights and the batches.

    Raises:
        FitInvalid: A setting is wrong, or the table cannot be modelled.
    """
    # all rows calibrate the score: an alarm for cells would be calibrated on the rows that it learned from
    common = {"name": "table", "data": {"path": "rows.parquet"}, "calibration": {"cells": False}}
    raw = {**common, "columns": dict(kinds), **settings}
    try:
        job = parse_job(raw, source=Path("job.toml").resolve())
        rows = _split(job, table, seed=seed)
        data = encode_rows(job, rows, as_codes=families.find(job.model.family).takes_codes)
        plan = BundlePlan(
            families.plan(data.encoding.layout, job.model, is_private=job.train.epsilon is not None),
            heads.resolve_for(job),
            (),
            False,
        )
        with single_threaded(rows_of(data.train) * data.encoding.layout.features < SMALL_TABLE):
            fitted = fit_model(job, plan, data, device="cpu", checkpoint=None, progress=no_progress)
            scorer = fit_bundle_scorer(job, plan, data, fitted.model)
    except (JobInvalid, SchemaMismatch) as error:
        raise FitInvalid("the estimator cannot be fitted: " + "; ".join(error.faults)) from error
    except AepipeError as error:
        raise FitInvalid(str(error)) from error
    return FittedTable(_Training(job, plan, data, fitted, scorer, contamination))


def _split(job: Job, table: pa.Table, *, seed: int) -> TrainingRows:
    """Keep a tenth of the rows, at least one, as dev rows; all rows calibrate."""
    schema = infer(table.schema, job, table.slice(0, SAMPLE_ROWS))
    order = np.random.default_rng(seed).permutation(table.num_rows)
    held_out = max(1, round(DEV_SHARE * table.num_rows))
    dev, train = (table.take(pa.array(np.sort(part))) for part in (order[:held_out], order[held_out:]))
    none = table.slice(0, 0)
    return TrainingRows(schema, train, dev, table, none, none, float(table.num_rows))


def _export(training: _Training, scorer: Exported) -> Bundle:
    """Export all parts, calibrate on the training rows and return the bundle."""
    data, fitted = training.data, training.fitted
    others = export_parts((*fitted.model.parts(), *training.scorer.priors), data.train)
    parts = {part.part: part for part in (*others, scorer)}
    outputs = scorer_outputs(scorer.onnx, data.calibration)
    rows = len(outputs["score"])
    calibration = Calibration.fit(outputs["score"], alpha=(flagged_rows(training.contamination, rows) + 1) / (rows + 1))
    with scratch_folder() as folder:
        source = folder / "job.toml"
        build = Build(
            job=training.job.model_copy(update={"source": source}),
            partitions=(),
            key=digest_of("sklearn/1", training.job.model_dump_json()),
            plan=training.plan,
            data=data,
            fitted=fitted,
            scorer=training.scorer,
            exported=ExportedParts(parts, outputs),
            calibrated=CalibratedScores(calibration, {}),
            warnings=(),
        )
        return Bundle.open(publish(build, "cpu", {}))


def flagged_rows(contamination: float, rows: int) -> int:
    """Return how many of the training rows are flagged: at least one, and not all.

    >>> flagged_rows(0.1, 300), flagged_rows(0.1, 3), flagged_rows(0.5, 2)
    (30, 1, 1)
    """
    return min(max(1, round(contamination * rows)), rows - 1)
