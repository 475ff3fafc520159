"""Mahalanobis distance from the bulk of contaminated training rows."""

from typing import NamedTuple

import numpy as np

from aepipe.heads.base import Head, HeadSpec, HeadStats
from aepipe.heads.distance_space import MODEL, Fields, Matrix, coordinates, robust_scaling
from aepipe.heads.robust_starts import starting_distances
from aepipe.heads.whitening import WhitenedDistance, log_determinant, mahalanobis_squared, shrunk_covariance

KEPT = 0.6
"""Share of the rows that a concentration step keeps: up to 40 % may be anomalous."""

STEPS = 3


class Bulk(NamedTuple):
    """Mean (D,) and covariance (D, D) of the bulk of some points, and the logarithm of the determinant."""

    mean: Matrix
    covariance: Matrix
    log_determinant: float


def concentrate(points: Matrix) -> tuple[Matrix, Matrix]:
    """Estimate the mean (D,) and covariance (D, D) of the bulk of robustly scaled points (B, D).

    `STEPS` concentration steps keep the closest rows and estimate again (Rousseeuw & Van Driessen 1999, C-steps). They
    end in a local optimum, so they run from each of several starts, and the least determinant is kept (Hubert,
    Rousseeuw & Verdonck 2012, DetMCD). The covariance is rescaled so that the median distance is that of a Gaussian.

    A bulk with its mean outside that of the first start is left out. It contains a tight clump of anomalies, which
    makes its determinant small.
    """
    first, *others = (_concentrated(points, distance) for distance in starting_distances(points))
    typical = float(np.median(mahalanobis_squared(points, first.mean, first.covariance)))
    inside = [bulk for bulk in others if mahalanobis_squared(bulk.mean[None], first.mean, first.covariance) <= typical]
    best = min((first, *inside), key=lambda bulk: bulk.log_determinant)  # the first of equal ones
    distance = mahalanobis_squared(points, best.mean, best.covariance)
    stretch = float(np.median(distance)) / chi_squared_median(points.shape[1])
    return best.mean, best.covariance * (stretch or 1.0)


def _concentrated(points: Matrix, distance: Matrix) -> Bulk:
    """Run the concentration steps from the rows with the least distance, (B,)."""
    kept = max(2, int(np.ceil(KEPT * len(distance))))
    for step in range(STEPS):
        closest = np.sort(np.argsort(distance, kind="stable")[:kept])
        mean, covariance = shrunk_covariance(points[closest])
        if step < STEPS - 1:
            distance = mahalanobis_squared(points, mean, covariance)
    return Bulk(mean, covariance, log_determinant(covariance))


def chi_squared_median(degrees: int) -> float:
    """Approximate the median of chi squared, to 2 % from two degrees of freedom on (Wilson & Hilferty 1931)."""
    return degrees * (1 - 2 / (9 * degrees)) ** 3


def robust_mahalanobis(stats: HeadStats, fields: Fields = MODEL) -> Head:
    """Fit the head in the space of these fields."""
    scaling = robust_scaling(stats.train, stats.dev, fields)
    mean, covariance = concentrate((coordinates(stats.train, fields) - scaling.center) / scaling.scale)
    return WhitenedDistance(scaling, mean=mean, covariance=covariance, fields=fields)


HEAD = HeadSpec(
    "robust_mahalanobis", "Mahalanobis distance from the closest 60 % of the training rows", robust_mahalanobis
)
