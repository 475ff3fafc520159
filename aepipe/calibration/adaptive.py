"""Adaptive alpha for a drifting stream: keep a steady flag rate on a buffer of the latest scores.

Adaptive conformal inference (Gibbs & Candès 2021). Independent of partitions and files.
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
"""Bounds of the buffer size, which is five times the rows that alpha needs."""

STEP = 1.0
"""Learning rate: each row raises alpha by STEP alpha**2, each flagged row lowers it by STEP alpha.

At 1, a flag subtracts alpha, and 1 / alpha rows without a flag restore it.
"""

HIGHEST = 10.0
"""Upper bound of the current alpha, as a multiple of the target: a quiet stretch must not accumulate flags.

The lower bound is 0, so that a flag suppresses only a few rows after it. The price: where scores drift all the time,
the flagged share may exceed alpha by a fifth.
"""


class State(FrozenModel):
    """State that one night passes to the next."""

    alpha: float = Field(ge=0, le=1, description="current threshold on the p-value within the buffer")
    scores: tuple[FiniteFloat, ...] = Field(description="the buffer, oldest first")

    @classmethod
    def of(cls, calibration: Calibration) -> Self:
        """Initialise from a calibration: as many of its scores as fit, evenly by rank, in random order."""
        ranks = np.asarray(calibration.ranks or range(1, calibration.n + 1))
        wanted = np.linspace(1, calibration.n, min(calibration.n, buffer_rows(calibration.alpha))).round()
        places = np.searchsorted(ranks, wanted)
        shuffled = np.random.default_rng(0).permutation(np.asarray(calibration.scores)[places])
        return cls(alpha=calibration.alpha, scores=tuple(shuffled.tolist()))


class Adaptive:
    """Sequential detector that keeps the long-run share of flagged scores at `alpha`.

    A score is flagged if its p-value within the buffer is at most the current alpha. The current alpha falls with each
    flag and rises with each row that is not flagged. Updates continue during an incident: a buffer that waits for the
    end of one never learns that the distribution has changed.
    """

    def __init__(self, alpha: float, state: State) -> None:
        self._asked = alpha
        self._alpha = state.alpha
        self._buffer = deque(state.scores[-buffer_rows(alpha) :], maxlen=buffer_rows(alpha))
        self._ordered = sorted(self._buffer)

    @property
    def state(self) -> State:
        """State after the scores so far."""
        return State(alpha=self._alpha, scores=tuple(self._buffer))

    def flags(self, scores: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Return whether each of the next scores is flagged, (B,), and update; skip missing scores, never flagged."""
        values = np.asarray(scores, np.float64)
        flags = np.zeros(len(values), np.bool_)
        for row in np.flatnonzero(np.isfinite(values)).tolist():
            flags[row] = self._flag(float(values[row]))
        return flags

    def flags_of_block(self, scores: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Return whether each score of a block is flagged, (B,), where all scores are known before any is decided.

        The highest scores are decided first, so that the flags of an incident lie at its peak rather than on its first
        rows. The buffer receives the block afterwards, in its order.
        """
        values = np.asarray(scores, np.float64)
        flags = np.zeros(len(values), np.bool_)
        known = np.flatnonzero(np.isfinite(values))
        for row in known[np.argsort(-values[known], kind="stable")].tolist():
            flags[row] = self._decide(float(values[row]))
        for row in known.tolist():
            self._append(float(values[row]))
        return flags

    def _flag(self, score: float) -> bool:
        flagged = self._decide(score)
        self._append(score)
        return flagged

    def _decide(self, score: float) -> bool:
        """Return whether a score is flagged, and move alpha."""
        rows = len(self._ordered)
        flagged = 1 + rows - bisect.bisect_left(self._ordered, score) <= self._alpha * (rows + 1)
        moved = self._alpha + STEP * self._asked * (self._asked - flagged)
        self._alpha = min(max(moved, 0.0), HIGHEST * self._asked, 1.0)
        return flagged

    def _append(self, score: float) -> None:
        ordered, buffer = self._ordered, self._buffer
        if len(ordered) == buffer.maxlen:
            del ordered[bisect.bisect_left(ordered, buffer[0])]
        buffer.append(score)
        bisect.insort(ordered, score)


def buffer_rows(alpha: float) -> int:
    """Return the capacity of the buffer.

    >>> buffer_rows(0.01), buffer_rows(0.001)
    (500, 5000)
    """
    return min(MOST, max(FEWEST, math.ceil(5 / alpha - 1e-9)))
