"""Decide whether more rows are flagged than alpha explains."""

import math

FEWEST_ROWS = 20
FEWEST_FLAGGED = 5
FACTOR = 3.0
"""Flagged shares up to this multiple of alpha are no news, however many rows there are."""
SIGNIFICANCE = 1e-4
"""Of ten thousand nights without a change, one may exceed alpha by chance."""


def tail_probability(flagged: int, rows: int, *, alpha: float, calibration_rows: int) -> float:
    """Return the probability that at least `flagged` of `rows` exchangeable rows are flagged.

    The share of later rows above a threshold that is the k-th highest of n calibration scores has the distribution
    Beta(k, n + 1 - k), so that the number of flagged rows is beta-binomial: wider than a binomial of share alpha by
    what the calibration rows leave open. With many calibration rows it is binomial.

    Args:
        flagged: number of flagged rows.
        rows: number of scored rows.
        alpha: share that the threshold stands for.
        calibration_rows: number of calibration rows.

    >>> round(tail_probability(1, 1, alpha=0.25, calibration_rows=99), 6)
    0.25
    """
    a, b = alpha * (calibration_rows + 1), (1 - alpha) * (calibration_rows + 1)
    # sums the shorter tail, whose terms fall from the mean on
    upper = flagged > rows * alpha
    k = flagged if upper else flagged - 1
    total, term = 0.0, 0.0
    if k >= 0:
        log_choose = math.lgamma(rows + 1) - math.lgamma(k + 1) - math.lgamma(rows - k + 1)
        term = math.exp(log_choose + _log_beta(k + a, rows - k + b) - _log_beta(a, b))
    while 0 <= k <= rows and term > 1e-17 * total:
        total += term
        if upper:
            term *= (rows - k) / (k + 1) * (k + a) / (rows - k - 1 + b) if k < rows else 0.0
            k += 1
        else:
            term *= k / (rows - k + 1) * (rows - k + b) / (k - 1 + a) if k else 0.0
            k -= 1
    return min(1.0, total) if upper else max(0.0, 1.0 - total)


def is_far_above(flagged: int, rows: int, *, alpha: float, calibration_rows: int) -> bool:
    """Return True if the flagged share is several times alpha, and by more than chance explains.

    Args: as `tail_probability`.
    """
    if rows < FEWEST_ROWS or flagged < FEWEST_FLAGGED:
        return False
    limit = min(FACTOR * alpha, (1 + alpha) / 2)
    if flagged <= limit * rows:
        return False
    return tail_probability(flagged, rows, alpha=alpha, calibration_rows=calibration_rows) < SIGNIFICANCE


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
