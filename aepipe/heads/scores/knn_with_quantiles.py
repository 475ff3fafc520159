"""Score ensemble of nearest neighbours in three spaces: outputs of the model, the row, and its normal quantiles.

Distances in standard deviations see little of a number whose few large values decide its spread. In normal quantiles
every column is spread alike. The row is its numbers and the rarity of its categories.
"""

from aepipe.heads.base import Head, HeadSpec, HeadStats
from aepipe.heads.distance_space import ROW, coordinates, fields_of, own_fields
from aepipe.heads.normal_quantiles import NormalQuantiles, OnQuantiles, mapped
from aepipe.heads.score_vote import Vote
from aepipe.heads.scores.knn import nearest_neighbours, sample_bank


def _fit(stats: HeadStats) -> Head:
    bank = sample_bank(stats)
    views: list[Head] = [nearest_neighbours(stats, fields) for fields in fields_of(stats.train)]
    if stats.train.row.shape[1]:
        quantiles = NormalQuantiles(coordinates(bank, ROW))
        of_quantiles = HeadStats(mapped(stats.train, quantiles), mapped(stats.dev, quantiles), stats.seed)
        views.append(OnQuantiles(quantiles, nearest_neighbours(of_quantiles, own_fields(stats.train))))
    return Vote(views, bank)


HEAD = HeadSpec(
    "knn_with_quantiles", "votes of knn on [residual, latent], on the row, and on the row in normal quantiles", _fit
)
