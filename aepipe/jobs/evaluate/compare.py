"""Comparison of a model with baselines: its scores with other detectors, its features with raw columns and PCA."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from aepipe.config.job import read_job
from aepipe.errors import JobInvalid
from aepipe.jobs.evaluate.baseline_scores import rank_baselines
from aepipe.jobs.evaluate.baselines import Baselines, fit_baselines
from aepipe.jobs.evaluate.evaluate import Evaluation, evaluate_labelled, rank_rivals
from aepipe.jobs.evaluate.label_accuracy import label_accuracy
from aepipe.jobs.evaluate.labelled_scores import LabelledScores, join_labels, sources
from aepipe.jobs.ground_truth import label_rule
from aepipe.jobs.results import Result
from aepipe.jobs.scored_partitions import ScoredPartitions, open_model
from aepipe.metrics.ranking import Ranking
from aepipe.progress import Progress
from aepipe.tables.arrow_arrays import array_of, numpy_of
from aepipe.tables.open_files import files_opened_once
from aepipe.tables.unification import unified_table

FOLDS = 5
FEWEST_OF_A_CLASS = FOLDS
MOST_ROWS = 50_000


class Downstream(Result):
    """Accuracy of a logistic regression of the label on some features, the mean of five folds."""

    name: str
    width: int
    accuracy: float


class Comparison(Result):
    """Everything on the same rows."""

    label: str | None
    """label that is predicted from the features; None without labels or features"""
    evaluation: Evaluation
    features: tuple[Downstream, ...]


@files_opened_once()
def compare(job_path: str | Path, *, model: str = "champion", progress: Progress | None = None) -> Comparison:
    """Compare the scores and features of a model with baselines on the same rows.

    Raises:
        JobInvalid: The job has no `[evaluate] anomaly`.
        EvaluationInvalid: The rows are of one class, or no scored partition has labels.
    """
    job = read_job(job_path)
    opened = open_model(job, model)
    return compare_scored(ScoredPartitions(job, opened), progress=progress)


def compare_scored(scored: ScoredPartitions, *, progress: Progress | None = None) -> Comparison:
    """Compare an opened model with baselines, on at most 50,000 rows."""
    job = scored.job
    truth = label_rule(job)
    if truth is None:
        raise JobInvalid(
            str(job.source),
            ["[evaluate] anomaly is missing: expected a condition. Add one, such as \"label = 'fraud'\"."],
        )
    labelled = join_labels(scored, truth)
    if scored.model.bundle.series is None:  # a sample of points is no series
        labelled = labelled.sample(MOST_ROWS)
    Ranking.of(labelled.truth, labelled.scores)  # refuses labels of one class before anything is learned
    if scored.model.bundle.series is not None:  # it has no features
        rivals = rank_rivals(scored, labelled, progress=progress)
        return Comparison(label=None, evaluation=evaluate_labelled(scored, labelled, rivals, truth=truth), features=())
    baselines = fit_baselines(scored, alpha=scored.model.bundle.calibration.alpha, progress=progress)
    tables = list(sources(scored, labelled))
    rivals = rank_baselines(scored, labelled, baselines, tables=tables, is_kept=True)
    evaluation = evaluate_labelled(scored, labelled, rivals, truth=truth)
    features = _downstream(job.data.labels[0], scored, labelled, baselines, tables) if job.data.labels else ()
    return Comparison(label=job.data.labels[0] if features else None, evaluation=evaluation, features=features)


def _downstream(
    label: str, scored: ScoredPartitions, labelled: LabelledScores, baselines: Baselines, tables: Sequence[pa.Table]
) -> tuple[Downstream, ...]:
    """Measure features on rows with a score and a label; empty if a class has too few rows for the folds."""
    found = [(scored.latents(night.manifest), night.rows) for night in labelled.nights]
    parts = [z[rows] for z, rows in found if z is not None]
    if len(parts) < len(found):
        return ()
    latents = np.concatenate(parts)
    table = unified_table(tables, or_text=True)
    if label not in table.column_names:
        return ()
    whole = np.isfinite(latents).all(axis=1) & numpy_of(table[label].is_valid())
    table, latents = table.filter(array_of(whole, pa.bool_())), latents[whole]
    target = np.asarray(table[label].to_pylist(), dtype=str)
    _, target, counts = np.unique(target, return_inverse=True, return_counts=True)  # integers are faster to sort
    if len(counts) < 2 or counts.min() < FEWEST_OF_A_CLASS:
        return ()
    kinds = [("latents", latents), ("raw columns", baselines.raw.of(table))]
    if baselines.pca is not None:
        encoded = baselines.pca.encode(table)
        names = [name for name in encoded.column_names if name.startswith("z_")]
        kinds.append(("PCA", np.column_stack([numpy_of(encoded[name]) for name in names])))
    return tuple(
        Downstream(name=name, width=matrix.shape[1], accuracy=label_accuracy(matrix, target, folds=FOLDS))
        for name, matrix in kinds
    )
