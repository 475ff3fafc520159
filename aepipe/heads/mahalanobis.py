"""How far a row lies from the mean of the training rows, in units of their covariance."""

from aepipe.head import Head, HeadSpec, HeadStats
from aepipe.heads.space import coordinates, standard_scaling
from aepipe.heads.whitening import WhitenedDistance, shrunk_covariance


def _fit(stats: HeadStats) -> Head:
    scaling = standard_scaling(stats.train, stats.dev)
    mean, covariance = shrunk_covariance((coordinates(stats.train) - scaling.center) / scaling.scale)
    return WhitenedDistance(scaling, mean=mean, covariance=covariance)


HEAD = HeadSpec("mahalanobis", "Mahalanobis distance of [residual, latent] from the training rows", _fit)
