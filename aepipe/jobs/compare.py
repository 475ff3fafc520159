"""The model beside what it has to beat: random scores, PCA and isolation forest; raw columns and PCA as features."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe import where
from aepipe.batch.model import TableModel
from aepipe.batch.reader import READ_ROWS
from aepipe.config import Job, parse_job, read_job
from aepipe.errors import EvaluationInvalid, JobInvalid
from aepipe.jobs.result import Result
from aepipe.jobs.rows import read_learning_rows
from aepipe.jobs.scored import Scored
from aepipe.jobs.train import train_job
from aepipe.jobs.truth import truth_of
from aepipe.layout import Layout
from aepipe.metrics import auroc, average_precision
from aepipe.partitions import discover, select
from aepipe.progress import Progress
from aepipe.storage import HIDDEN

FOLDS = 5
FEWEST_OF_A_CLASS = FOLDS
MOST_ROWS = 50_000
MOST_CODES = 64
"""Of a category, as columns of the yardsticks."""


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
    """The scores and features that a model wrote, beside the yardsticks on the same rows.

    Raises JobInvalid without `[evaluate] anomaly`, EvaluationInvalid without both normal rows and anomalies, or where
    no scored partition has a column that tells them apart.
    """
    job = read_job(job_path)
    opened = TableModel.open(f"{job.bundle_path}@{model}", device=job.run.device)
    return compare_scored(Scored(job, opened), progress=progress)


def compare_scored(scored: Scored, *, progress: Progress | None = None) -> Comparison:
    """As `compare`. PCA runs through a bundle of its own, trained on the same rows and kept beside the outputs."""
    job, model = scored.job, scored.model
    if job.evaluate.anomaly is None:
        raise JobInvalid(str(job.source), ["[evaluate] anomaly is needed to compare, such as \"label = 'fraud'\""])
    rows = _judged_rows(scored, job.evaluate.anomaly)
    truth = where.apply(job.evaluate.anomaly, rows.source).to_numpy(zero_copy_only=False)
    ours = _detection(f"aepipe {model.bundle.manifest.family}", truth, rows.scores)
    pca = TableModel.open(train_job(_pca_job(job), progress=_for_yardstick(progress)).bundle, device=job.run.device)
    learned = read_learning_rows(job, select(discover(job), job.train.first, job.train.last))
    # As numbers, also where the model takes codes: yardsticks do better with them.
    judged = learned.encoding.encode_table(rows.source, rows=READ_ROWS).arrays
    train, raw = _matrices(learned.train, judged, learned.encoding.layout)
    detection = (
        ours,
        _detection("random", truth, np.random.default_rng(0).random(len(truth))),
        _detection("PCA reconstruction", truth, _scores(pca, rows.source)),
        _detection("isolation forest", truth, _isolation_forest(train, raw)),
    )
    label = next((name for name in job.data.labels[:1] if name in rows.source.column_names), None)
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


def _judged_rows(scored: Scored, anomaly: str) -> _Rows:
    """At most 50,000 scored rows whose labels are known, of partitions whose source is still what was scored."""
    tables, scores, features = [], [], []
    for manifest in scored.manifests:
        z = scored.latents(manifest)
        if z is None or manifest.partition not in scored.unchanged or not manifest.details["rows"]:
            continue
        tables.append(pa.Table.from_batches(list(scored.sources(manifest))))
        scores.append(scored.scores(manifest))
        features.append(z)
    if not tables:
        raise EvaluationInvalid("no partition has scores and features of a source that is still the same: score again")
    table = pa.concat_tables(tables, promote_options="permissive")
    _refuse_absent(anomaly, table)
    known = np.isfinite(np.concatenate(scores))
    known &= truth_of(anomaly, table)[0]
    chosen = np.flatnonzero(known)
    if len(chosen) > MOST_ROWS:
        chosen = np.sort(np.random.default_rng(0).choice(chosen, MOST_ROWS, replace=False))
    return _Rows(table.take(chosen), np.concatenate(scores)[chosen], np.concatenate(features)[chosen])


def _refuse_absent(anomaly: str, table: pa.Table) -> None:
    absent = sorted(where.columns(anomaly) - set(table.column_names))
    if absent:
        names = " and ".join(f"'{name}'" for name in absent)
        raise EvaluationInvalid(
            f"[evaluate] anomaly asks for {names}, which no scored partition has: score one whose labels are known"
        )


def _pca_job(job: Job) -> Job:
    """The same job with PCA in place of the model, in a folder that belongs to the outputs."""
    raw = job.model_dump(mode="json", by_alias=True, exclude={"source"})
    latent = job.model.options.get("latent")
    raw["name"] = "pca"
    raw["model"] = {"family": "pca"} | ({"latent": latent} if latent else {})
    raw["score"] |= {"head": "reconstruction"}
    raw["train"]["alias"] = "champion"
    for name, column in raw["columns"].items():
        if column["kind"] in ("target", "condition"):  # components take neither
            raw["columns"][name] = {"kind": "ignore"}
    raw["output"]["exported"] = str(job.out_path / HIDDEN / "yardsticks")
    return parse_job(raw, source=job.source)


def _matrices(
    train: Mapping[str, np.ndarray], rows: Mapping[str, np.ndarray], layout: Layout
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Training rows and judged rows as matrices of raw columns: missing numbers at the training mean, codes one-hot."""
    wide = [_wide(arrays, layout) for arrays in (train, rows)]
    mean = np.nan_to_num(np.nanmean(np.where(np.isfinite(wide[0]).any(axis=0), wide[0], 0.0), axis=0))
    first, second = (np.where(np.isnan(matrix), mean, matrix) for matrix in wide)
    return first, second


def _wide(arrays: Mapping[str, np.ndarray], layout: Layout) -> NDArray[np.float64]:
    blocks = [arrays[name].reshape(len(arrays[name]), -1) for name in ("num", "image", "steps") if name in arrays]
    for index, category in enumerate(layout.categories):
        shown = np.arange(min(category.size, MOST_CODES))
        blocks.append(arrays["cat"][:, index : index + 1] == shown)
    return np.concatenate(blocks, axis=1).astype(np.float64)


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
