"""Summarise the losses of a row's features in three numbers: a sum over all hides a few unusual pixels or steps."""

from math import ceil

import torch
from torch import Tensor, nn

from aepipe.layout import Layout
from aepipe.models.layers.preprocessing import Row
from aepipe.models.layers.tokens import present

MEAN, QUANTILE, TOP = range(3)
"""Positions in a summary of the mean, of the 99.5 % quantile and of the mean of the greatest hundredth."""

_BEYOND_QUANTILE = 0.005
_TOP = 0.01


class LossSummary(nn.Module):
    """Map losses of features (B, F) to (B, 3), over the features that a row has.

    Steps beyond the end of a window, positions after the end of a text and missing values of a window do not count, so
    that short rows are comparable with long ones. A quantile is the least loss that at most that share of the features
    exceed; the greatest hundredth is at least one feature.
    """

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.values = layout.features if layout.series is None else layout.series.values
        self.layout = layout
        self.has_gaps = layout.series is not None or bool(layout.texts)
        self.most = max(1, ceil(_TOP * self.values))

    def forward(self, losses: Tensor, row: Row) -> Tensor:
        there, counts = losses[:, : self.values], losses.new_full((losses.shape[0], 1), float(self.values))
        if self.has_gaps:
            observed = self._observed(row)
            there, counts = there * observed, observed.sum(1, keepdim=True).clamp(min=1)
            ranked = torch.where(observed > 0, there, torch.full_like(there, -torch.inf))
        else:
            ranked = there
        greatest = ranked.topk(self.most, dim=1).values
        place = torch.arange(self.most, dtype=losses.dtype, device=losses.device)
        counted = (place < torch.clamp((_TOP * counts).ceil(), min=1)).to(losses.dtype)
        exceeding = (_BEYOND_QUANTILE * counts).floor().clamp(max=self.most - 1).long()
        top = torch.where(counted > 0, greatest, torch.zeros_like(greatest)).sum(1, keepdim=True)
        mean = there.sum(1, keepdim=True) / counts
        return torch.cat([mean, greatest.gather(1, exceeding), top / counted.sum(1, keepdim=True)], 1)

    def _observed(self, row: Row) -> Tensor:
        """Return 1 where a feature counts, (B, F)."""
        if not self.layout.texts:
            return row.observed.flatten(1)
        numbers = torch.ones_like(row.dense)
        return torch.cat([numbers, present(self.layout, row.codes).to(numbers.dtype)], 1)
