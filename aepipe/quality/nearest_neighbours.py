"""How far rows are from each other, a block at a time.

The distance is Gower's (1971) with numbers in standard deviations: the sum of |differences| of the numbers, and of one
for each category that differs. A missing number stands at the mean, and one further off.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aepipe.quality.alignment import Rows, moments

BLOCK_CELLS = 2_000_000


class Nearest(NamedTuple):
    """Of each row, (B,): the nearest of the others, and how far it is."""

    place: NDArray[np.int64]
    distance: NDArray[np.float64]


def scaled(reference: Rows, sides: Sequence[Rows]) -> list[Rows]:
    """The rows of all sides with their numbers in standard deviations of the reference's, ready for distances."""
    center, spread = moments(reference.numbers)
    gaps = np.any([np.isnan(side.numbers).any(axis=0) for side in sides], axis=0)
    return [_scaled(side, center, spread, gaps) for side in sides]


def nearest(rows: Rows, others: Rows) -> Nearest:
    """The nearest of `others` to each row; of several, the first. Both are `scaled`."""
    found = [(block.argmin(axis=1), block.min(axis=1)) for _, block in _blocks(rows, others)]
    return Nearest(np.concatenate([place for place, _ in found]), np.concatenate([far for _, far in found]))


def radii(rows: Rows, k: int) -> NDArray[np.float64]:
    """The distance of each row to the k-th nearest of the other rows, (B,)."""
    found = []
    for start, block in _blocks(rows, rows):
        block[np.arange(len(block)), np.arange(start, start + len(block))] = np.inf
        found.append(np.partition(block, k - 1, axis=1)[:, k - 1])
    return np.concatenate(found)


def _blocks(rows: Rows, others: Rows) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Distances of a block of rows to all others, (block, others), and where the block starts."""
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


def _scaled(rows: Rows, center: NDArray[np.float64], spread: NDArray[np.float64], gaps: NDArray[np.bool_]) -> Rows:
    missing = np.isnan(rows.numbers)
    numbers = np.where(missing, 0.0, (np.nan_to_num(rows.numbers) - center) / spread)
    return Rows(numbers, np.asfortranarray(np.hstack([rows.codes, missing[:, gaps].astype(np.int32)])))
