"""Mahalanobis distance from the training rows."""

from aepipe.heads.base import Head, HeadSpec, HeadStats
from aepipe.heads.distance_space import MODEL, Fields, coordinates, standard_scaling
from aepipe.heads.whitening import WhitenedDistance, shrunk_covariance


def mahalanobis(stats: HeadStats, fields: Fields = MODEL) -> Head:
    """Fit the head in the space of these fields."""
    scaling = standard_scaling(stats.train, stats.dev, fields)
    mean, covariance = shrunk_covariance((coordinates(stats.train, fields) - scaling.center) / scaling.scale)
    return WhitenedDistance(scaling, mean=mean, covariance=covariance, fields=fields)


HEAD = HeadSpec("mahalanobis", "Mahalanobis distance of [residual, latent] from the training rows", mahalanobis)
