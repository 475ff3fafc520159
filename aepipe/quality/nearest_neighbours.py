"""Distances between rows, in blocks.

The distance is Gower's (1971) with numbers in standard deviations: the sum of absolute differences of the numbers plus
1 for each category that differs. A missing number counts as the mean, plus 1 for being missing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aepipe.quality.alignment import Rows, moments

BLOCK_CELLS = 2_000_000


@dataclass(frozen=True, slots=True)
class Nearest:
    """Index of the nearest other row, and the distance to it, (B,) each."""

    index: NDArray[np.int64]
    distance: NDArray[np.float64]


def scaled(reference: Rows, sides: Sequence[Rows]) -> list[Rows]:
    """Scale the numbers of all sides by the standard deviations of the reference, ready for distances."""
    center, spread = moments(reference.numbers)
    gaps = np.any([np.isnan(side.numbers).any(axis=0) for side in sides], axis=0)
    found = []
    for side in sides:
        missing = np.isnan(side.numbers)
        numbers = np.where(missing, 0.0, (np.nan_to_num(side.numbers) - center) / spread)
        codes = np.asfortranarray(np.hstack([side.codes, missing[:, gaps].astype(np.int32)]))
        found.append(Rows(numbers, codes))
    return found


def nearest(rows: Rows, others: Rows) -> Nearest:
    """Find the nearest of `others` to each row, the first if several are. Both are `scaled`."""
    found = [(block.argmin(axis=1), block.min(axis=1)) for _, block in distance_blocks(rows, others)]
    return Nearest(np.concatenate([index for index, _ in found]), np.concatenate([distance for _, distance in found]))


def radii(rows: Rows, k: int) -> NDArray[np.float64]:
    """Compute the distance of each row to the k-th nearest of the other rows, (B,)."""
    found = []
    for start, block in distance_blocks(rows, rows):
        block[np.arange(len(block)), np.arange(start, start + len(block))] = np.inf
        found.append(np.partition(block, k - 1, axis=1)[:, k - 1])
    return np.concatenate(found)


def distance_blocks(rows: Rows, others: Rows) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Yield the start of a block of rows and its distances to all others, (block, others)."""
    step = max(1, BLOCK_CELLS // max(len(others), 1))
    for start in range(0, len(rows), step):
        yield start, _distances(rows.take(slice(start, start + step)), others)


def _distances(rows: Rows, others: Rows) -> NDArray[np.float64]:
    from scipy.spatial.distance import cdist

    differ = np.zeros((len(rows), len(others)), np.uint16)
    for mine, theirs in zip(rows.codes.T, others.codes.T, strict=True):
        differ += mine[:, None] != theirs[None, :]
    if not rows.numbers.shape[1]:
        return differ.astype(np.float64)
    found: NDArray[np.float64] = cdist(rows.numbers, others.numbers, "cityblock")
    found += differ
    return found
