"""Membership inference: how well attacks on synthetic rows tell training rows from held-out rows."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aepipe.metrics.ranking import Interval
from aepipe.quality.alignment import Columns, Rows
from aepipe.quality.design_matrix import stacked, tree_matrix
from aepipe.quality.intervals import delong, mean_of
from aepipe.quality.learners import boosted_trees, fit_trees, one_thread
from aepipe.quality.nearest_neighbours import distance_blocks, nearest, scaled

FEWEST_ROWS = 50
"""Minimum of members, of non-members and of reference rows."""
MOST_TARGETS = 2_000
"""Maximum of members, and of non-members, that are attacked."""
MOST_ROWS = 10_000
"""Maximum of synthetic rows, and of reference rows, that an attack uses."""
MOST_CELLS = 400_000
FALSE_POSITIVES = 0.01
ROUNDS = 400


class Attack(NamedTuple):
    """Performance of an attack, with 95 % intervals: AUROC, and the share of members found at 1 % false positives."""

    name: str
    auroc: Interval
    found: Interval


@dataclass(frozen=True, slots=True)
class Membership:
    """Attacks on a set, the strongest first. targets: members and non-members each; reference: rows, as `synthetic`."""

    attacks: tuple[Attack, ...]
    targets: int
    reference: int
    synthetic: int

    @property
    def auroc(self) -> Interval:
        """AUROC of the attack with the highest lower bound."""
        return max((attack.auroc for attack in self.attacks), key=lambda interval: interval.low)

    @property
    def found(self) -> Interval:
        """Share of members found at 1 % false positives, of the attack with the highest lower bound."""
        return max((attack.found for attack in self.attacks), key=lambda interval: interval.low)


def membership(columns: Columns, train: Rows, held_out: Rows, synthetic: Rows, *, seed: int) -> Membership | None:
    """Attack training rows (members) and half of the held-out rows (non-members); None with too few rows.

    The attacker has the synthetic rows and, as reference, the other half of the held-out rows: rows of the same
    distribution that the model did not see. Each attack gives a row a score, higher for members:

    - distance ratio: distance to the nearest reference row over that to the nearest synthetic row (Chen et al. 2020);
    - density ratio: kernel density of synthetic rows over that of reference rows (DOMIAS, van Breugel et al. 2023);
    - neighbourhood: number of synthetic rows within the median distance to the nearest (Hilprecht et al. 2019);
    - classifier: log odds of boosted trees that separate synthetic from reference rows (LOGAN, Hayes et al. 2019).

    Uses at most 2,000 targets of either kind and 10,000 synthetic and reference rows, fewer with more than 40 columns.
    """
    generator = np.random.default_rng(seed)
    most = max(MOST_CELLS // max(len(columns.names), 1), 1_000)
    halves = np.array_split(generator.permutation(len(held_out)), 2)
    count = min(len(train), len(halves[0]), MOST_TARGETS)
    if min(count, len(halves[1]), len(synthetic)) < FEWEST_ROWS:
        return None
    reference = held_out.take(halves[1][: min(MOST_ROWS, most)])
    drawn = synthetic.subsample(min(len(synthetic), MOST_ROWS, most), generator)
    targets = stacked([train.subsample(count, generator), held_out.take(halves[0][:count])])
    is_member = np.arange(2 * count) < count
    found = [
        Attack(name, mean_of([delong(is_member, scores)]), found_at(is_member, scores, generator))
        for name, scores in _attacks(columns, targets, reference, drawn, seed=seed)
    ]
    ordered = tuple(sorted(found, key=lambda attack: -attack.auroc.value))
    return Membership(ordered, count, len(reference), len(drawn))


def found_at(is_member: NDArray[np.bool_], scores: NDArray[np.float64], generator: np.random.Generator) -> Interval:
    """Compute the share of members above the score that 1 % of non-members exceed, with a bootstrap interval.

    Carlini et al. 2022, "Membership inference attacks from first principles". Equal scores count as not found.
    """
    members, others = scores[is_member], scores[~is_member]
    drawn = [
        _found(generator.choice(members, len(members)), generator.choice(others, len(others))) for _ in range(ROUNDS)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(_found(members, others), float(low), float(high))


def _found(members: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    allowed = int(FALSE_POSITIVES * len(others))
    threshold = np.partition(others, len(others) - 1 - allowed)[len(others) - 1 - allowed]
    return float((members > threshold).mean())


def _attacks(
    columns: Columns, targets: Rows, reference: Rows, synthetic: Rows, *, seed: int
) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Yield the name of each attack and the scores of the targets, (B,)."""
    near_targets, kept, drawn = scaled(reference, (targets, reference, synthetic))
    to_kept, to_drawn = nearest(near_targets, kept).distance, nearest(near_targets, drawn).distance
    radius = float(np.median(to_drawn))
    tiny = 1e-6 * max(radius, 1e-6)
    yield "distance ratio", np.log(to_kept + tiny) - np.log(to_drawn + tiny)
    # narrow enough that the nearest row outweighs all distant ones: exp(-distance / width) = 1 / rows at the median
    width = max(float(np.median(to_kept)) / np.log(len(kept) + 1), 1e-6)
    densities, counts = _around(near_targets, drawn, width, radius)
    yield "density ratio", np.log(densities) - np.log(_around(near_targets, kept, width, radius)[0])
    yield "neighbourhood", counts
    both = stacked([reference, synthetic, targets])
    matrix = tree_matrix(columns, both)
    learned = len(reference) + len(synthetic)
    truth = np.arange(learned) >= len(reference)
    with one_thread():
        learner = boosted_trees(matrix.is_category, seed=seed, is_weighted=True)
        fit_trees(learner, matrix.values[:learned], truth)
        yield "classifier", learner.decision_function(matrix.values[learned:])


def _around(targets: Rows, rows: Rows, width: float, radius: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean Laplace kernel exp(-distance / width) of `rows`, and their number within a radius, (B,) each."""
    densities, counts = [], []
    for _, block in distance_blocks(targets, rows):
        densities.append(np.exp(-block / width).mean(axis=1))
        counts.append((block <= radius).sum(axis=1).astype(np.float64))
    return np.maximum(np.concatenate(densities), 1e-300), np.concatenate(counts)
