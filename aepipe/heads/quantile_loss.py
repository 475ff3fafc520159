"""How badly the worst features of a row are rebuilt, but for the very worst."""

from torch import Tensor

from aepipe.head import Evidence, Head, HeadSpec, HeadStats
from aepipe.nets.loss_summary import QUANTILE


class QuantileLoss(Head):
    """99.5 % quantile of the losses of its features, in nats."""

    def forward(self, evidence: Evidence) -> Tensor:
        return evidence.summary[:, QUANTILE]


def _fit(stats: HeadStats) -> Head:
    return QuantileLoss()


HEAD = HeadSpec("quantile_loss", "99.5 % quantile of the losses of pixels, steps or columns", _fit)
