"""The model beside what it has to beat: random scores, PCA and isolation forest; raw columns and PCA as features."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe import where
from aepipe.batch.model import TableModel
from aepipe.batch.reader import slices
from aepipe.config import Job, parse_job, read_job
from aepipe.errors import JobInvalid
from aepipe.jobs.result import Result
from aepipe.jobs.rows import READ_ROWS, read_learning_rows
from aepipe.jobs.train import train_job
from aepipe.metrics import auroc, average_precision
from aepipe.partitions import discover, select
from aepipe.storage import Outputs, read_parquet

Progress = Callable[[str, float], None]
FOLDS = 5
FEWEST_OF_A_CLASS = FOLDS


class Detection(Result):
    """How well a score finds the anomalies: both measures are 1 at best; AP of a random score is their share."""

    name: str
    auroc: float
    average_precision: float


class Downstream(Result):
    """How well a logistic regression tells the label from some features: mean accuracy of five folds."""

    name: str
    width: int
    accuracy: float


class Comparison(Result):
    """Everything on the same rows."""

    rows: int
    anomalies: int
    label: str | None
    detection: tuple[Detection, ...]
    features: tuple[Downstream, ...]


class _Rows(NamedTuple):
    source: pa.Table
    scores: NDArray[np.float64]
    features: NDArray[np.float32]


def compare(job_path: str | Path, *, model: str = "champion", progress: Progress | None = None) -> Comparison:
    """The scores and features that were written for `[score]`'s partitions, beside the yardsticks on the same rows.

    PCA runs through a bundle of its own, trained on the same rows. Raises JobInvalid without `[evaluate] anomaly`.
    """
    job = read_job(job_path)
    if job.evaluate.anomaly is None:
        raise JobInvalid(str(job.source), ["[evaluate] anomaly is needed to compare, such as \"label = 'fraud'\""])
    opened = TableModel.open(f"{job.bundle_path}@{model}")
    rows = _scored_rows(job)
    truth = np.asarray(where.apply(job.evaluate.anomaly, rows.source)).astype(bool)
    pca = TableModel.open(train_job(_pca_job(job), progress=_for_yardstick(progress)).bundle)
    raw = _matrix(opened.arrays(rows.source))
    learned = read_learning_rows(job, select(discover(job), job.train.first, job.train.last))
    detection = (
        _detection(f"aepipe {opened.bundle.manifest.family}", truth, rows.scores),
        _detection("random", truth, np.random.default_rng(0).random(len(truth))),
        _detection("PCA reconstruction", truth, _scores(pca, rows.source)),
        _detection("isolation forest", truth, _isolation_forest(_matrix(learned.train), raw)),
    )
    label = job.data.labels[0] if job.data.labels else None
    return Comparison(
        rows=len(truth),
        anomalies=int(truth.sum()),
        label=label,
        detection=detection,
        features=_downstream(label, rows, raw, pca) if label else (),
    )


def _for_yardstick(progress: Progress | None) -> Progress | None:
    if progress is None:
        return None
    return lambda what, share: progress(f"PCA to compare with: {what}", share)


def _scored_rows(job: Job) -> _Rows:
    """The rows of every scored partition: as they stand in the source, their scores, their features."""
    outputs = Outputs(job.out_path)
    tables, scores, features = [], [], []
    lost = outputs.quarantined()
    for partition in select(discover(job), job.score.first, job.score.last):
        manifest = outputs.manifest(partition.name)
        if manifest is None or "features" not in manifest.files or partition.name in lost:
            continue
        tables += [pa.Table.from_batches([batch]) for batch in slices(partition.files, None, rows=READ_ROWS)]
        scores.append(read_parquet(outputs.root / manifest.files["scores"].path, ["score"])["score"].to_numpy())
        written = read_parquet(outputs.root / manifest.files["features"].path)
        names = [name for name in written.column_names if name.startswith(("z_", "c_"))]
        features.append(np.column_stack([written[name].to_numpy() for name in names]))
    if not tables:
        raise JobInvalid(str(job.source), ["no partition has scores and features yet; run: aepipe score"])
    table = pa.concat_tables(tables, promote_options="permissive")
    fine = np.isfinite(np.concatenate(scores))
    return _Rows(table.filter(pa.array(fine)), np.concatenate(scores)[fine], np.concatenate(features)[fine])


def _pca_job(job: Job) -> Job:
    raw = job.model_dump(mode="json", by_alias=True, exclude={"source"})
    latent = job.model.options.get("latent")
    raw["name"] = f"{job.name}-pca"
    raw["model"] = {"family": "pca"} | ({"latent": latent} if latent else {})
    raw["score"] |= {"head": "reconstruction"}
    return parse_job(raw, source=job.source)


def _matrix(arrays: Mapping[str, np.ndarray]) -> NDArray[np.float64]:
    """Encoded rows as one matrix: missing numbers at the column's mean, images flat."""
    columns = [values.reshape(len(values), -1).astype(np.float64) for values in arrays.values()]
    matrix = np.concatenate(columns, axis=1)
    return np.where(np.isnan(matrix), np.nanmean(matrix, axis=0), matrix)


def _detection(name: str, truth: NDArray[np.bool_], scores: NDArray[np.floating]) -> Detection:
    return Detection(name=name, auroc=auroc(truth, scores), average_precision=average_precision(truth, scores))


def _scores(model: TableModel, source: pa.Table) -> NDArray[np.float64]:
    scores: NDArray[np.float64] = model.score(source)["score"].to_numpy().astype(np.float64)
    return scores


def _isolation_forest(train: NDArray[np.float64], rows: NDArray[np.float64]) -> NDArray[np.float64]:
    from sklearn.ensemble import IsolationForest

    scores: NDArray[np.float64] = -IsolationForest(random_state=0).fit(train).score_samples(rows)
    return scores


def _downstream(label: str, rows: _Rows, raw: NDArray[np.float64], pca: TableModel) -> tuple[Downstream, ...]:
    target = np.asarray(rows.source[label].to_pylist(), dtype=str)
    if np.unique(target, return_counts=True)[1].min() < FEWEST_OF_A_CLASS or len(np.unique(target)) < 2:
        return ()
    encoded = pca.encode(rows.source)
    components = np.column_stack([encoded[name].to_numpy() for name in encoded.column_names if name.startswith("z_")])
    kinds = (("latents", rows.features), ("raw columns", raw), ("PCA", components))
    return tuple(
        Downstream(name=name, width=matrix.shape[1], accuracy=_accuracy(matrix, target)) for name, matrix in kinds
    )


def _accuracy(matrix: NDArray[np.floating], target: NDArray[np.str_]) -> float:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2_000))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    return float(cross_val_score(classifier, matrix, target, cv=folds).mean())
