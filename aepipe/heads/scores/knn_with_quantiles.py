"""Score ensemble of nearest neighbours in three spaces: outputs of the model, the row, and its normal quantiles.

Distances in standard deviations see little of a number whose few large values decide its spread. In normal quantiles
every column is spread alike.
"""

from aepipe.heads.base import Head, HeadSpec, HeadStats
from aepipe.heads.distance_space import ROW, coordinates, fields_of
from aepipe.heads.normal_quantiles import NormalQuantiles, OnQuantiles, mapped
from aepipe.heads.score_vote import Vote
from aepipe.heads.scores.knn import nearest_neighbours, sample_bank


def _fit(stats: HeadStats) -> Head:
    bank, spaces = sample_bank(stats), fields_of(stats.train)
    views: list[Head] = [nearest_neighbours(stats, fields) for fields in spaces]
    if ROW in spaces:
        quantiles = NormalQuantiles(coordinates(bank, ROW))
        of_quantiles = HeadStats(mapped(stats.train, quantiles), mapped(stats.dev, quantiles), stats.seed)
        views.append(OnQuantiles(quantiles, nearest_neighbours(of_quantiles, ROW)))
    return Vote(views, bank)


HEAD = HeadSpec(
    "knn_with_quantiles", "votes of knn on [residual, latent], on the row, and on the row in normal quantiles", _fit
)
