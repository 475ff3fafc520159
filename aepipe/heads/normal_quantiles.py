"""Map of each number to the quantile of a normal distribution, as a lookup with interpolation."""

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import norm
from torch import Tensor, nn

from aepipe.heads.base import Head, ScoringInputs
from aepipe.heads.distance_space import LEAST_SPREAD, Matrix
from aepipe.heads.robust_spread import robust_spread

_NODES = 64
_LEAST_RANGE = 1e-3  # of the compressed values of a column
_END_SHARE = 0.1  # of the rows, from which the slope beyond an end is taken


class NormalQuantiles(nn.Module):
    """Numbers (B, W) to quantiles of N(0, 1) by their ranks among known rows, (B, W).

    The map is increasing and continuous, and linear beyond the known values, so that far values stay far. It is a table
    of nodes that are evenly spaced in r / (1 + |r|), where r is the number in robust spreads from the median: dense
    where most values are, sparse in the tails. Finding the nodes takes no search, about 10 ns per number.
    """

    center: Tensor
    gain: Tensor
    least: Tensor
    per_width: Tensor
    heights: Tensor
    first: Tensor
    low: Tensor
    high: Tensor
    low_slope: Tensor
    high_slope: Tensor

    def __init__(self, values: Matrix) -> None:
        """Fit the map to known numbers, (B, W)."""
        super().__init__()
        center = np.median(values, axis=0)
        spread = robust_spread(values)
        spread = np.where(spread > 0, spread, values.std(axis=0))
        gain = 1 / np.where(spread > 0, np.maximum(spread, LEAST_SPREAD["row"]), 1.0)
        low, high = values.min(axis=0), values.max(axis=0)
        ends = _compressed((np.stack([low, high]) - center) * gain)
        width = np.maximum(ends[1] - ends[0], _LEAST_RANGE) / (_NODES - 1)
        heights, slopes = [], []
        for column in range(values.shape[1]):
            knots, quantiles = _quantiles(values[:, column])
            reduced = np.clip(ends[0, column] + width[column] * np.arange(_NODES), -1 + 1e-9, 1 - 1e-9)
            nodes = reduced / (1 - np.abs(reduced)) / gain[column] + center[column]
            heights.append(np.interp(nodes, knots, quantiles))
            slopes.append(np.clip(_end_slopes(knots, quantiles), gain[column], 1 / LEAST_SPREAD["row"]))
        table = np.reshape(heights, (values.shape[1], _NODES))
        low_slope, high_slope = np.reshape(slopes, (-1, 2)).T
        for name, each in {
            "center": center,
            "gain": gain,
            "least": ends[0],
            "per_width": 1 / width,
            "low": low,
            "high": high,
            "low_slope": low_slope,
            "high_slope": high_slope,
            "heights": table.reshape(-1, 1),
        }.items():
            self.register_buffer(name, torch.tensor(each, dtype=torch.float32))
        self.register_buffer("first", torch.arange(values.shape[1]) * _NODES)

    def forward(self, values: Tensor) -> Tensor:
        known = torch.minimum(torch.maximum(values, self.low), self.high)
        place = (self._compressed(known) - self.least) * self.per_width
        before = place.floor().clamp(0, _NODES - 2)
        index = before.long() + self.first
        left, right = (F.embedding(at, self.heights).squeeze(2) for at in (index, index + 1))
        beyond = values - known
        return (
            left
            + (place - before) * (right - left)
            + F.relu(beyond) * self.high_slope
            - F.relu(-beyond) * self.low_slope
        )

    def _compressed(self, values: Tensor) -> Tensor:
        r = (values - self.center) * self.gain
        return r / (1 + r.abs())


class OnQuantiles(Head):
    """Another head that scores rows whose numbers are normal quantiles."""

    def __init__(self, quantiles: NormalQuantiles, head: Head) -> None:
        super().__init__()
        self.quantiles = quantiles
        self.head = head

    def forward(self, evidence: ScoringInputs) -> Tensor:
        score: Tensor = self.head(mapped(evidence, self.quantiles))
        return score

    def among_others(self, evidence: ScoringInputs) -> Tensor:
        return self.head.among_others(mapped(evidence, self.quantiles))


def mapped(evidence: ScoringInputs, quantiles: NormalQuantiles) -> ScoringInputs:
    """Replace the numbers of the rows by their quantiles."""
    return evidence._replace(row=quantiles(evidence.row))


def _compressed(r: Matrix) -> Matrix:
    return np.asarray(r / (1 + np.abs(r)))


def _quantiles(values: Matrix) -> tuple[Matrix, Matrix]:
    """Return the distinct values of a column, ascending, and the normal quantile of the middle of each one's ranks."""
    distinct, counts = np.unique(values, return_counts=True)
    return distinct, np.asarray(norm.ppf((np.cumsum(counts) - counts / 2) / len(values)))


def _end_slopes(knots: Matrix, quantiles: Matrix) -> tuple[float, float]:
    """Return the slopes of the map below and above the known values, 0 for a column with one value."""
    if len(knots) < 2:
        return 0.0, 0.0
    shares = norm.cdf(quantiles)
    low = max(1, int(np.searchsorted(shares, _END_SHARE)))
    high = min(len(knots) - 2, int(np.searchsorted(shares, 1 - _END_SHARE)))
    return (
        float((quantiles[low] - quantiles[0]) / (knots[low] - knots[0])),
        float((quantiles[-1] - quantiles[high]) / (knots[-1] - knots[high])),
    )
