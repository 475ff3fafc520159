"""Score ensemble on a logarithmic scale."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from aepipe.heads.base import Head, ScoringInputs

_LEAST_SPREAD = 1e-3


class Vote(Head):
    """Mean over heads of log(1 + score / median), in units of its interquartile range.

    The logarithm keeps one head from outvoting the others on extreme rows; dividing by the median keeps it from
    magnifying differences between small scores.
    """

    per_median: Tensor
    gain: Tensor

    def __init__(self, heads: Sequence[Head], typical: ScoringInputs) -> None:
        """Measure the medians and ranges of the heads.

        Args:
            heads: Fitted heads.
            typical: Rows to measure on; heads with a bank of rows must use the same rows as their bank.
        """
        super().__init__()
        self.heads = nn.ModuleList(heads)
        with torch.no_grad():
            scores = torch.stack([head.among_others(typical) for head in heads], 1).double().numpy()
        per_median = 1 / np.maximum(np.median(scores, axis=0), _LEAST_SPREAD)
        low, high = np.quantile(np.log1p(scores * per_median), [0.25, 0.75], axis=0)
        gain = 1 / (len(heads) * np.maximum(high - low, _LEAST_SPREAD))
        self.register_buffer("per_median", torch.tensor(per_median, dtype=torch.float32))
        self.register_buffer("gain", torch.tensor(gain, dtype=torch.float32))

    def forward(self, evidence: ScoringInputs) -> Tensor:
        scores = torch.stack([head(evidence) for head in self.heads], 1)
        return (torch.log1p(scores * self.per_median) * self.gain).sum(1)
