"""How fast players learn, and for how long."""

import math
from collections.abc import Sequence

from aepipe.config.job import Train
from aepipe.models.base import Objective

EPOCHS = 200
"""At most, where neither job nor player says otherwise."""

_RISE = 0.03  # of the epochs: Adam's first steps are of full length in directions that it has hardly seen


def epochs_of(options: Train, objectives: Sequence[Objective]) -> int:
    """How many epochs a phase of these players takes at most."""
    return options.epochs or objectives[0].epochs or EPOCHS


def learning_rate_of(
    options: Train, objective: Objective, first: Objective, *, lr_factor: float, progress: float
) -> float:
    """The learning rate of a player when so much of its phase is done; `first` is the one whose rate a job names."""
    asked = options.learning_rate
    base = objective.learning_rate if asked is None else asked * objective.learning_rate / first.learning_rate
    return base * (annealed(progress) if objective.anneals else lr_factor)


def annealed(progress: float) -> float:
    """The share of the rate at this progress: up within the first 3 %, then down half a cosine.

    Loshchilov & Hutter 2017 (SGDR), equation 5, without restarts.

    >>> [round(annealed(progress), 3) for progress in (0.0, 0.015, 0.5, 1.0)]
    [0.0, 0.5, 0.5, 0.0]
    """
    return min(1.0, progress / _RISE) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
