"""How far a row lies from the bulk of the training rows, whatever else is among them."""

import numpy as np

from aepipe.heads.base import Head, HeadSpec, HeadStats
from aepipe.heads.distance_space import MODEL, Fields, Matrix, coordinates, robust_scaling
from aepipe.heads.whitening import WhitenedDistance, mahalanobis_squared, shrunk_covariance

KEPT = 0.6
"""Share of the rows that a concentration step keeps: up to 40 % may be strange."""

STEPS = 3


def concentrate(points: Matrix) -> tuple[Matrix, Matrix]:
    """Mean (D,) and covariance (D, D) of the bulk of points (B, D) that are centred and scaled robustly.

    The closest rows are kept and measured anew, `STEPS` times, starting from those that lie closest in the scaled
    coordinates (Rousseeuw & Van Driessen 1999, C-steps). The covariance is stretched so that the median row lies where
    the median row of a Gaussian would.
    """
    distance = np.asarray((points**2).sum(axis=1))
    for _ in range(STEPS):
        mean, covariance = shrunk_covariance(points[_closest(distance)])
        distance = mahalanobis_squared(points, mean, covariance)
    stretch = float(np.median(distance)) / chi_squared_median(points.shape[1])
    return mean, covariance * (stretch or 1.0)


def chi_squared_median(degrees: int) -> float:
    """The median of chi squared, to 2 % from two degrees of freedom on (Wilson & Hilferty 1931)."""
    return degrees * (1 - 2 / (9 * degrees)) ** 3


def _closest(distance: Matrix) -> Matrix:
    kept = max(2, int(np.ceil(KEPT * len(distance))))
    return np.sort(np.argsort(distance, kind="stable")[:kept])


def robust_mahalanobis(stats: HeadStats, fields: Fields = MODEL) -> Head:
    """The distance of points of these fields."""
    scaling = robust_scaling(stats.train, stats.dev, fields)
    mean, covariance = concentrate((coordinates(stats.train, fields) - scaling.center) / scaling.scale)
    return WhitenedDistance(scaling, mean=mean, covariance=covariance, fields=fields)


HEAD = HeadSpec(
    "robust_mahalanobis", "Mahalanobis distance from the closest 60 % of the training rows", robust_mahalanobis
)
