"""How far a row lies from the known rows most like it: in what the model makes of it, and as it is."""

from aepipe.heads.base import Head, HeadSpec, HeadStats
from aepipe.heads.distance_space import fields_of
from aepipe.heads.score_vote import Vote
from aepipe.heads.scores.knn import nearest_neighbours, sample_bank


def _fit(stats: HeadStats) -> Head:
    return Vote([nearest_neighbours(stats, fields) for fields in fields_of(stats.train)], sample_bank(stats))


HEAD = HeadSpec("knn_with_row", "votes of knn in [residual, latent] and of knn on the row itself", _fit)
