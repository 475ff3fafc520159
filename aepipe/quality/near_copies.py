"""Near copies: share of synthetic rows that equal a training row up to the precision of the columns."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from aepipe.quality.alignment import Rows
from aepipe.quality.intervals import upper_bound

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

RELATIVE = 0.002
OF_SPREAD = 0.01
SCALES = (1.0, 3.0, 10.0)
MARGIN, FACTOR = 0.02, 1.25
"""Share of near copies, and multiple of the rate of real rows, that a model may reach by fitting them."""
LEVEL = 0.9999
MOST_ROWS = 20_000
_APART = 1_000.0  # between groups of rows with other categories, in tolerances: beyond every scale


@dataclass(frozen=True, slots=True)
class NearCopies:
    """Share of rows near a training row, at the scale where it exceeds that of real rows most.

    real: the same share of real rows, near another training row. bound: 1.25 times the upper 99.99 % bound of `real`,
    plus 0.02. tolerance: multiple of the columns' tolerances within which rows count as near.
    """

    share: float
    real: float
    bound: float
    tolerance: float
    rows: int
    real_rows: int

    @property
    def is_within(self) -> bool:
        """True if synthetic rows are near copies hardly more often than real rows are."""
        return self.share <= self.bound


def near_copies(train: Rows, held_out: Rows, synthetic: Rows, *, seed: int) -> NearCopies:
    """Count synthetic rows that lie near any training row, and real rows that lie near another training row.

    Near rows have the same categories and missing values, and numbers that differ by at most a tolerance: half the
    least step between values of the column, 0.2 % of the value or 1 % of the column's spread (interquartile range /
    1.349), whichever is largest. Three and ten times that finds copies with more noise. Real rows are the held-out
    rows and the training rows, each without itself. All training rows are compared, with at most 20,000 rows of each
    kind.
    """
    generator = np.random.default_rng(seed)
    drawn, kept, own = (np.sort(generator.permutation(len(side))[:MOST_ROWS]) for side in (synthetic, held_out, train))
    learned, real, made = _in_tolerances(train, (train, held_out.take(kept), synthetic.take(drawn)))
    from scipy.spatial import cKDTree

    tree = cKDTree(learned, balanced_tree=False)
    to_real = np.concatenate([_nearest(tree, real), _nearest(tree, learned[own], itself=own)])
    to_made = _nearest(tree, made)
    found = []
    for scale in SCALES:
        hits = int((to_real <= scale).sum())
        found.append(
            NearCopies(
                share=float((to_made <= scale).mean()) if len(to_made) else 0.0,
                real=hits / max(len(to_real), 1),
                bound=min(upper_bound(hits, len(to_real), level=LEVEL) * FACTOR + MARGIN, 1.0),
                tolerance=scale,
                rows=len(to_made),
                real_rows=len(to_real),
            )
        )
    return max(found, key=lambda each: each.share - each.bound)


def _in_tolerances(reference: Rows, sides: tuple[Rows, ...]) -> list[NDArray[np.float64]]:
    """Convert rows to points whose Chebyshev distance is the largest difference of a number, in its tolerance.

    Rows that differ in a category or in what is missing are 1,000 apart.
    """
    columns = [
        _stretched(reference.numbers[:, at], [side.numbers[:, at] for side in sides])
        for at in range(reference.numbers.shape[1])
    ]
    groups = np.zeros(sum(map(len, sides)), np.int64)
    codes = np.concatenate([np.hstack([side.codes, np.isnan(side.numbers).astype(np.int32)]) for side in sides])
    for column in codes.T:
        _, groups = np.unique(groups * (int(column.max(initial=0)) + 1) + column, return_inverse=True)
    points = np.column_stack([groups * _APART, *columns])
    return np.split(points, np.cumsum([len(side) for side in sides])[:-1])


def _stretched(reference: NDArray[np.float64], sides: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Measure a column in its tolerance, a constant near zero and a share of the value far from it; 0 if missing.

    The integral of dx / tolerance(x): linear up to the point where the share exceeds the constant, then logarithmic.
    """
    known = reference[~np.isnan(reference)]
    values = np.nan_to_num(np.concatenate(sides))
    if not len(known):
        return values
    low, middle, high = np.quantile(known, [0.25, 0.5, 0.75])
    spread, different = (high - low) / 1.349, np.unique(known)
    step = float(np.diff(different).min()) if len(different) > 1 else 0.0
    constant = max(OF_SPREAD * spread, step / 2, 1e-12 * float(np.abs(known).max()), 1e-300)
    if abs(middle) * RELATIVE > known.std():  # far from zero, such as a time: a share of the value means nothing
        plain: NDArray[np.float64] = values / constant
        return plain
    bend = constant / RELATIVE
    size = np.abs(values)
    logarithmic = (1 + np.log(np.maximum(size, bend) / bend)) / RELATIVE
    stretched: NDArray[np.float64] = np.sign(values) * np.where(size <= bend, size / constant, logarithmic)
    return stretched


def _nearest(
    tree: "cKDTree", points: NDArray[np.float64], *, itself: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """Return the distance to the nearest training row, infinite beyond the last scale, (B,).

    Args:
        tree: Training rows.
        points: Rows, (B, D).
        itself: Index of each row among the training rows, which is skipped; None: they are no training rows.
    """
    if not len(points):
        return np.zeros(0)
    reach = float(np.nextafter(SCALES[-1], np.inf))
    found = tree.query(points, k=2, p=np.inf, distance_upper_bound=reach)
    distance, index = (np.asarray(part) for part in found)
    skipped = np.zeros(len(points), np.bool_) if itself is None else index[:, 0] == itself
    kept: NDArray[np.float64] = np.where(skipped, distance[:, 1], distance[:, 0])
    return kept
