"""Cross-conformal calibration: scores of training rows by models that did not learn from them.

A table of a few hundred rows holds out too few rows for a small alpha. Its training rows are then divided into folds. A
model fitted on the other folds scores the rows of each fold. The held-out rows and all folds calibrate together
(Vovk 2015, Cross-conformal predictors; Barber et al. 2021, section 2.3, "CV+").

New rows are scored by the model of the bundle, not by one model per fold. The p-values are therefore approximate: the
model of the bundle has learned from more rows than the models of the folds. It tends to give lower scores, which makes
p-values larger.
"""

from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import torch

from aepipe.config.job import Job
from aepipe.heads.scorer import fit_scorer
from aepipe.jobs.train.fitting import build_model
from aepipe.jobs.train.split import folds_of
from aepipe.jobs.train.training_data import TrainingData, encode_rows, rows_of
from aepipe.jobs.train.training_rows import TrainingRows
from aepipe.progress import Progress
from aepipe.training.private_training import fit_network

FOLDS = 10


class FoldScores(NamedTuple):
    """Scores of rows and of their most unusual cells, float64 (B,) each; no cells if the scorer has none."""

    scores: np.ndarray
    cells: np.ndarray | None


class OutOfFold(NamedTuple):
    """Scores of training rows and of their most unusual cells, float64 (B,) each, and the rows."""

    scores: np.ndarray
    cells: np.ndarray | None
    rows: pa.Table


def out_of_fold_scores(
    job: Job,
    rows: TrainingRows,
    *,
    head: str,
    as_codes: bool,
    most: int | None,
    device: Literal["cpu", "cuda"],
    progress: Progress,
) -> OutOfFold:
    """Score training rows by models that learned from the other folds.

    Rows that cannot be encoded get no score. Rows with equal keys are in the same fold.

    Args:
        job: the job.
        rows: its training rows.
        head: head of the bundle.
        as_codes: the family takes codes.
        most: number of scores that are enough: further folds are left out; None: all folds.
        device: device that trains.
        progress: called with stage and fraction.
    """
    folds = folds_of(rows.schema, rows.train, folds=FOLDS)
    found, scored = [], [rows.train.slice(0, 0)]
    for fold in range(FOLDS):
        inside = pa.array(folds == fold)
        if not inside.true_count or inside.true_count == rows.train.num_rows:
            continue
        outside = rows.train.filter(pa.array(folds != fold))
        of_fold = replace(rows, train=outside, calibration=rows.train.filter(inside), origins=None)
        data = encode_rows(job, of_fold, as_codes=as_codes)
        if rows_of(data.calibration):  # a value that the other folds never miss may be missing in all rows of one
            found.append(_score_fold(job, data, head=head, device=device))
            scored.append(data.calibration_rows)
        enough = 0.0 if most is None else sum(len(part.scores) for part in found) / most
        progress("calibrate", FOLDS / (FOLDS + 1) * min(1.0, max((fold + 1) / FOLDS, enough)))
        if enough >= 1:
            break
    cells = [part.cells for part in found if part.cells is not None]
    scores = np.concatenate([part.scores for part in found] or [np.zeros(0)])
    return OutOfFold(scores, np.concatenate(cells) if cells else None, pa.concat_tables(scored))


@torch.no_grad()
def _score_fold(job: Job, data: TrainingData, *, head: str, device: Literal["cpu", "cuda"]) -> FoldScores:
    """Fit a model on the training rows of a fold and score its calibration rows."""
    model = build_model(data.encoding, job.model, job.train.seed)
    with torch.enable_grad():
        fit_network(model, data.train, data.dev, job.train, device=device)
        reasons = min(1, job.score.reasons)
        scorer = fit_scorer(
            model,
            data.train,
            data.dev,
            head=head,
            reasons=reasons,
            has_cells=job.calibration.has_cells,
            alpha=job.calibration.alpha,
            seed=job.train.seed,
        ).cpu()
    rows = (torch.from_numpy(data.calibration[port.name]) for port in data.encoding.layout.ports)
    found = dict(zip([port.name for port in scorer.part().outputs], scorer(*rows), strict=True))
    cells = found.get("cell_z")
    return FoldScores(found["score"].double().numpy(), None if cells is None else cells[:, 0].double().numpy())
