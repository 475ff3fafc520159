"""Autoencoder with a deterministic bottleneck, trained by maximum likelihood.

Deep, convolutional or linear, depending on the backbone. Hinton & Salakhutdinov 2006.
"""

import torch
from pydantic import Field

from aepipe.frozen import FrozenModel
from aepipe.layout import Layout
from aepipe.models.base import BackbonePlan, Batch, Family, Loss, StepContext
from aepipe.models.card_metrics import reconstruction_metrics
from aepipe.models.encoder_decoder import DeterministicEncoderDecoder
from aepipe.models.latent_space import LatentWidth, bottleneck_faults
from aepipe.models.layers.likelihood import Likelihood


class Options(FrozenModel):
    """Options of this family in [model]."""

    latent: LatentWidth = None
    code_decay: float = Field(
        1e-3, ge=0, description="weight of the mean square of the latents, which bounds their scale"
    )


class Autoencoder(DeterministicEncoderDecoder):
    """Encoder and decoder with deterministic latents."""

    def __init__(self, layout: Layout, options: Options, backbone: BackbonePlan, likelihood: Likelihood) -> None:
        super().__init__(layout, backbone, likelihood, options.latent)
        self.options = options

    def card_metrics(self, batch: Batch, generator: torch.Generator) -> dict[str, float]:
        return reconstruction_metrics(self, batch)

    def loss(self, batch: Batch, context: StepContext) -> Loss:
        posterior, params = self.reconstruct(batch.input)
        nll = self.likelihood.nll(params, batch.target).sum(1).mean()
        decay = self.options.code_decay * posterior.mean.square().sum(1).mean()
        return Loss(nll + decay, {"nll": nll.detach()}, self.likelihood.misfit(params, batch.target))


FAMILY = Family(
    "ae",
    "deterministic bottleneck, trained by maximum likelihood",
    Options,
    ("mlp", "conv", "recurrent", "transformer"),
    Autoencoder,
    bottleneck_faults,
    formula="−log p(x|f(x)) + δ ‖f(x)‖²",
    advice="Prefer it for features and scores of rows that should be rebuilt closely. Not for samples: nothing keeps "
    "holes out of its latents; use `vae` or `rae`.",
    takes_items=True,
)
