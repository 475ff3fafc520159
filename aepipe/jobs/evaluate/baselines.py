"""Baseline detectors: random, maximum |z| of the raw columns, PCA, isolation forest.

All of them train on the training rows of the bundle. Their thresholds have the alpha of the model and are fitted on
its calibration rows. What they learned is kept with the outputs.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe.calibration.conformal import Calibration
from aepipe.config.job import Job, parse_job
from aepipe.encoding import Encoding
from aepipe.errors import DataUnreadable, EvaluationInvalid, ExportFailed, OptionInvalid, TrainingDiverged
from aepipe.inference.table_model import TableModel
from aepipe.jobs.evaluate.isolation_forest import ForestArrays
from aepipe.jobs.evaluate.kept_baselines import Fitted, KeptBaselines, baselines_key
from aepipe.jobs.scored_partitions import ScoredPartitions
from aepipe.jobs.train.train import train_job, training_key
from aepipe.jobs.train.training_data import TrainingData, read_training_data
from aepipe.jobs.training_provenance import Trained, as_trained
from aepipe.layout import Layout
from aepipe.progress import Progress
from aepipe.storage import HIDDEN
from aepipe.tables.arrow_arrays import numpy_of
from aepipe.tables.parquet_reader import READ_ROWS

Scores = NDArray[np.float64]
RANDOM = "random"
PCA = "PCA reconstruction"
MOST_CODES = 64
"""Of a category, as columns of the baselines."""


class Baseline(NamedTuple):
    """A detector, and the score above which it raises an alarm."""

    name: str
    score: Callable[[pa.Table], Scores]
    threshold: float


class RawColumns:
    """Rows as matrices of raw columns: missing numbers at their mean in training, codes one-hot."""

    def __init__(self, encoding: Encoding, mean: NDArray[np.float64]) -> None:
        self._encoding = encoding
        self._mean = mean

    def of(self, table: pa.Table) -> NDArray[np.float64]:
        """Convert a table to a matrix, (B, D)."""
        schema = self._encoding.schema.without_keys()
        encoded = self._encoding.encode_table(table.select([c.name for c in schema.columns]), rows=READ_ROWS)
        return filled(_wide(encoded.arrays, self._encoding.layout), self._mean)


def filled(wide: NDArray[np.float64], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rows with the mean (D,) where they have no value, (B, D)."""
    return np.where(np.isfinite(wide), wide, mean)


class RandomScores(NamedTuple):
    """Detector that knows nothing."""

    threshold: float
    drawn: int
    """rows that the threshold was drawn for, before all others"""

    def scores(self, rows: int) -> Scores:
        """Return random scores, (B,), always the same."""
        return np.random.default_rng(0).random(self.drawn + rows)[self.drawn :]


class Baselines(NamedTuple):
    """The detectors, and what they see of a row."""

    random: RandomScores
    learned: tuple[Baseline, ...]
    raw: RawColumns
    pca: TableModel | None
    """None if it cannot be trained"""
    kept: KeptBaselines | None
    """Their file in the outputs; None without PCA"""
    absent: tuple[str, ...] = ()
    """One sentence per baseline that is left out, with the reason."""


class Rivals(NamedTuple):
    """Scores of the labelled rows by each baseline, and its threshold at the alpha of the model."""

    scores: Mapping[str, Scores]
    """(B,) each, -inf for rows that the model did not score"""
    thresholds: Mapping[str, float]
    first_rows: pa.Table
    """First labelled rows of the source, with the columns that are no lists."""
    absent: tuple[str, ...] = ()
    """One sentence per baseline that is left out, with the reason."""


def fit_baselines(scored: ScoredPartitions, *, alpha: float, progress: Progress | None = None) -> Baselines:
    """Fit the baselines of a model on its training rows, or open them as they were kept.

    PCA is trained as a separate bundle of a scorer alone, stored with the outputs, and so is what the others learn.

    Raises:
        EvaluationInvalid: A partition that the model was trained on no longer exists.
    """
    trained = as_trained(scored.model.bundle, scored.job)
    if trained.gone:
        raise EvaluationInvalid(
            f"the training rows of {scored.model.version} are incomplete: {', '.join(sorted(trained.gone))} is gone, "
            "and baselines train on the same rows. Restore it, or train again."
        )
    of_pca = _pca_job(trained.job, scored.job)

    def report(what: str, share: float) -> None:
        if progress is not None:
            progress(f"PCA to compare with: {what}", share)

    try:
        result = train_job(of_pca, partitions=trained.partitions, only_scorer=True, progress=report)
        pca = TableModel.open(result.bundle, device=scored.job.run.device)
    except (OptionInvalid, DataUnreadable, TrainingDiverged, ExportFailed) as error:
        encoding, fitted = _fit(of_pca, trained, None, alpha=alpha)
        return _baselines(encoding, fitted, None)._replace(absent=(f"the baseline '{PCA}' is left out: {error}",))
    key = baselines_key(pca.version, training_key(of_pca, trained.partitions), alpha=alpha)
    kept = KeptBaselines.open(scored.job.out_path, scored.model.version, key)
    if kept is None:
        _, fitted = _fit(of_pca, trained, pca, alpha=alpha)
        kept = KeptBaselines.new(scored.job.out_path, scored.model.version, key, fitted)
    return _baselines(pca.bundle.encoding, kept.fitted, pca)._replace(kept=kept)


def _fit(of_pca: Job, trained: Trained, pca: TableModel | None, *, alpha: float) -> tuple[Encoding, Fitted]:
    """Learn from the training rows, and choose thresholds by the calibration rows."""
    learning = read_training_data(of_pca, trained.partitions)
    fitted = _learned(learning)
    scores = {RANDOM: RandomScores(np.nan, 0).scores(fitted.calibration_rows)}
    for each in _baselines(learning.encoding, fitted, pca).learned:
        scores[each.name] = each.score(learning.calibration_rows)
    thresholds = {name: alarm_threshold(found, alpha) for name, found in scores.items()}
    return learning.encoding, fitted._replace(thresholds=thresholds)


def _learned(learning: TrainingData) -> Fitted:
    """Return what the baselines learn, without thresholds."""
    from sklearn.ensemble import IsolationForest

    wide = _wide(learning.train, learning.encoding.layout)
    known = np.where(np.isfinite(wide).any(axis=0), wide, 0.0)
    mean = np.nan_to_num(np.nanmean(known, axis=0))
    rows = filled(wide, mean)
    forest = ForestArrays.of(IsolationForest(random_state=0).fit(rows))
    return Fitted(mean, rows.mean(axis=0), rows.std(axis=0), forest, learning.calibration_rows.num_rows, {})


def _baselines(encoding: Encoding, fitted: Fitted, pca: TableModel | None) -> Baselines:
    """Return the detectors; without thresholds, these are NaN."""
    raw, thresholds = RawColumns(encoding, fitted.mean), fitted.thresholds
    detectors: dict[str, Callable[[pa.Table], Scores]] = {
        "max |z|": _max_abs_z(raw, fitted),
        **({} if pca is None else {PCA: partial(_reconstruction, pca)}),
        "isolation forest": lambda table: fitted.forest.scores(raw.of(table)),
    }
    learned = tuple(Baseline(name, score, thresholds.get(name, np.nan)) for name, score in detectors.items())
    return Baselines(RandomScores(thresholds.get(RANDOM, np.nan), fitted.calibration_rows), learned, raw, pca, None)


def _reconstruction(pca: TableModel, table: pa.Table) -> Scores:
    return np.asarray(numpy_of(pca.score(table)["score"]), np.float64)


def _pca_job(trained: Job, job: Job) -> Job:
    """Return the same job with PCA in place of the model, in a folder of the outputs."""
    raw = trained.model_dump(mode="json", by_alias=True, exclude={"source"})
    latent = job.model.options.get("latent")
    raw["name"] = "pca"
    raw["model"] = {"family": "pca"} | ({"latent": latent} if isinstance(latent, int) else {})
    raw["calibration"] = {"alpha": 0.5}  # any value: baselines have thresholds of their own
    raw["score"] |= {"head": "reconstruction", "clusters": False, "classes": None, "reasons": 0}
    raw["train"]["alias"] = "champion"
    for name, column in raw["columns"].items():
        if column["kind"] in ("target", "condition"):  # components take neither
            raw["columns"][name] = {"kind": "ignore"}
    raw["data"].pop("context", None)
    raw["output"]["exported"] = str(job.out_path / HIDDEN / "yardsticks")
    return parse_job(raw, source=job.source)


def alarm_threshold(scores: Scores, alpha: float) -> float:
    """Return the threshold at this alpha, or at the smallest alpha that the number of scores supports."""
    # The active calibration may have been fitted on more rows, and so have a smaller alpha.
    finite = scores[np.isfinite(scores)]
    return Calibration.fit(finite, alpha=max(alpha, 1 / (len(finite) + 1))).threshold


def _max_abs_z(raw: RawColumns, fitted: Fitted) -> Callable[[pa.Table], Scores]:
    """Return a scorer of the maximum |z| over the raw columns; constant columns are ignored."""
    mean, std = fitted.centre, fitted.spread
    gain = np.divide(1.0, std, out=np.zeros_like(std), where=std > 0)
    return lambda table: np.abs((raw.of(table) - mean) * gain).max(axis=1, initial=0.0)


def _wide(arrays: Mapping[str, np.ndarray], layout: Layout) -> NDArray[np.float64]:
    blocks = [arrays[name].reshape(len(arrays[name]), -1) for name in ("num", "image", "steps") if name in arrays]
    for index, category in enumerate(layout.categories):
        shown = np.arange(min(category.size, MOST_CODES))
        blocks.append(arrays["cat"][:, index : index + 1] == shown)
    return np.concatenate(blocks, axis=1).astype(np.float64)
