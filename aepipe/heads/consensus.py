"""Where strange rows may be among those learned from: several views agree on whom to trust, and then on who is strange.

A first vote, of heads that a few strange rows move little, leaves out the fifth of the rows that it finds strangest. A
second one, of the heads that are best on clean rows, learns from the rest.
"""

import torch

from aepipe.head import Evidence, Head, HeadSpec, HeadStats, joined, rows_of
from aepipe.heads.knn import bank_of, nearest_neighbours
from aepipe.heads.mahalanobis import mahalanobis
from aepipe.heads.marginals import marginals
from aepipe.heads.robust_mahalanobis import robust_mahalanobis
from aepipe.heads.space import ROW, spaces_of
from aepipe.heads.vote import Vote

TRUSTED = 0.8
"""Share of the rows that the second vote learns from."""


def _fit(stats: HeadStats) -> Head:
    spaces = spaces_of(stats.train)
    robust = [robust_mahalanobis(stats, fields) for fields in spaces]
    first = Vote([*robust, *_marginals(joined(stats))], joined(stats))
    trusted = _trusted(first, stats)
    second = [fit(trusted, fields) for fit in (mahalanobis, nearest_neighbours) for fields in spaces]
    return Vote([*second, *_marginals(joined(trusted))], bank_of(trusted))


def _marginals(rows: Evidence) -> list[Head]:
    return [marginals(rows)] if ROW in spaces_of(rows) else []


@torch.no_grad()
def _trusted(vote: Head, stats: HeadStats) -> HeadStats:
    """The rows of least score, of training and dev rows each."""
    train, dev = (_least(vote, rows) for rows in (stats.train, stats.dev))
    return HeadStats(train, train if stats.dev is stats.train else dev, stats.seed)


def _least(vote: Head, rows: Evidence) -> Evidence:
    kept = max(1, round(TRUSTED * len(rows.total)))
    return rows_of(rows, vote(rows).topk(kept, largest=False).indices.sort().values)


HEAD = HeadSpec("consensus", "votes of distances and of rarity, learned from rows that a first vote trusts", _fit)
