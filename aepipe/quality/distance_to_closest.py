"""Whether synthetic rows lie closer to the rows that were learned from than to as many that were not."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aepipe.quality.alignment import Rows
from aepipe.quality.nearest_neighbours import nearest, scaled

MOST_ROWS = 10_000
MOST_DIFFERENCES = 4_000_000_000
FEWEST_REAL = 500
Z_99 = 2.5758293035489004


class Closeness(NamedTuple):
    """The share of synthetic rows whose nearest real row was learned from.

    low, high: chance alone gives shares between them in 99 of 100 cases, whichever real rows had been learned from.
    """

    share: float
    low: float
    high: float
    rows: int
    held_out_rows: int

    def is_within(self, tolerance: float) -> bool:
        """Whether the share is one half, up to the tolerance or to chance."""
        return abs(self.share - 0.5) <= tolerance or self.low <= self.share <= self.high


def closeness(train: Rows, held_out: Rows, synthetic: Rows, *, seed: int) -> Closeness:
    """Of at most 10,000 synthetic rows, each beside equally many training and held-out rows; ties count half.

    Were training and held-out rows exchanged at random, the share would vary by what few real rows draw many synthetic
    ones: its variance over all such exchanges is that of a sum drawn without replacement. Of wide tables fewer real
    rows are looked at, so that at most 4e9 values are compared.
    """
    generator = np.random.default_rng(seed)
    width = max(train.numbers.shape[1] + train.codes.shape[1], 1)
    most = MOST_DIFFERENCES // (2 * width * max(min(len(synthetic), MOST_ROWS), 1))
    count = min(len(train), len(held_out), MOST_ROWS, max(most, FEWEST_REAL))
    learned, kept = (side.some(count, generator) for side in (train, held_out))
    drawn = synthetic.some(min(len(synthetic), MOST_ROWS), generator)
    drawn, learned, kept = scaled(train, (drawn, learned, kept))
    to_learned, to_kept = nearest(drawn, learned), nearest(drawn, kept)
    wins = np.where(to_learned.distance == to_kept.distance, 0.5, to_learned.distance < to_kept.distance)
    weights = np.concatenate(
        [
            np.bincount(to_learned.place, weights=wins, minlength=count),
            np.bincount(to_kept.place, weights=1 - wins, minlength=count),
        ]
    )
    half = Z_99 * _exchange_deviation(weights / len(drawn))
    return Closeness(float(wins.mean()), 0.5 - half, 0.5 + half, len(drawn), count)


def _exchange_deviation(weights: NDArray[np.float64]) -> float:
    """Standard deviation of the summed weights of one half of the rows, drawn at random. Cochran 1977, chapter 2."""
    rows = len(weights)
    return float(np.sqrt(max(rows / (4 * (rows - 1)) * (np.sum(weights**2) - 1 / rows), 0.0))) if rows > 1 else 0.5
