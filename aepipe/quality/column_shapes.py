"""Column shapes: similarity of the distributions of real and synthetic values per column, 0 to 1.

The scores equal SDMetrics (KSComplement, TVComplement, MissingValueSimilarity; DataCebo, MIT licence).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aepipe.quality.alignment import MISSING, Columns, Rows


@dataclass(frozen=True, slots=True)
class Shapes:
    """1 - distance, by column: between the distributions of known values, and between the shares of missing ones."""

    known: dict[str, float]
    missing: dict[str, float]

    @property
    def score(self) -> float:
        """Mean over the columns that have values on both sides; NaN if there is none."""
        scores = [score for score in self.known.values() if np.isfinite(score)]
        return float(np.mean(scores)) if scores else float("nan")


def column_shapes(columns: Columns, real: Rows, synthetic: Rows) -> Shapes:
    """Compute 1 - Kolmogorov-Smirnov distance of numbers and times, 1 - total variation distance of categories.

    NaN if a side has no value.
    """
    known = {}
    for index, name in enumerate(columns.numbers):
        pair = [values[~np.isnan(values)] for values in (real.numbers[:, index], synthetic.numbers[:, index])]
        known[name] = 1 - kolmogorov_smirnov(*pair) if all(map(len, pair)) else float("nan")
    for index, name in enumerate(columns.categories):
        codes = [values[values != MISSING] for values in (real.codes[:, index], synthetic.codes[:, index])]
        known[name] = 1 - total_variation(*codes) if all(map(len, codes)) else float("nan")
    distance = np.abs(_missing(real) - _missing(synthetic))
    return Shapes(known, dict(zip(columns.names, (1 - distance).tolist(), strict=True)))


def kolmogorov_smirnov(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Compute the largest gap between the two empirical distribution functions, 0 to 1.

    >>> kolmogorov_smirnov(np.array([0.0, 1.0]), np.array([2.0, 3.0]))
    1.0
    """
    everything = np.concatenate([first, second])
    gaps = _distribution(first, everything) - _distribution(second, everything)
    return float(np.abs(gaps).max())


def total_variation(first: NDArray[np.generic], second: NDArray[np.generic]) -> float:
    """Compute half the sum of absolute differences between the shares of each value, 0 to 1.

    >>> total_variation(np.array(["a", "b"]), np.array(["a", "a"]))
    0.5
    """
    values, codes = np.unique(np.concatenate([first, second]), return_inverse=True)
    counts = [np.bincount(part, minlength=len(values)) for part in (codes[: len(first)], codes[len(first) :])]
    return float(0.5 * np.abs(counts[0] / len(first) - counts[1] / len(second)).sum())


def _distribution(values: NDArray[np.floating], at: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.searchsorted(np.sort(values), at, side="right") / len(values)


def _missing(rows: Rows) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = np.concatenate(
        [np.isnan(rows.numbers).mean(axis=0), (rows.codes == MISSING).mean(axis=0)]
    )
    return shares
