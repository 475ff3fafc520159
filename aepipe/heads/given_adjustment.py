"""Numbers of a row relative to what its conditions let expect, so that distances compare rows of like conditions."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aepipe.models.layers.preprocessing import GIVEN_SCALE

MEAN_ROWS, SPREAD_ROWS = 1.0, 30.0
"""Rows of no effect that are added to each condition (ridge): a condition with few rows stays near the mean of all. The
logarithm of an error is noisier than the error."""

LIMIT = 3.0
"""Robust standard deviations at which errors are clipped before the means are estimated again (Huber 1981, section
7.8)."""

ROUNDS = 5

LEAST_SPREAD = 0.05
"""Least standard deviation under any condition, in standard deviations of the column."""

_LOG_OF_NORMAL = -0.635  # mean of log |x| of N(0, 1)
_PER_MEDIAN = 1.4826  # of |x| of N(0, 1)
_LEAST_ERROR = 1e-3


class GivenAdjustment(nn.Module):
    """Numbers minus their mean under the conditions of the row, in standard deviations under them, (B, W).

    Mean and log standard deviation are linear in the conditions (B, G).
    """

    slopes: Tensor
    center: Tensor
    log_slopes: Tensor
    log_center: Tensor

    def __init__(self, values: Tensor, observed: Tensor, given: Tensor) -> None:
        """Fit to training rows.

        Args:
            values: numbers (B, W), standardised by column, 0 where missing.
            observed: 1 where a number is observed, (B, W).
            given: conditions (B, G), as `Row.given`.
        """
        super().__init__()
        y, seen, x = values.double(), observed.double(), given.double() / GIVEN_SCALE
        mean = _ridge(x, y, MEAN_ROWS)
        for _ in range(ROUNDS):
            error = (y - mean.at(x)) * seen
            limit = LIMIT * _robust_spread(error, seen)
            mean = _ridge(x, mean.at(x) + error.clamp(-limit, limit), MEAN_ROWS)
        error = (y - mean.at(x)).abs().clamp(min=_LEAST_ERROR).log()
        typical = (error * seen).sum(0) / seen.sum(0).clamp(min=1)
        log_spread = _ridge(x, torch.where(seen > 0, error, typical), SPREAD_ROWS)
        for name, each in {
            "slopes": mean.slopes.T / GIVEN_SCALE,
            "center": mean.center,
            "log_slopes": log_spread.slopes.T / GIVEN_SCALE,
            "log_center": log_spread.center - _LOG_OF_NORMAL,
        }.items():
            self.register_buffer(name, each.float().contiguous())

    def forward(self, values: Tensor, observed: Tensor, given: Tensor) -> Tensor:
        spread = F.linear(given, self.log_slopes, self.log_center).exp().clamp(min=LEAST_SPREAD)
        return (values - F.linear(given, self.slopes, self.center)) / spread * observed


class _Linear(NamedTuple):
    """Slopes (G, W) and values at x = 0, (W,)."""

    slopes: Tensor
    center: Tensor

    def at(self, x: Tensor) -> Tensor:
        return self.center + x @ self.slopes


def _robust_spread(error: Tensor, seen: Tensor) -> Tensor:
    """Return the median magnitude of the observed errors (B, W) as a standard deviation, (W,).

    It is the root mean square where most errors are 0.
    """
    median = error.abs().masked_fill(seen == 0, torch.nan).nanmedian(0).values.nan_to_num()
    whole = ((error * seen).square().sum(0) / seen.sum(0).clamp(min=1)).sqrt()
    return torch.where(median > 0, _PER_MEDIAN * median, whole)


def _ridge(x: Tensor, y: Tensor, rows: float) -> _Linear:
    """Regress y (B, W) on x (B, G), with slopes that `rows` rows of no effect pull towards 0."""
    x_mean, y_mean = x.mean(0), y.mean(0)
    centred = x - x_mean
    penalty = rows * torch.eye(x.shape[1], dtype=x.dtype)
    slopes = torch.linalg.solve(centred.T @ centred + penalty, centred.T @ (y - y_mean))
    return _Linear(slopes, y_mean - x_mean @ slopes)
