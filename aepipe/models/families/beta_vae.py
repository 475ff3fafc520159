"""Beta-VAE: a VAE with a weighted KL, or with a KL held at a rising capacity.

Higgins et al. 2017; the capacity as in Burgess et al. 2018.
"""

from collections.abc import Mapping

import torch
from pydantic import Field

from aepipe.frozen import FrozenModel
from aepipe.layout import Layout
from aepipe.models.base import BackbonePlan, Batch, Family, Loss, Objective, StepContext
from aepipe.models.card_metrics import independence_metrics
from aepipe.models.encoder_decoder import GaussianEncoderDecoder
from aepipe.models.latent_space import LatentWidth, latents_for, real_space
from aepipe.models.layers.likelihood import Likelihood
from aepipe.models.losses import linear_ramp
from aepipe.models.prior_choice import EulerSteps, PriorKind, PseudoInputCount, prior_choice, prior_faults


class Options(FrozenModel):
    """Options of this family in [model]."""

    latent: LatentWidth = None
    prior: PriorKind = "normal"
    pseudo_inputs: PseudoInputCount = None
    euler_steps: EulerSteps = None
    beta: float = Field(4.0, ge=0, description="weight of the KL; 1 is the plain VAE; unused with a capacity")
    warm_up: float = Field(
        0.1,
        ge=0,
        le=1,
        description="share of the epochs over which the weight of the KL rises from 0; unused with a capacity",
    )
    capacity: float | None = Field(
        None, ge=0, description="final KL per row in nats, used instead of beta; default: beta"
    )
    capacity_rise: float = Field(
        0.5, ge=0, le=1, description="share of the epochs over which the capacity rises from 0"
    )
    gamma: float = Field(100.0, ge=0, description="weight of |KL - capacity|")


class BetaVae(GaussianEncoderDecoder):
    """VAE with a weight or capacity for its KL."""

    def __init__(self, layout: Layout, options: Options, backbone: BackbonePlan, likelihood: Likelihood) -> None:
        super().__init__(
            layout,
            backbone,
            likelihood,
            real_space(latents_for(layout, options.latent)),
            prior=prior_choice(options),
        )
        self.options = options

    def objectives(self) -> tuple[Objective, ...]:
        warms_up = self.options.warm_up if self.options.capacity is None else self.options.capacity_rise
        rate = self.backbone.learning_rate
        return (
            Objective(
                "vae",
                tuple(self.parameters()),
                self._loss,
                learning_rate=rate,
                warms_up=warms_up,
                output_layer=self.output_layer,
            ),
        )

    def card_metrics(self, batch: Batch, generator: torch.Generator) -> Mapping[str, float]:
        return independence_metrics(self, batch, generator)

    def _loss(self, batch: Batch, context: StepContext) -> Loss:
        drawn = self.draw(self.encode(batch.input), context.generator)
        params = self.decode(drawn.z, batch.input.given)
        nll = self.likelihood.nll(params, batch.target).sum(1).mean()
        kl = drawn.kl.sum(1).mean()
        options, progress = self.options, context.progress
        if options.capacity is None:  # Higgins et al. 2017, equation 4
            penalty = options.beta * linear_ramp(progress, options.warm_up) * kl
        else:  # Burgess et al. 2018, equation 8
            penalty = options.gamma * (kl - options.capacity * linear_ramp(progress, options.capacity_rise)).abs()
        terms = {"nll": nll.detach(), "kl": kl.detach()}
        return Loss(nll + penalty, terms, self.likelihood.misfit(params, batch.target))


FAMILY = Family(
    "beta_vae",
    "VAE with a weighted KL, or with a rising capacity",
    Options,
    ("mlp", "conv"),
    BetaVae,
    prior_faults,
    formula="−E[log p(x|z)] + β KL(q(z|x) ‖ p(z)), or with a capacity C: −E[log p(x|z)] + γ |KL(q(z|x) ‖ p(z)) − C|",
    advice="Prefer it for few, independent latents with one weight to set. Not where the latents should keep their "
    "information: the weight charges for that too; `beta_tcvae` does not.",
)
