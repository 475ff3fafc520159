"""Learning-rate schedule, number of epochs, and the schedule of large tables."""

import math
from collections.abc import Sequence

from aepipe.config.job import Train
from aepipe.models.base import Objective

EPOCHS = 200
"""Default for the greatest number of epochs."""

LARGE_TABLE = 32_768
"""Training rows above which a table is large."""

_LARGE_BATCH_ROWS = 1_024
_LARGE_EPOCH_ROWS = 65_536
_LARGE_ROWS_IN_ALL = 4_000_000
"""Rows of a training, counted once for each epoch that has them."""
_LARGE_RATE = 4.0
_LARGE_OUTPUT_RATE = 20.0
_LARGE_AVERAGED = 0.99

_RISE = 0.03  # of the epochs: Adam's first steps are of full length in directions that it has hardly seen


def for_large_table(objective: Objective, options: Train, rows: int) -> Objective:
    """Return the objective with the schedule of large tables, or as it is if the table or the job does not allow it.

    A large table is trained on a fixed number of rows in large batches, at a higher learning rate that follows a half
    cosine to 0. The output layer learns faster than the others: the logits of rare values and the means of columns with
    little noise need large weights. docs/performance.md has the measurements.

    Args:
        objective: Only objective of a model.
        options: Options of the job; those that set `epochs` or `batch_rows` are followed.
        rows: Number of training rows.
    """
    is_fixed = options.epochs is not None or options.batch_rows is not None
    is_planned = objective.anneals or objective.epochs is not None or not objective.output_layer
    if is_fixed or is_planned or rows <= LARGE_TABLE:
        return objective
    epoch_rows = min(rows, _LARGE_EPOCH_ROWS)
    return objective._replace(
        learning_rate=_LARGE_RATE * objective.learning_rate,
        output_rate=_LARGE_OUTPUT_RATE,
        batch_rows=_LARGE_BATCH_ROWS,
        epoch_rows=epoch_rows,
        epochs=-(-_LARGE_ROWS_IN_ALL // epoch_rows),
        anneals=True,
        averaged=_LARGE_AVERAGED,
    )


def epochs_of(options: Train, objectives: Sequence[Objective]) -> int:
    """Return the greatest number of epochs of a phase with these objectives."""
    return options.epochs or objectives[0].epochs or EPOCHS


def patience_of(options: Train, objectives: Sequence[Objective]) -> int:
    """Return the number of epochs without a lower dev loss after which a phase with these objectives ends."""
    return max(1, round(objectives[0].patience_share * options.patience))


def learning_rate_of(
    options: Train, objective: Objective, first: Objective, *, lr_factor: float, progress: float
) -> float:
    """Return the learning rate of an objective at this progress of its phase.

    Args:
        options: Options of the job; its learning rate applies to `first` and scales the others.
        objective: Objective to return the rate for.
        first: First objective of the model.
        lr_factor: Factor of objectives that do not anneal.
        progress: Fraction of the phase that is done.
    """
    asked = options.learning_rate
    base = objective.learning_rate if asked is None else asked * objective.learning_rate / first.learning_rate
    return base * (annealed(progress) if objective.anneals else lr_factor)


def annealed(progress: float) -> float:
    """Return the factor of the learning rate: linear warm-up times half a cosine.

    Loshchilov & Hutter 2017 (SGDR), equation 5, without restarts.

    >>> [round(annealed(progress), 3) for progress in (0.0, 0.015, 0.5, 1.0)]
    [0.0, 0.5, 0.5, 0.0]
    """
    return min(1.0, progress / _RISE) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
