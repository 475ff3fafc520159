"""Wasserstein autoencoder: the MMD between latents and N(0, I) takes the place of a critic.

Tolstikhin, Bousquet, Gelly & Schoelkopf 2018 (WAE-MMD), algorithm 2.
"""

from collections.abc import Mapping

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
from aepipe.models.card_metrics import moment_metrics, reconstruction_metrics
from aepipe.models.encoder_decoder import EncoderDecoder
from aepipe.models.latent_space import LatentWidth, bottleneck_faults, latents_for, real_space
from aepipe.models.layers.likelihood import Likelihood
from aepipe.models.layers.mmd import squared_mmd
from aepipe.models.layers.noise import normal_like
from aepipe.models.layers.preprocessing import Row
from aepipe.models.layers.prior import Prior, standard_prior


class Options(FrozenModel):
    """Options of this family in [model]."""

    latent: LatentWidth = None
    match: float = Field(
        100.0, gt=0, description="weight of the squared MMD to N(0, I), against a row's negative log-likelihood in nats"
    )


class WassersteinAutoencoder(EncoderDecoder):
    """Encoder and decoder with deterministic latents whose distribution is pulled to N(0, I)."""

    def __init__(self, layout: Layout, options: Options, backbone: BackbonePlan, likelihood: Likelihood) -> None:
        super().__init__(layout, backbone, likelihood, real_space(latents_for(layout, options.latent)), answers=1)
        self.options = options

    def objectives(self) -> tuple[Objective, ...]:
        rate = self.backbone.learning_rate
        return (Objective("autoencoder", tuple(self.parameters()), self._loss, learning_rate=rate),)

    def posterior(self, row: Row) -> Posterior:
        return deterministic_posterior(self.encoder(row).to(row.dense.dtype))

    def prior(self) -> Prior | None:
        return standard_prior(len(self.space.names))

    def card_metrics(self, batch: Batch, generator: torch.Generator) -> Mapping[str, float]:
        z = self.posterior(batch.input).mean
        mmd = float(squared_mmd(z, normal_like(z, generator)))
        return {**reconstruction_metrics(self, batch), **moment_metrics(z), "squared_mmd": mmd}

    def _loss(self, batch: Batch, context: StepContext) -> Loss:
        posterior, params = self.reconstruct(batch.input)
        nll = self.likelihood.nll(params, batch.target).sum(1).mean()
        mmd = squared_mmd(posterior.mean, normal_like(posterior.mean, context.generator))
        terms = {"nll": nll.detach(), "squared_mmd": mmd.detach()}
        return Loss(nll + self.options.match * mmd, terms, self.likelihood.misfit(params, batch.target))


FAMILY = Family(
    "wae",
    "a deterministic code whose distribution is N(0, I) by a kernel, without a critic",
    Options,
    ("mlp", "conv"),
    WassersteinAutoencoder,
    bottleneck_faults,
)
