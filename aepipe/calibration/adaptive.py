"""Alarms at a steady rate over a stream that drifts: alpha follows what was flagged, on a buffer of the latest scores.

Adaptive conformal inference (Gibbs & Candès 2021). Nothing here knows partitions or files.
"""

import bisect
import math
from collections import deque
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, FiniteFloat

from aepipe.calibration.conformal import Calibration
from aepipe.frozen import FrozenModel

FEWEST, MOST = 500, 20_000
"""How many scores a buffer holds: five times the rows that alpha needs, within these bounds."""

STEP = 1.0
"""How far a row moves alpha: up by STEP alpha**2, and down by STEP alpha where it is flagged.

At 1 a flag takes alpha away, and 1 / alpha rows without one give it back.
"""

HIGHEST = 10.0
"""Alpha goes up to so many times what is asked for: a flat stretch must not store up alarms.

It goes down to 0 and no further, so that an alarm silences few rows after it; for that the share flagged may lie above
alpha by a fifth where scores drift all the time.
"""


class State(FrozenModel):
    """What one night hands to the next."""

    alpha: float = Field(ge=0, le=1, description="what p within the buffer is compared with now")
    scores: tuple[FiniteFloat, ...] = Field(description="the buffer, oldest first")

    @classmethod
    def of(cls, calibration: Calibration) -> Self:
        """Where a stream starts: as many calibration scores as fit, evenly by rank, shuffled for they have no order."""
        ranks = np.asarray(calibration.ranks or range(1, calibration.n + 1))
        wanted = np.linspace(1, calibration.n, min(calibration.n, buffer_rows(calibration.alpha))).round()
        places = np.searchsorted(ranks, wanted)
        shuffled = np.random.default_rng(0).permutation(np.asarray(calibration.scores)[places])
        return cls(alpha=calibration.alpha, scores=tuple(shuffled.tolist()))


class Adaptive:
    """Judges scores in the order of their events; keeps the share that is flagged at `alpha` in the long run.

    A score is flagged where its p-value among the buffer is at most the alpha of the moment. That falls with each flag
    and rises with each row that is none; it goes on so during an incident, since a buffer that waits for its end never
    learns that the world has changed.
    """

    def __init__(self, alpha: float, state: State) -> None:
        self._asked = alpha
        self._alpha = state.alpha
        self._buffer = deque(state.scores[-buffer_rows(alpha) :], maxlen=buffer_rows(alpha))
        self._ordered = sorted(self._buffer)

    @property
    def state(self) -> State:
        """As it stands after the scores so far."""
        return State(alpha=self._alpha, scores=tuple(self._buffer))

    def flags(self, scores: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Whether each of the next scores is flagged, (B,); one that is missing is not, and teaches nothing."""
        values = np.asarray(scores, np.float64)
        flags = np.zeros(len(values), np.bool_)
        for row in np.flatnonzero(np.isfinite(values)).tolist():
            flags[row] = self._flag(float(values[row]))
        return flags

    def _flag(self, score: float) -> bool:
        ordered, buffer = self._ordered, self._buffer
        rows = len(ordered)
        flagged = 1 + rows - bisect.bisect_left(ordered, score) <= self._alpha * (rows + 1)
        moved = self._alpha + STEP * self._asked * (self._asked - flagged)
        self._alpha = min(max(moved, 0.0), HIGHEST * self._asked, 1.0)
        if rows == buffer.maxlen:
            del ordered[bisect.bisect_left(ordered, buffer[0])]
        buffer.append(score)
        bisect.insort(ordered, score)
        return flagged


def buffer_rows(alpha: float) -> int:
    """How many scores the buffer holds.

    >>> buffer_rows(0.01), buffer_rows(0.001)
    (500, 5000)
    """
    return min(MOST, max(FEWEST, math.ceil(5 / alpha - 1e-9)))
