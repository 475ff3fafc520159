"""Division of one alarm rate among two alarms of the same rows. Independent of what the alarms measure."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_EXACT_RANKS = 200
_STEP = 1.02  # between the ranks beyond, whose counts are known less finely

RankCount = tuple[int, int]
"""A rank m, and the number of calibration rows that are among the m highest of either alarm."""


class RankShares(NamedTuple):
    """Highest rank at which each of two alarms flags a row, counted from the top; 0: it flags none."""

    first: int
    second: int


def count_union(first: NDArray[np.floating], second: NDArray[np.floating]) -> tuple[RankCount, ...]:
    """Count the calibration rows among the m highest of either score, for ascending ranks m.

    first, second: scores of the same n rows, (n,); a tie takes the lowest rank of its rows.

    >>> count_union(np.array([3.0, 2.0, 1.0]), np.array([3.0, 1.0, 2.0]))
    ((1, 1), (2, 3), (3, 3))
    """
    n = len(first)
    best = np.sort(np.minimum(_ranks(first), _ranks(second)))
    beyond = np.geomspace(_EXACT_RANKS, max(n, _EXACT_RANKS), 2 + int(np.log(max(1, n / _EXACT_RANKS)) / np.log(_STEP)))
    ranks = np.unique(np.concatenate([np.arange(1, _EXACT_RANKS + 1), beyond.astype(np.int64)]))
    ranks = ranks[ranks <= n]
    return tuple(zip(ranks.tolist(), np.searchsorted(best, ranks, side="right").tolist(), strict=True))


def share_alpha(union: tuple[RankCount, ...], *, rows: int, alpha: float) -> RankShares:
    """Divide alpha so that either alarm flags a new row of the same source with probability at most alpha.

    Of n calibration rows and a new one, alpha (n + 1) may be flagged. One half each is safe: the rates of two alarms
    add up at most. Where both alarms are high in the same rows, each may flag more: any rank m at which 1 + the number
    of calibration rows among the m highest of either score stays within alpha (n + 1). The set of rows that the larger
    of these ranks flags is the same whichever of the n + 1 rows is called new, so that each row is in it with
    probability at most alpha (the argument of Vovk et al. 2005, section 2.2).

    Args:
        union: Result of `count_union`.
        rows: Number of calibration rows, n.
        alpha: Share of rows that may be flagged.

    >>> share_alpha(((1, 1), (2, 3), (3, 3)), rows=3, alpha=0.5)
    RankShares(first=1, second=1)
    >>> share_alpha((), rows=99, alpha=0.01)
    RankShares(first=1, second=0)
    """
    budget = int(np.floor(alpha * (rows + 1) * (1 + 1e-12)))
    halves = RankShares(budget - budget // 2, budget // 2)
    common = max((rank for rank, count in union if 1 + count <= budget), default=0)
    return RankShares(common, common) if common >= halves.first and halves.second else halves


def share_unequal(*, rows: int, cells: int, alpha: float) -> RankShares:
    """Divide alpha between two alarms with calibration rows of their own; the second alarm has more rows.

    The first flags a new row with probability at most its rank divided by rows + 1, the second likewise, and either of
    them at most with the sum. The first gets half of its ranks, the greater half; the second gets the rest of alpha.

    >>> share_unequal(rows=199, cells=999, alpha=0.01)
    RankShares(first=1, second=5)
    >>> share_unequal(rows=99, cells=999, alpha=0.01)
    RankShares(first=1, second=0)
    """
    budget = int(np.floor(alpha * (rows + 1) * (1 + 1e-12)))
    first = budget - budget // 2
    rest = max(0.0, alpha * (1 + 1e-12) - first / (rows + 1))
    return RankShares(first, int(np.floor(rest * (cells + 1) + 1e-9)))


def _ranks(scores: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the number of scores that are at least as high as each, (n,)."""
    ordered = np.sort(scores)
    return len(scores) - np.searchsorted(ordered, scores, side="left")
