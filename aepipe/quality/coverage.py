"""How much of what is real comes back: values, ranges, and neighbourhoods."""

from typing import NamedTuple

import numpy as np

from aepipe.quality.alignment import MISSING, Columns, Rows
from aepipe.quality.nearest_neighbours import nearest, radii, scaled

NEIGHBOURS = 5
MOST_ROWS = 3_000


class Coverage(NamedTuple):
    """By category the share of its real values that come back, by number the share of its real range; NaN where a
    number is constant or unknown.

    neighbourhoods: the share of real rows that have a synthetic one among their five nearest, as far as real ones lie.
    expected: what other real rows, as many, would give.
    """

    values: dict[str, float]
    ranges: dict[str, float]
    neighbourhoods: float
    expected: float


def coverage(columns: Columns, *, train: Rows, held_out: Rows, synthetic: Rows, seed: int) -> Coverage:
    """Values and ranges of all training rows; neighbourhoods of at most 3,000 held-out rows, by as many synthetic ones.

    Values and ranges are SDMetrics' CategoryCoverage and RangeCoverage.
    """
    values = {name: _values(train.codes[:, at], synthetic.codes[:, at]) for at, name in enumerate(columns.categories)}
    ranges = {name: _range(train.numbers[:, at], synthetic.numbers[:, at]) for at, name in enumerate(columns.numbers)}
    generator = np.random.default_rng(seed)
    count = min(len(held_out), len(synthetic), MOST_ROWS)
    sides = [rows.some(count, generator) for rows in (held_out, synthetic)]
    return Coverage(values, ranges, neighbourhoods(*sides), expected_neighbourhoods(count, count))


def neighbourhoods(real: Rows, synthetic: Rows, *, k: int = NEIGHBOURS) -> float:
    """The share of real rows with a synthetic one within the distance of their k-th nearest real one; NaN for too few.

    Coverage of Naeem et al. 2020, "Reliable fidelity and diversity metrics for generative models".
    """
    if len(real) <= k or not len(synthetic):
        return float("nan")
    kept, drawn = scaled(real, (real, synthetic))
    return float((nearest(kept, drawn).distance <= radii(kept, k)).mean())


def expected_neighbourhoods(real: int, synthetic: int, *, k: int = NEIGHBOURS) -> float:
    """What `neighbourhoods` is on average where both sides follow one distribution. Naeem et al. 2020, lemma 2.

    >>> round(expected_neighbourhoods(1_000_000, 1_000_000), 4)  # 1 - 1 / 2 ** 5
    0.9688
    """
    steps = np.arange(1, k + 1)
    return float(1 - np.prod((real - steps) / (real + synthetic - steps))) if real > k else float("nan")


def _values(real: np.ndarray, synthetic: np.ndarray) -> float:
    known = np.setdiff1d(real, [MISSING])
    return float(np.isin(known, synthetic).mean()) if len(known) else float("nan")


def _range(real: np.ndarray, synthetic: np.ndarray) -> float:
    real, synthetic = real[~np.isnan(real)], synthetic[~np.isnan(synthetic)]
    if not len(real) or not len(synthetic) or real.min() == real.max():
        return float("nan")
    width = real.max() - real.min()
    lost = max(synthetic.min() - real.min(), 0) + max(real.max() - synthetic.max(), 0)
    return float(max(1 - lost / width, 0))
