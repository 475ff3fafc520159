"""How unlikely the row is, given its own latents."""

from torch import Tensor

from aepipe.heads.base import Evidence, Head, HeadSpec, HeadStats


class Reconstruction(Head):
    """Negative log-likelihood of the row, summed over its columns, in nats."""

    def forward(self, evidence: Evidence) -> Tensor:
        return evidence.total


def _fit(stats: HeadStats) -> Head:
    return Reconstruction()


HEAD = HeadSpec("reconstruction", "negative log-likelihood of the row given its latents", _fit)
