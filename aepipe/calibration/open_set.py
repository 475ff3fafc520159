"""Open-set classification: a row below a confidence threshold is `unknown`."""

import math

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, FiniteFloat

from aepipe.config.cost_table import Costs
from aepipe.frozen import FrozenModel

UNKNOWN = "unknown"


class OpenSet(FrozenModel):
    """Classes of a scorer, and the confidence below which a row is unknown."""

    column: str = Field(description="label column of the classes")
    names: tuple[str, ...] = Field(min_length=2, description="as text, in the order of the graph output")
    least_confidence: FiniteFloat = Field(description="a row below it is unknown; above 1: all rows are unknown")
    sentence: str = Field(description="how the confidence was selected, in words")

    @property
    def answers(self) -> tuple[str, ...]:
        """Names that a row can get: the classes, then unknown."""
        return (*self.names, UNKNOWN)

    def codes(self, found: NDArray[np.generic], confidence: NDArray[np.generic]) -> NDArray[np.int32]:
        """Map the graph's classes and confidences, of any equal shape, to indices into `answers`."""
        accepted = confidence.astype(np.float64) >= self.least_confidence
        return np.where(accepted, found, len(self.names)).astype(np.int32)


def cheapest_confidence(
    confidence: NDArray[np.floating], right: NDArray[np.bool_], known: NDArray[np.bool_], costs: Costs
) -> float:
    """Return the confidence threshold of least expected cost, the lowest of equal ones.

    Withholding a correct prediction costs a false alarm; an accepted wrong prediction costs a miss, for rows of known
    and of unknown classes. The base rate is the share of rows of unknown classes; without such rows here it is 0. The
    result is above 1 if it is cheapest to accept no prediction.

    Args:
        confidence: (B,) of rows that were not trained on.
        right: (B,), whether the predicted class is the true one.
        known: (B,), whether training had the true class.
        costs: costs and base rate.
    """
    steps = np.append(np.unique(confidence), np.nextafter(1.0, 2.0))
    withheld = _share_below(confidence[known & right], steps) * _share(right[known])
    wrong = (1 - _share_below(confidence[known & ~right], steps)) * _share(~right[known])
    missed = 1 - _share_below(confidence[~known], steps)
    base = costs.base_rate if (~known).any() else 0.0
    expected = (1 - base) * (costs.false_alarm * withheld + costs.miss * wrong) + base * costs.miss * missed
    return float(steps[int(np.argmin(expected))])


def usual_confidence(confidence: NDArray[np.floating], right: NDArray[np.bool_], *, alpha: float) -> float:
    """Return the confidence that at most a share alpha of the correct predictions falls below.

    This is the floor(alpha (n + 1))-th lowest of n correct predictions, or 0 if that is none: exchangeable rows fall
    below it with probability at most alpha (Vovk et al. 2005, split conformal).
    """
    ranked = np.sort(np.asarray(confidence, np.float64)[right])
    place = math.floor(alpha * (len(ranked) + 1) + 1e-9)
    return float(ranked[place - 1]) if place else 0.0


def _share_below(values: NDArray[np.floating], steps: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.asarray(np.searchsorted(np.sort(values), steps) / max(len(values), 1))


def _share(held: NDArray[np.bool_]) -> float:
    return float(held.mean()) if len(held) else 0.0
