"""Autoencoder with a deterministic bottleneck, trained by maximum likelihood.

Deep, convolutional or linear, depending on the backbone. Hinton & Salakhutdinov 2006.
"""

import torch
from pydantic import Field

from aepipe.frozen import FrozenModel
from aepipe.layout import Layout
from aepipe.models.base import (
    BackbonePlan,
    Batch,
    Family,
    Loss,
    Objective,
    Posterior,
    StepContext,
    deterministic_posterior,
)
from aepipe.models.card_metrics import reconstruction_metrics
from aepipe.models.encoder_decoder import EncoderDecoder
from aepipe.models.latent_space import LatentWidth, bottleneck_faults, latents_for, real_space
from aepipe.models.layers.likelihood import Likelihood
from aepipe.models.layers.preprocessing import Row


class Options(FrozenModel):
    """Options of this family in [model]."""

    latent: LatentWidth = None
    code_decay: float = Field(
        1e-3, ge=0, description="weight of the mean square of the latents, which bounds their scale"
    )


class Autoencoder(EncoderDecoder):
    """Encoder and decoder with deterministic latents."""

    def __init__(self, layout: Layout, options: Options, backbone: BackbonePlan, likelihood: Likelihood) -> None:
        super().__init__(layout, backbone, likelihood, real_space(latents_for(layout, options.latent)), answers=1)
        self.options = options

    def objectives(self) -> tuple[Objective, ...]:
        rate = self.backbone.learning_rate
        return (Objective("autoencoder", tuple(self.parameters()), self._loss, learning_rate=rate),)

    def posterior(self, row: Row) -> Posterior:
        return deterministic_posterior(self.encoder(row).to(row.dense.dtype))

    def prior(self) -> None:
        return None

    def card_metrics(self, batch: Batch, generator: torch.Generator) -> dict[str, float]:
        return reconstruction_metrics(self, batch)

    def _loss(self, batch: Batch, context: StepContext) -> Loss:
        posterior, params = self.reconstruct(batch.input)
        nll = self.likelihood.nll(params, batch.target).sum(1).mean()
        decay = self.options.code_decay * posterior.mean.square().sum(1).mean()
        return Loss(nll + decay, {"nll": nll.detach()}, self.likelihood.misfit(params, batch.target))


FAMILY = Family(
    "ae",
    "deterministic bottleneck, trained by maximum likelihood",
    Options,
    ("mlp", "conv", "recurrent"),
    Autoencoder,
    bottleneck_faults,
)
