"""Heads that score a row by one statistic of its loss summary."""

from collections.abc import Callable

from torch import Tensor

from aepipe.heads.base import Head, HeadStats, ScoringInputs


class LossSummaryHead(Head):
    """One column of `aepipe.models.layers.loss_summary.LossSummary`, in nats."""

    def __init__(self, column: int) -> None:
        super().__init__()
        self.column = column

    def forward(self, evidence: ScoringInputs) -> Tensor:
        return evidence.summary[:, self.column]


def summary_column_head(column: int) -> Callable[[HeadStats], Head]:
    """Return a fitting function that ignores its rows and scores by this column."""
    return lambda stats: LossSummaryHead(column)
