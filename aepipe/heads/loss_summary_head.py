"""What heads of one number of a row's loss summary share."""

from collections.abc import Callable

from torch import Tensor

from aepipe.heads.base import Head, HeadStats, ScoringInputs


class LossSummaryHead(Head):
    """One column of `nets.loss_summary.LossSummary`, in nats."""

    def __init__(self, column: int) -> None:
        super().__init__()
        self.column = column

    def forward(self, evidence: ScoringInputs) -> Tensor:
        return evidence.summary[:, self.column]


def summary_column_head(column: int) -> Callable[[HeadStats], Head]:
    """A head of this column: there is nothing to fit."""
    return lambda stats: LossSummaryHead(column)
