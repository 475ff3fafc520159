"""How badly the worst features of a row are rebuilt."""

from torch import Tensor

from aepipe.head import Evidence, Head, HeadSpec, HeadStats
from aepipe.nets.loss_summary import TOP


class TopLosses(Head):
    """Mean of the greatest hundredth of the losses of its features, in nats."""

    def forward(self, evidence: Evidence) -> Tensor:
        return evidence.summary[:, TOP]


def _fit(stats: HeadStats) -> Head:
    return TopLosses()


HEAD = HeadSpec("top_losses", "mean of the greatest hundredth of those losses", _fit)
