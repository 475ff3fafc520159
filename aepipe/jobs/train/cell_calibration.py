"""Calibration of the alarm for cells by training rows, where few rows are held out."""

import logging

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from aepipe.config.job import Job
from aepipe.heads.out_of_fold_cells import out_of_fold_cells
from aepipe.heads.scorer import FITTED_ROWS, Scorer
from aepipe.jobs.train.split import blocks_of
from aepipe.jobs.train.training_data import TrainingData

log = logging.getLogger(__name__)

FOLDS = 5
"""Each costs a fit of the predictor, up to half a second for a table of numbers."""

LEVEL = 0.01
"""Probability that held-out rows of the same source are taken for higher ones, by either of two tests."""

_HIGH = 0.02  # share of the rows whose scores decide about alarms at usual values of alpha

Doubles = NDArray[np.float64]


def with_training_cells(job: Job, data: TrainingData, scorer: Scorer, cells: Doubles) -> Doubles | None:
    """Return the cell scores of calibration and of training rows, (n + m,); None if training rows do not fit.

    Training rows are scored by predictors that did not learn from them (`out_of_fold_cells`). These learned from fewer
    rows than the predictor of the bundle, so that their scores tend to be higher, and p-values larger. If the held-out
    rows score higher all the same, as after a drift, they must calibrate alone.

    Args:
        job: The job.
        data: Its training data.
        scorer: The scorer of the bundle.
        cells: Scores of the most unusual cells of the calibration rows, (n,).
    """
    added = out_of_fold_cells(
        scorer.probe,
        scorer.attribution,
        data.train,
        data.dev,
        blocks_of(data.encoding.schema, data.train_rows, folds=FOLDS),
        most=FITTED_ROWS,
        seed=job.train.seed,
        alpha=job.calibration.alpha,
    )
    added = added[np.isfinite(added)]
    if score_higher(cells, added):
        log.warning(
            "cells are calibrated on %d rows alone: training rows have less unusual cells than these", len(cells)
        )
        return None
    return np.concatenate([cells, added])


def score_higher(first: Doubles, second: Doubles) -> bool:
    """Return True if the first scores are significantly higher than the second, on the whole or at the upper end."""
    if not len(second):
        return True
    on_the_whole = stats.ks_2samp(first, second, alternative="less", method="asymp").pvalue
    together = np.concatenate([first, second])
    end = np.quantile(together, 1 - _HIGH)
    high, among = int((together > end).sum()), int((first > end).sum())
    at_the_end = stats.hypergeom.sf(among - 1, len(together), high, len(first))
    return bool(min(on_the_whole, at_the_end) < LEVEL / 2)
