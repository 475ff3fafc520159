"""Coverage: share of the real values, ranges and neighbourhoods that synthetic rows reproduce."""

from typing import NamedTuple

import numpy as np

from aepipe.quality.alignment import MISSING, Columns, Rows
from aepipe.quality.nearest_neighbours import nearest, radii, scaled

NEIGHBOURS = 5
MOST_ROWS = 3_000


class Coverage(NamedTuple):
    """Share of the real values by category, of the real range by number, and of the real neighbourhoods.

    ranges: NaN for a number that is constant or unknown. neighbourhoods: share of real rows with a synthetic row within
    the distance of their fifth nearest real row. expected: `neighbourhoods` of the same number of real rows.
    """

    values: dict[str, float]
    ranges: dict[str, float]
    neighbourhoods: float
    expected: float


def coverage(columns: Columns, *, train: Rows, held_out: Rows, synthetic: Rows, seed: int) -> Coverage:
    """Compute coverage of the values and ranges of training rows, and of the neighbourhoods of held-out rows.

    Values and ranges are SDMetrics' CategoryCoverage and RangeCoverage. Neighbourhoods use at most 3,000 held-out rows
    and the same number of synthetic ones.
    """
    values = {}
    for index, name in enumerate(columns.categories):
        known = np.setdiff1d(train.codes[:, index], [MISSING])
        values[name] = float(np.isin(known, synthetic.codes[:, index]).mean()) if len(known) else float("nan")
    ranges = {
        name: _range_coverage(train.numbers[:, index], synthetic.numbers[:, index])
        for index, name in enumerate(columns.numbers)
    }
    generator = np.random.default_rng(seed)
    count = min(len(held_out), len(synthetic), MOST_ROWS)
    sides = [rows.subsample(count, generator) for rows in (held_out, synthetic)]
    return Coverage(values, ranges, neighbourhoods(*sides), expected_neighbourhoods(count, count))


def neighbourhoods(real: Rows, synthetic: Rows, *, k: int = NEIGHBOURS) -> float:
    """Compute the share of real rows with a synthetic row within the distance of their k-th nearest real row.

    NaN for too few rows. Naeem et al. 2020, "Reliable fidelity and diversity metrics for generative models".
    """
    if len(real) <= k or not len(synthetic):
        return float("nan")
    kept, drawn = scaled(real, (real, synthetic))
    return float((nearest(kept, drawn).distance <= radii(kept, k)).mean())


def expected_neighbourhoods(real: int, synthetic: int, *, k: int = NEIGHBOURS) -> float:
    """Compute the expected `neighbourhoods` if both sides follow one distribution. Naeem et al. 2020, lemma 2.

    >>> round(expected_neighbourhoods(1_000_000, 1_000_000), 4)  # 1 - 1 / 2 ** 5
    0.9688
    """
    steps = np.arange(1, k + 1)
    return float(1 - np.prod((real - steps) / (real + synthetic - steps))) if real > k else float("nan")


def _range_coverage(real: np.ndarray, synthetic: np.ndarray) -> float:
    real, synthetic = real[~np.isnan(real)], synthetic[~np.isnan(synthetic)]
    if not len(real) or not len(synthetic) or real.min() == real.max():
        return float("nan")
    width = real.max() - real.min()
    lost = max(synthetic.min() - real.min(), 0) + max(real.max() - synthetic.max(), 0)
    return float(max(1 - lost / width, 0))
