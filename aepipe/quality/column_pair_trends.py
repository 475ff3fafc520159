"""Column pair trends: similarity of the relations between two columns in real and synthetic rows, 0 to 1.

The scores equal SDMetrics (CorrelationSimilarity, ContingencySimilarity; DataCebo, MIT licence).
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from aepipe.quality.alignment import Columns, Rows, moments

BINS = 10
MOST_TABLES = 3_000
"""Pairs whose contingency tables are counted; a random subset if there are more."""


@dataclass(frozen=True, slots=True)
class Trends:
    """Similarity of each pair of P columns, numbers first, (P, P); NaN if unknown or not counted."""

    names: tuple[str, ...]
    similarity: NDArray[np.float64]

    @property
    def score(self) -> float:
        """Mean over the known pairs; NaN if there is none."""
        found = self.similarity[np.triu_indices(len(self.names), 1)]
        found = found[np.isfinite(found)]
        return float(found.mean()) if len(found) else float("nan")

    def lowest(self, most: int) -> list[tuple[str, str, float]]:
        """List the least similar pairs and their similarity, lowest first."""
        first, second = np.triu_indices(len(self.names), 1)
        found = self.similarity[first, second]
        order = np.argsort(np.where(np.isfinite(found), found, np.inf), kind="stable")[:most]
        return [
            (self.names[first[at]], self.names[second[at]], float(found[at])) for at in order if np.isfinite(found[at])
        ]

    @property
    def worst(self) -> tuple[str, str, float] | None:
        """Least similar pair and its similarity; None if there is none."""
        return next(iter(self.lowest(1)), None)


def pair_trends(columns: Columns, real: Rows, synthetic: Rows, *, seed: int = 0) -> Trends:
    """Compute 1 - |correlation difference| / 2 of two numbers, 1 - total variation of the joint table otherwise.

    Correlations are Pearson's over rows where both columns are known; they are unknown if a column is constant. In a
    table with a category, numbers are binned to ten bins of equal width over the real range, open at both ends; a
    missing value counts as a value.

    Args:
        columns: Columns of both sides.
        real: Real rows.
        synthetic: Synthetic rows.
        seed: Random seed for the choice of MOST_TABLES tables if there are more.
    """
    width = len(columns.numbers)
    similarity = np.full((len(columns.names), len(columns.names)), np.nan)
    similarity[:width, :width] = 1 - np.abs(correlations(real.numbers) - correlations(synthetic.numbers)) / 2
    binned = _binned(real, synthetic)
    pairs = [pair for pair in combinations(range(len(columns.names)), 2) if pair[1] >= width]
    if len(pairs) > MOST_TABLES:
        chosen = np.random.default_rng(seed).choice(len(pairs), MOST_TABLES, replace=False)
        pairs = [pairs[index] for index in np.sort(chosen)]
    for first, second in pairs:
        similar = 1 - _joint_variation(*(side[:, [first, second]] for side in binned))
        similarity[first, second] = similarity[second, first] = similar
    np.fill_diagonal(similarity, 1.0)
    return Trends(columns.names, similarity)


def correlations(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute Pearson's correlation of each pair of columns over rows where both are known, (N, N).

    NaN if a column is constant over these rows.
    """
    known = ~np.isnan(numbers)
    center, scale = moments(numbers)
    x = np.where(known, (np.nan_to_num(numbers) - center) / scale, 0.0)
    mask = known.astype(np.float64)
    n = np.maximum(mask.T @ mask, 1.0)
    mean = (x.T @ mask) / n  # of column i over the rows where i and j are known
    square = (x**2).T @ mask / n - mean**2
    product = np.where((square > 1e-12) & (square.T > 1e-12), square * square.T, np.nan)
    found: NDArray[np.float64] = ((x.T @ x) / n - mean * mean.T) / np.sqrt(product)
    return found


def _binned(real: Rows, synthetic: Rows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Encode every column as codes from 0, (B, P) per side."""
    sides = tuple(np.zeros((len(side), side.numbers.shape[1]), np.int64) for side in (real, synthetic))
    for index in range(real.numbers.shape[1]):
        values = real.numbers[:, index]
        values = values[~np.isnan(values)]
        low, high = (values.min(), values.max()) if len(values) else (0.0, 0.0)
        low, high = (low - 0.5, high + 0.5) if low == high else (low, high)
        # as np.histogram_bin_edges, which refuses large values that lie close together, such as 2**63 and 2**63 + 9
        edges = np.linspace(low, high, BINS + 1)[1:-1]
        for side, rows in zip(sides, (real, synthetic), strict=True):
            column = rows.numbers[:, index]
            side[:, index] = np.where(np.isnan(column), BINS, np.digitize(column, edges))
    return np.hstack([sides[0], real.codes]), np.hstack([sides[1], synthetic.codes])


def _joint_variation(real: NDArray[np.int64], synthetic: NDArray[np.int64]) -> float:
    width = int(max(real[:, 1].max(initial=0), synthetic[:, 1].max(initial=0))) + 1
    joint = [side[:, 0] * width + side[:, 1] for side in (real, synthetic)]
    cells = int(max(side.max(initial=0) for side in joint)) + 1
    if cells > 4 * (len(real) + len(synthetic)) + 10_000:  # two columns of many values: most cells are empty
        _, codes = np.unique(np.concatenate(joint), return_inverse=True)
        joint = list(np.split(codes, [len(real)]))
        cells = int(codes.max(initial=0)) + 1
    shares = [np.bincount(side, minlength=cells) / max(len(side), 1) for side in joint]
    return float(0.5 * np.abs(shares[0] - shares[1]).sum())
