"""Alarms at an alpha: thresholds for the scores of any detector, and recall, precision and false alarms of flags."""

from collections.abc import Mapping

import numpy as np

from aepipe.calibration.conformal import Calibration, rows_needed
from benchmarks.detection_tables import Doubles, Flags, Split

ALPHAS = (0.01, 0.05)

RATES = ("recall", "precision", "false_alarms")

_HALVES_STREAM = 2
"""Combined with the seed, so that the halves are independent of the split of the table."""


def rate_name(rate: str, alpha: float) -> str:
    """Name a rate among the values of a result."""
    return f"{rate}@{alpha:g}"


def conformal_rates(scores: Doubles, split: Split, seed: int) -> dict[str, float]:
    """Return the rates of each alpha that the rows support, with one threshold rule for all detectors.

    Clean: split-conformal p-values. The normal test rows are divided into halves at random, and each half is calibrated
    on the other; anomalies are compared with both halves, and count half for each. Polluted: the highest scores are
    flagged, at most a share alpha of all rows; rows of equal scores are flagged together or not at all.

    Args:
        scores: finite, (B,), higher is more anomalous.
        split: the test rows.
        seed: seed of the halves.
    """
    found: dict[str, float] = {}
    for alpha in ALPHAS:
        flagged = _highest(scores, alpha) if split.scores_own_rows else _by_halves(scores, split, alpha, seed)
        if flagged is not None:
            found |= rates(flagged, split, alpha)
    return found


def rates(flagged: Doubles | Flags, split: Split, alpha: float) -> dict[str, float]:
    """Return recall, precision and the share of flagged normal rows; precision is 0 if no row is flagged.

    flagged: (B,); a share counts in part.
    """
    hits, false_alarms = float(flagged[split.is_anomaly].sum()), float(flagged[~split.is_anomaly].sum())
    values = (
        hits / np.count_nonzero(split.is_anomaly),
        hits / (hits + false_alarms) if hits + false_alarms else 0.0,
        false_alarms / np.count_nonzero(~split.is_anomaly),
    )
    return {rate_name(rate, alpha): float(value) for rate, value in zip(RATES, values, strict=True)}


def own_rates(flags: Mapping[float, Flags], split: Split) -> dict[str, float]:
    """Return the rates of the flags that a detector sets itself, as `own_recall@0.01` and so on."""
    return {f"own_{name}": value for alpha, each in flags.items() for name, value in rates(each, split, alpha).items()}


def _by_halves(scores: Doubles, split: Split, alpha: float, seed: int) -> Doubles | None:
    """Return the share of the calibrations that flag each row, (B,); None if a half has too few rows for alpha."""
    normal = np.random.default_rng([seed, _HALVES_STREAM]).permutation(np.flatnonzero(~split.is_anomaly))
    halves = np.array_split(normal, 2)
    if min(map(len, halves)) < rows_needed(alpha):
        return None
    flagged = np.zeros(len(scores))
    for half, other in (halves, halves[::-1]):
        calibration = Calibration.fit(scores[half], alpha=alpha)
        flagged[other] += calibration.p_values(scores[other]) <= alpha
        flagged[split.is_anomaly] += (calibration.p_values(scores[split.is_anomaly]) <= alpha) / 2
    return flagged


def _highest(scores: Doubles, alpha: float) -> Flags | None:
    """Return the rows whose rank from the top is at most a share alpha, (B,); None if that is less than one row."""
    if alpha * len(scores) < 1:
        return None
    ranks = len(scores) - np.searchsorted(np.sort(scores), scores, side="left")  # a tie has its last rank
    return np.asarray(ranks <= alpha * len(scores))
