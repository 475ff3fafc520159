"""Choice of a head by labels, which neither the network nor the statistics of the heads have seen."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from aepipe.heads import scores as heads
from aepipe.heads.base import HeadStats, ScoringInputs
from aepipe.metrics.ranking import Ranking, ranking_average_precision

FEWEST = 10
"""Least number of labelled rows per class for a choice by labels."""

ROUNDS = 200
SURE = 0.95
"""Share of bootstrap draws in which a head must beat the default to replace it."""


class HeadChoice(NamedTuple):
    """Chosen head, the average precision of all heads on the labelled rows, and a sentence with the reason."""

    name: str
    average_precision: dict[str, float]
    sentence: str


@torch.no_grad()
def choose_head(
    stats: HeadStats, labelled: ScoringInputs, is_anomaly: NDArray[np.bool_], *, default: str
) -> HeadChoice:
    """Choose the head with the best average precision, if it beats the default by more than chance.

    Chance is estimated by a paired, stratified bootstrap.

    Args:
        stats: Rows to fit the heads on, without labels and without the labelled rows.
        labelled: Rows of both classes that no weight was learned from.
        is_anomaly: Labels of these rows, (B,).
        default: Name of the head to keep in case of doubt.
    """
    scores = {name: heads.find(name).fit(stats)(labelled).double().cpu().numpy() for name in heads.names()}
    rankings = {name: Ranking.of(is_anomaly, each) for name, each in scores.items()}
    found = {name: ranking_average_precision(ranking) for name, ranking in rankings.items()}
    best = max(found, key=lambda name: (found[name], name == default))
    rows = f"{int(is_anomaly.sum()):,} anomalies among {len(is_anomaly):,} labelled rows"
    if best == default:
        return HeadChoice(best, found, f"head {best} has the best average precision, {found[best]:.3f}, on {rows}")
    wins = _wins(rankings[best], rankings[default], seed=stats.seed)
    comparison = f"average precision {found[best]:.3f} against {found[default]:.3f} of {default} on {rows}"
    if wins < SURE:
        kept = f"head {default} is kept: {best} has {comparison}, and is better in {wins:.0%} of the draws only"
        return HeadChoice(default, found, kept)
    return HeadChoice(best, found, f"head {best} is chosen: {comparison}, better in {wins:.0%} of the draws")


def _wins(one: Ranking, other: Ranking, *, seed: int) -> float:
    """Return the share of stratified bootstrap draws in which one score beats the other."""
    wins = 0
    for draw in range(ROUNDS):
        pair = (ranking.resampled(np.random.default_rng([seed, draw])) for ranking in (one, other))
        first, second = map(ranking_average_precision, pair)
        wins += first > second
    return wins / ROUNDS
