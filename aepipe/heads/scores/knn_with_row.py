"""Score ensemble of nearest neighbours in the space of the model and in the space of the row."""

from aepipe.heads.base import HeadSpec
from aepipe.heads.distance_space import fields_of
from aepipe.heads.score_vote import Vote
from aepipe.heads.scores.knn import nearest_neighbours, sample_bank

HEAD = HeadSpec(
    "knn_with_row",
    "votes of knn on [residual, latent] and of knn on the row itself",
    lambda stats: Vote([nearest_neighbours(stats, fields) for fields in fields_of(stats.train)], sample_bank(stats)),
)
