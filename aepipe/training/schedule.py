"""Learning-rate schedule and number of epochs."""

import math
from collections.abc import Sequence

from aepipe.config.job import Train
from aepipe.models.base import Objective

EPOCHS = 200
"""Default for the greatest number of epochs."""

_RISE = 0.03  # of the epochs: Adam's first steps are of full length in directions that it has hardly seen


def epochs_of(options: Train, objectives: Sequence[Objective]) -> int:
    """Return the greatest number of epochs of a phase with these objectives."""
    return options.epochs or objectives[0].epochs or EPOCHS


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
