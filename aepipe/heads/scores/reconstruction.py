"""Negative log-likelihood of the row given its latents."""

from torch import Tensor

from aepipe.heads.base import Head, HeadSpec, ScoringInputs


class Reconstruction(Head):
    """Negative log-likelihood of the row, summed over its columns, in nats."""

    def forward(self, inputs: ScoringInputs) -> Tensor:
        return inputs.total


HEAD = HeadSpec("reconstruction", "negative log-likelihood of the row given its latents", lambda _: Reconstruction())
