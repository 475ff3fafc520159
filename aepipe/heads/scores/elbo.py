"""How unlikely the row is, and how far from the prior its latents are."""

from torch import Tensor

from aepipe.heads.base import Evidence, Head, HeadSpec, HeadStats


class Elbo(Head):
    """Negative evidence lower bound at the posterior mean, in nats: `reconstruction` where a family has no prior."""

    def forward(self, evidence: Evidence) -> Tensor:
        return evidence.total + evidence.kl


def _fit(stats: HeadStats) -> Head:
    return Elbo()


HEAD = HeadSpec("elbo", "negative evidence lower bound: reconstruction + KL to the prior", _fit)
