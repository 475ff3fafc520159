"""How badly a row is rebuilt on average, however many steps or values it has."""

from torch import Tensor

from aepipe.head import Evidence, Head, HeadSpec, HeadStats
from aepipe.nets.loss_summary import MEAN


class MeanLoss(Head):
    """Mean of the losses of its features, in nats."""

    def forward(self, evidence: Evidence) -> Tensor:
        return evidence.summary[:, MEAN]


def _fit(stats: HeadStats) -> Head:
    return MeanLoss()


HEAD = HeadSpec("mean_loss", "mean loss of a row's features: windows of uneven length compare", _fit)
