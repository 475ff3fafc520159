"""Mahalanobis distance from the bulk of contaminated training rows."""

import numpy as np

from aepipe.heads.base import Head, HeadSpec, HeadStats
from aepipe.heads.distance_space import MODEL, Fields, Matrix, coordinates, robust_scaling
from aepipe.heads.whitening import WhitenedDistance, mahalanobis_squared, shrunk_covariance

KEPT = 0.6
"""Share of the rows that a concentration step keeps: up to 40 % may be anomalous."""

STEPS = 3


def concentrate(points: Matrix) -> tuple[Matrix, Matrix]:
    """Estimate the mean (D,) and covariance (D, D) of the bulk of robustly scaled points (B, D).

    `STEPS` concentration steps keep the closest rows and estimate again (Rousseeuw & Van Driessen 1999, C-steps),
    starting from the rows closest to the origin. The covariance is rescaled so that the median distance is that of a
    Gaussian.
    """
    distance = np.asarray((points**2).sum(axis=1))
    kept = max(2, int(np.ceil(KEPT * len(distance))))
    for _ in range(STEPS):
        closest = np.sort(np.argsort(distance, kind="stable")[:kept])
        mean, covariance = shrunk_covariance(points[closest])
        distance = mahalanobis_squared(points, mean, covariance)
    stretch = float(np.median(distance)) / chi_squared_median(points.shape[1])
    return mean, covariance * (stretch or 1.0)


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
