"""When a class is told, and when a row is of none that training knew: the confidence below which it is `unknown`."""

import math

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, FiniteFloat

from aepipe.config.cost_table import Costs
from aepipe.frozen import FrozenModel

UNKNOWN = "unknown"


class OpenSet(FrozenModel):
    """The classes that a scorer tells apart, and how sure it has to be."""

    column: str = Field(description="the label that they are values of")
    names: tuple[str, ...] = Field(min_length=2, description="as text, in the order of the graph's answers")
    least_confidence: FiniteFloat = Field(description="below it a row is unknown; above 1, every row is")
    sentence: str = Field(description="what the confidence was chosen by")

    @property
    def answers(self) -> tuple[str, ...]:
        """What a row can be called: a class, or unknown, which is last."""
        return (*self.names, UNKNOWN)

    def codes(self, found: NDArray[np.generic], confidence: NDArray[np.generic]) -> NDArray[np.int32]:
        """Indices into `answers` of the graph's classes and confidences, of any one shape."""
        told = confidence.astype(np.float64) >= self.least_confidence
        return np.where(told, found, len(self.names)).astype(np.int32)


def cheapest_confidence(
    confidence: NDArray[np.floating], right: NDArray[np.bool_], known: NDArray[np.bool_], costs: Costs
) -> float:
    """The confidence of least expected cost, the lowest of equal ones; above 1 where silence is cheapest.

    confidence: (B,) of rows that nothing was learned from. right: whether the class told is the true one. known:
    whether the true class is one that training knew. A right answer that is withheld costs a false alarm; one that is
    told and wrong, of a known class or another, costs a miss. The base rate is that of rows of no known class; without
    such rows here, known ones alone decide.
    """
    steps = np.append(np.unique(confidence), np.nextafter(1.0, 2.0))
    withheld = _share_below(confidence[known & right], steps) * _share(right[known])
    wrong = (1 - _share_below(confidence[known & ~right], steps)) * _share(~right[known])
    strange = 1 - _share_below(confidence[~known], steps)
    base = costs.base_rate if (~known).any() else 0.0
    expected = (1 - base) * (costs.false_alarm * withheld + costs.miss * wrong) + base * costs.miss * strange
    return float(steps[int(np.argmin(expected))])


def usual_confidence(confidence: NDArray[np.floating], right: NDArray[np.bool_], *, alpha: float) -> float:
    """The confidence below which at most a share alpha of the rows lies that are told rightly; 0 without such rows.

    Of n of them, the floor(alpha (n + 1))-th least: rows like these fall below it with probability alpha at most
    (Vovk et al. 2005, split conformal).
    """
    ranked = np.sort(np.asarray(confidence, np.float64)[right])
    place = math.floor(alpha * (len(ranked) + 1) + 1e-9)
    return float(ranked[place - 1]) if place else 0.0


def _share_below(values: NDArray[np.floating], steps: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.asarray(np.searchsorted(np.sort(values), steps) / max(len(values), 1))


def _share(held: NDArray[np.bool_]) -> float:
    return float(held.mean()) if len(held) else 0.0
