"""Plan of a bundle: every decision and every refusal that needs no training."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aepipe.calibration.conformal import check_support, rows_needed
from aepipe.config.job import Job
from aepipe.errors import DataUnreadable, OptionInvalid
from aepipe.heads.attribution import supports_perturbation
from aepipe.heads.out_of_fold_cells import scores_without_model
from aepipe.jobs import threshold_selection as threshold
from aepipe.jobs.train.classification import class_names
from aepipe.jobs.train.head_selection import refuse_few
from aepipe.jobs.train.training_data import TrainingData, rows_of
from aepipe.layout import Layout
from aepipe.models import families
from aepipe.models.base import Model
from aepipe.models.latent_priors import has_mixture
from aepipe.models.layers.flow_matching import LEAST_ROWS

CROSS_FITTED = 1_000
"""Below this number of calibration rows, training rows calibrate the alarm for cells too.

With it, the alarm has 5 ranks at the default alpha. One with one or two ranks depends on the most unusual normal cells
of a few hundred rows.
"""

_FIRST_ROWS = 1_000  # nearly always enough to see that a column varies


@dataclass(frozen=True, slots=True)
class BundlePlan:
    """Parts of a bundle that are decided before training."""

    model: families.Plan
    head: str
    """The head of the job, or the default that labels may replace."""
    class_names: tuple[str, ...]
    """Classes of `[score] classes`; empty without it."""
    is_cross_conformal: bool
    """Training rows calibrate too, each scored by a model that did not learn from it."""
    most_out_of_fold: int | None = None
    """Number of such rows that are enough; None: all training rows."""
    is_cross_fitted: bool = False
    """Training rows calibrate the alarm for cells too, by predictors of cells that did not learn from them."""


def plan_bundle(job: Job, data: TrainingData, *, head: str) -> BundlePlan:
    """Plan the bundle of a job for its training data.

    Args:
        job: The job.
        data: Its training data.
        head: Head of the job, or the default that labels may replace.

    Raises:
        OptionInvalid: Options do not fit the family or the layout, or too few rows are labelled to choose a head.
        CalibrationInvalid: The rows are too few for alpha, even with out-of-fold scores of training rows.
        EvaluationInvalid: The label of `[score] classes` has too few or too many classes.
        DataUnreadable: Every modelled column is constant in the training rows.
    """
    if job.series is None:  # a constant series scores any change
        _refuse_constant(job, data)
    model = families.plan(data.encoding.layout, job.model, is_private=job.train.epsilon is not None)
    refuse_few(job, data)
    held_out = rows_of(data.calibration)
    # points calibrate a series job: their number is known once windows are scored
    rows, alpha = held_out + rows_of(data.train), threshold.needed_alpha(job)
    if job.series is None and held_out < rows_needed(alpha):
        check_support(rows, threshold.supported_alpha(job, rows))
        return BundlePlan(model, head, class_names(job, data), is_cross_conformal=True)
    # Each of two alarms needs rows for half of alpha. A fold costs a training, so that no more are scored.
    has_cells = _has_cells(job, data.encoding.layout)
    needed = rows_needed(alpha / 2) if has_cells else 0
    is_for_cells = held_out < needed <= rows
    is_cross_fitted = (
        has_cells
        and job.calibration.per is None
        and max(held_out, needed) < CROSS_FITTED
        and rows >= needed
        and scores_without_model(data.encoding.layout)
    )
    return BundlePlan(model, head, class_names(job, data), is_for_cells, needed - held_out, is_cross_fitted)


def _has_cells(job: Job, layout: Layout) -> bool:
    """Return True if the most unusual cells may be flagged, given enough calibration rows."""
    asked = job.calibration
    return (
        job.series is None
        and asked.has_cells
        and not (asked.selects_alpha or asked.adaptive)
        and job.score.reasons > 0
        and supports_perturbation(layout)
    )


def _refuse_constant(job: Job, data: TrainingData) -> None:
    """Raise DataUnreadable if no modelled column varies: there is nothing to learn."""
    arrays = data.train.values()
    if any(_varies(array[:_FIRST_ROWS]) for array in arrays) or any(_varies(array) for array in arrays):
        return
    columns = ", ".join(f"'{name}'" for name in data.encoding.layout.columns)
    raise DataUnreadable(
        f"{job.data_path} has only constant columns: expected one that varies over the training rows, got "
        f"one value in each of {columns}. Choose other partitions by [train] from and to, or add a column."
    )


def _varies(array: NDArray[np.generic]) -> bool:
    same = array == array[:1]
    if np.issubdtype(array.dtype, np.floating):
        same |= np.isnan(array) & np.isnan(array[:1])
    return not same.all()


def refuse_flow(model: Model, rows: int) -> None:
    """Raise OptionInvalid if a flow is to be fitted to the latents of too few rows."""
    if model.euler_steps and rows < LEAST_ROWS:
        raise OptionInvalid(
            f"[model] prior = 'flow_matching' needs at least {LEAST_ROWS} training rows, got {rows}: a flow would "
            "repeat them. Omit prior, or train on more rows."
        )


def refuse_clusters(job: Job, model: Model) -> None:
    """Raise OptionInvalid if the job asks for clusters and the latents of the model have none."""
    if job.score.clusters and not has_mixture(model.latent):
        kind = "codes" if model.latent.kind == "code" else "binary" if model.latent.kind == "binary" else "no features"
        raise OptionInvalid(
            f"[score] clusters = true needs real latents among the features, and family '{job.model.family}' "
            f"has {kind}; leave it out, or choose another family."
        )
