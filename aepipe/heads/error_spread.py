"""Spread of the error of each number given the other numbers of its row.

Errors are seldom of one size: large firms, old people or rainy days have larger ones. One unit per column is then
decided by the rows that are hard to predict, and a broken relation in an easy row is missed. The logarithm of the
absolute error is a linear function of the other numbers and of their absolute values (Harvey 1976, multiplicative
heteroscedasticity).
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

MOST_NUMBERS = 256
"""Columns of numbers up to which rows differ in spread: the cost per row grows with the square of the numbers."""

LIMIT = 3.0
"""Standard deviations at which numbers are clipped."""

MOST_LOG = 2.0
"""Greatest logarithm of a spread relative to the typical one, a factor of 7."""

_RIDGE = 100.0  # in rows; on 21 tables of 180 to 810 training rows, 30 and 300 flag 1 and 2 % fewer broken relations
_LEAST_SHARE = 0.1  # of the median error: smaller errors are chance, and their logarithms far apart
_LEAST_ERROR = 1e-3  # standard deviations

Doubles = NDArray[np.float64]


class ErrorSpread(nn.Module):
    """Map standardised numbers (B, N) to one over the spread of each number's error, (B, N); typically 1."""

    weight: Tensor
    bias: Tensor

    def __init__(self, numbers: int) -> None:
        """Return 1 for all rows until `learn`."""
        super().__init__()
        self.register_buffer("weight", torch.zeros(2 * numbers, numbers))
        self.register_buffer("bias", torch.zeros(numbers))

    def forward(self, dense: Tensor) -> Tensor:
        clipped = dense.clamp(-LIMIT, LIMIT)
        logs = torch.cat([clipped, clipped.abs()], 1) @ self.weight + self.bias
        return torch.exp(-logs.clamp(-MOST_LOG, MOST_LOG))

    def learn(self, dense: Tensor, errors: Tensor) -> None:
        """Fit the spreads to rows: numbers (B, N) and their absolute errors (B, N).

        NaN for a missing error, which counts as a typical one.
        """
        weight, bias = fit_log_spread(dense.double().numpy(), errors.double().numpy())
        self.weight.copy_(torch.from_numpy(weight))
        self.bias.copy_(torch.from_numpy(bias))


def fit_log_spread(dense: Doubles, errors: Doubles) -> tuple[Doubles, Doubles]:
    """Return weights (2 N, N) and biases (N,) of the log spread; a number has no weight in its own spread.

    Ridge regression of all columns at once; that a number's own two weights are 0 is a linear constraint on its
    solution.
    """
    rows, numbers = dense.shape
    clipped = np.clip(dense, -LIMIT, LIMIT)
    features = np.concatenate([clipped, np.abs(clipped)], 1)
    centre = features.mean(0)
    features -= centre
    inverse = np.linalg.inv(features.T @ features + _RIDGE * np.eye(2 * numbers))
    known = ~np.isnan(errors)
    logs = np.zeros((rows, numbers))
    for column in np.flatnonzero(known.any(0)).tolist():
        some = errors[known[:, column], column]
        log = np.log(np.maximum(some, max(_LEAST_SHARE * float(np.median(some)), _LEAST_ERROR)))
        logs[known[:, column], column] = log - log.mean()
    weight = inverse @ (features.T @ logs)
    for column in range(numbers):
        own = [column, column + numbers]
        weight[:, column] -= inverse[:, own] @ np.linalg.solve(inverse[np.ix_(own, own)], weight[own, column])
        weight[own, column] = 0.0
    return weight, -centre @ weight
