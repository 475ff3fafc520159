"""Distance to closest record: share of synthetic rows closer to a training row than to a held-out row."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aepipe.quality.alignment import Rows
from aepipe.quality.nearest_neighbours import nearest, scaled

MOST_ROWS = 10_000
MOST_DIFFERENCES = 4_000_000_000
FEWEST_REAL = 500
Z_99 = 2.5758293035489004


@dataclass(frozen=True, slots=True)
class Closeness:
    """Share of synthetic rows whose nearest real row is a training row.

    low, high: 99 % interval of the share if training and held-out rows were assigned at random.
    """

    share: float
    low: float
    high: float
    rows: int
    held_out_rows: int

    def is_within(self, tolerance: float) -> bool:
        """Tell whether the share is 0.5, up to the tolerance or to chance."""
        return abs(self.share - 0.5) <= tolerance or self.low <= self.share <= self.high


def closeness(train: Rows, held_out: Rows, synthetic: Rows, *, seed: int) -> Closeness:
    """Compare at most 10,000 synthetic rows with the same number of training and held-out rows; ties count half.

    The interval is that of a random assignment of real rows to the two sides: the variance of the share over all
    assignments is that of a sum drawn without replacement, in which a real row weighs as its nearest synthetic rows.
    Wide tables use fewer real rows, so that at most 4e9 values are compared.
    """
    generator = np.random.default_rng(seed)
    width = max(train.numbers.shape[1] + train.codes.shape[1], 1)
    most = MOST_DIFFERENCES // (2 * width * max(min(len(synthetic), MOST_ROWS), 1))
    count = min(len(train), len(held_out), MOST_ROWS, max(most, FEWEST_REAL))
    learned, kept = (side.subsample(count, generator) for side in (train, held_out))
    drawn = synthetic.subsample(min(len(synthetic), MOST_ROWS), generator)
    drawn, learned, kept = scaled(train, (drawn, learned, kept))
    to_learned, to_kept = nearest(drawn, learned), nearest(drawn, kept)
    wins = np.where(to_learned.distance == to_kept.distance, 0.5, to_learned.distance < to_kept.distance)
    weights = np.concatenate(
        [
            np.bincount(to_learned.index, weights=wins, minlength=count),
            np.bincount(to_kept.index, weights=1 - wins, minlength=count),
        ]
    )
    half = Z_99 * exchange_deviation(weights / len(drawn))
    return Closeness(float(wins.mean()), 0.5 - half, 0.5 + half, len(drawn), count)


def exchange_deviation(weights: NDArray[np.float64]) -> float:
    """Compute the standard deviation of the summed weights of a random half of the rows. Cochran 1977, chapter 2."""
    rows = len(weights)
    return float(np.sqrt(max(rows / (4 * (rows - 1)) * (np.sum(weights**2) - 1 / rows), 0.0))) if rows > 1 else 0.5
