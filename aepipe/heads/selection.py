"""Which head labels speak for. The network, and every head's own statistics, have never seen a label."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from aepipe.heads import scores as heads
from aepipe.heads.base import HeadStats, ScoringInputs
from aepipe.metrics.ranking import Ranking, ranking_average_precision

FEWEST = 10
"""Labelled rows of either class below which labels have no say."""

ROUNDS = 200
SURE = 0.95
"""Share of the draws in which another head has to be better than the default to take its place."""


class HeadChoice(NamedTuple):
    """The head, and the average precision of every one on the labelled rows; `sentence` says why it is this one."""

    name: str
    average_precision: dict[str, float]
    sentence: str


@torch.no_grad()
def choose_head(
    stats: HeadStats, labelled: ScoringInputs, is_anomaly: NDArray[np.bool_], *, default: str
) -> HeadChoice:
    """The head of the greatest average precision on labelled rows, if it beats the default by more than chance.

    stats: what heads are fitted on, without labels and without the labelled rows. labelled, is_anomaly: (B,) rows that
    no weight was learned from, of both classes. Chance is a paired bootstrap of the rows of either class.
    """
    scores = {name: heads.find(name).fit(stats)(labelled).double().cpu().numpy() for name in heads.names()}
    rankings = {name: Ranking.of(is_anomaly, each) for name, each in scores.items()}
    found = {name: ranking_average_precision(ranking) for name, ranking in rankings.items()}
    best = max(found, key=lambda name: (found[name], name == default))
    rows = f"{int(is_anomaly.sum()):,} anomalies among {len(is_anomaly):,} labelled rows"
    if best == default:
        return HeadChoice(best, found, f"head {best} has the best average precision, {found[best]:.3f}, on {rows}")
    wins = _wins(rankings[best], rankings[default], seed=stats.seed)
    comparison = f"average precision {found[best]:.3f} beside {found[default]:.3f} of {default} on {rows}"
    if wins < SURE:
        kept = f"head {default} is kept: {best} has {comparison}, and is better in {wins:.0%} of the draws only"
        return HeadChoice(default, found, kept)
    return HeadChoice(best, found, f"head {best} is chosen: {comparison}, better in {wins:.0%} of the draws")


def _wins(one: Ranking, other: Ranking, *, seed: int) -> float:
    """The share of draws of the rows, each class by itself, in which one score is better than the other."""
    wins = 0
    for draw in range(ROUNDS):
        pair = (ranking.resampled(np.random.default_rng([seed, draw])) for ranking in (one, other))
        first, second = map(ranking_average_precision, pair)
        wins += first > second
    return wins / ROUNDS
