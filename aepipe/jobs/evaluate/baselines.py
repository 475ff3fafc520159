"""Baseline detectors: random, maximum |z| of the raw columns, PCA, isolation forest.

All of them train on the training rows of the bundle. Their thresholds have the alpha of the model and are fitted on
its calibration rows.
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
from aepipe.jobs.scored_partitions import ScoredPartitions
from aepipe.jobs.train.train import train_job
from aepipe.jobs.train.training_data import TrainingData, read_training_data
from aepipe.jobs.training_provenance import as_trained
from aepipe.layout import Layout
from aepipe.progress import Progress
from aepipe.storage import HIDDEN
from aepipe.tables.parquet_reader import READ_ROWS

Scores = NDArray[np.float64]
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

    def __init__(self, learning: TrainingData) -> None:
        self._encoding: Encoding = learning.encoding
        wide = _wide(learning.train, self._encoding.layout)
        known = np.where(np.isfinite(wide).any(axis=0), wide, 0.0)
        self._mean = np.nan_to_num(np.nanmean(known, axis=0))
        self.train = self._filled(wide)

    def of(self, table: pa.Table) -> NDArray[np.float64]:
        """Convert a table to a matrix, (B, D)."""
        schema = self._encoding.schema.without_keys()
        encoded = self._encoding.encode_table(table.select([c.name for c in schema.columns]), rows=READ_ROWS)
        return self._filled(_wide(encoded.arrays, self._encoding.layout))

    def _filled(self, wide: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(np.isfinite(wide), wide, self._mean)


class Baselines(NamedTuple):
    """The detectors, and what they see of a row."""

    all: tuple[Baseline, ...]
    raw: RawColumns
    pca: TableModel | None
    """None if it cannot be trained"""
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
    """Fit the baselines of a model on its training rows.

    PCA is trained as a separate bundle of a scorer alone, stored with the outputs.

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

    pca: TableModel | None = None
    absent: tuple[str, ...] = ()
    try:
        result = train_job(of_pca, partitions=trained.partitions, only_scorer=True, progress=report)
        pca = TableModel.open(result.bundle, device=scored.job.run.device)
    except (OptionInvalid, DataUnreadable, TrainingDiverged, ExportFailed) as error:
        absent = (f"the baseline '{PCA}' is left out: {error}",)
    learning = read_training_data(of_pca, trained.partitions)
    raw = RawColumns(learning)
    forest, generator = _isolation_forest(raw), np.random.default_rng(0)
    detectors: dict[str, Callable[[pa.Table], Scores]] = {
        "random": lambda table: generator.random(table.num_rows),
        "max |z|": _max_abs_z(raw),
        **({} if pca is None else {PCA: partial(_reconstruction, pca)}),
        "isolation forest": lambda table: forest(raw.of(table)),
    }
    return Baselines(
        tuple(
            Baseline(name, score, alarm_threshold(score(learning.calibration_rows), alpha))
            for name, score in detectors.items()
        ),
        raw,
        pca,
        absent,
    )


def _reconstruction(pca: TableModel, table: pa.Table) -> Scores:
    return np.asarray(pca.score(table)["score"].to_numpy(), np.float64)


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


def _max_abs_z(raw: RawColumns) -> Callable[[pa.Table], Scores]:
    """Return a scorer of the maximum |z| over the raw columns; constant columns are ignored."""
    mean, std = raw.train.mean(axis=0), raw.train.std(axis=0)
    gain = np.divide(1.0, std, out=np.zeros_like(std), where=std > 0)
    return lambda table: np.abs((raw.of(table) - mean) * gain).max(axis=1, initial=0.0)


def _isolation_forest(raw: RawColumns) -> Callable[[NDArray[np.float64]], Scores]:
    from sklearn.ensemble import IsolationForest

    forest = IsolationForest(random_state=0).fit(raw.train)
    return lambda rows: -np.asarray(forest.score_samples(rows), dtype=np.float64)


def _wide(arrays: Mapping[str, np.ndarray], layout: Layout) -> NDArray[np.float64]:
    blocks = [arrays[name].reshape(len(arrays[name]), -1) for name in ("num", "image", "steps") if name in arrays]
    for index, category in enumerate(layout.categories):
        shown = np.arange(min(category.size, MOST_CODES))
        blocks.append(arrays["cat"][:, index : index + 1] == shown)
    return np.concatenate(blocks, axis=1).astype(np.float64)
