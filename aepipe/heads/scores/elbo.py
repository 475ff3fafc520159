"""Negative evidence lower bound."""

from torch import Tensor

from aepipe.heads.base import Head, HeadSpec, ScoringInputs


class Elbo(Head):
    """Negative evidence lower bound at the posterior mean, in nats; `reconstruction` if a family has no prior."""

    def forward(self, inputs: ScoringInputs) -> Tensor:
        return inputs.total + inputs.kl


HEAD = HeadSpec("elbo", "negative evidence lower bound: reconstruction + KL to the prior", lambda _: Elbo())
