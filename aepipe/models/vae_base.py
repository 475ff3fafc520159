"""Variational autoencoder: diagonal Gaussian posterior, prior N(0, I) or VampPrior, KL warm-up and free bits.

Kingma & Welling 2013; sigma as in Rybkin, Daniilidis & Levine 2021; free bits as in Kingma et al. 2016.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from pydantic import Field

from aepipe.frozen import FrozenModel
from aepipe.layout import Layout
from aepipe.models.base import BackbonePlan, Batch, Loss, Objective, StepContext
from aepipe.models.card_metrics import gaussian_metrics
from aepipe.models.encoder_decoder import GaussianEncoderDecoder, default_epochs
from aepipe.models.latent_space import LatentWidth, latents_for, real_space
from aepipe.models.layers.likelihood import Likelihood
from aepipe.models.layers.posterior_flow import make_flow
from aepipe.models.losses import free_bits, linear_ramp
from aepipe.models.prior_choice import EulerSteps, PriorKind, PseudoInputCount, prior_choice, prior_faults

_FLOW_STEPS = 4
_WARM_UP, _TEXT_WARM_UP = 0.1, 0.5
_TEXT_FREE_BITS = 0.25
"""On generated log lines 8 of 8 latents stay active with these two, and none without."""


class VaeOptions(FrozenModel):
    """Options of families that are trained by the ELBO."""

    latent: LatentWidth = None
    prior: PriorKind = "normal"
    pseudo_inputs: PseudoInputCount = None
    euler_steps: EulerSteps = None
    posterior: Literal["gaussian", "planar", "iaf"] = Field(
        "gaussian",
        description="posterior of a row: a diagonal Gaussian, or one followed by planar or inverse autoregressive flow "
        "steps, with a tighter bound",
    )
    flow_steps: int | None = Field(None, ge=1, le=64, description="steps of the flow; default: 4")
    warm_up: float | None = Field(
        None,
        ge=0,
        le=1,
        description="share of the epochs over which the weight of the KL rises from 0 to 1; default: 0.1, and 0.5 with "
        "texts",
    )
    free_bits: float | None = Field(
        None,
        ge=0,
        description="nats of KL per latent that cost nothing (free bits); default: 0, and 0.25 with texts, whose "
        "decoder would ignore the latents",
    )


class VaeBase(GaussianEncoderDecoder):
    """VAE; encoder and decoder also take the conditions, if the layout has any."""

    def __init__(self, layout: Layout, options: VaeOptions, backbone: BackbonePlan, likelihood: Likelihood) -> None:
        space = real_space(latents_for(layout, options.latent))
        super().__init__(
            layout,
            backbone,
            likelihood,
            space,
            prior=prior_choice(options),
            flow=make_flow(options.posterior, len(space.names), options.flow_steps or _FLOW_STEPS),
        )
        self.options = options
        has_texts = layout.kind == "text"
        warm_up, bits = (_TEXT_WARM_UP, _TEXT_FREE_BITS) if has_texts else (_WARM_UP, 0.0)
        self.warm_up = warm_up if options.warm_up is None else options.warm_up
        self.free_bits = bits if options.free_bits is None else options.free_bits

    def objectives(self) -> tuple[Objective, ...]:
        averaged, warms_up = self.backbone.averaged, self.warm_up
        parameters = tuple(self.parameters())
        # averaged weights reach a dev loss in half the steps: .998 and .999 differ by less than their seeds
        epochs = default_epochs(self.layout)
        return (
            Objective(
                "vae",
                parameters,
                self._loss,
                learning_rate=averaged.rate * self.backbone.learning_rate,
                warms_up=warms_up,
                epochs=epochs,
                averaged=0.999,
                cpu_batch_rows=averaged.cpu_batch_rows,
                patience_share=averaged.patience_share,
                output_layer=self.output_layer,
            ),
        )

    def card_metrics(self, batch: Batch, generator: torch.Generator) -> Mapping[str, float]:
        return gaussian_metrics(self, batch, generator)

    def _loss(self, batch: Batch, context: StepContext) -> Loss:
        drawn = self.draw(self.encode(batch.input), context.generator)
        params = self.decode(drawn.z, batch.input.given)
        nll = self.likelihood.nll(params, batch.target).sum(1).mean()
        kl = drawn.kl.mean(0)
        free = self.free_bits * len(self.space.names) / len(kl)
        total = nll + linear_ramp(context.progress, self.warm_up) * free_bits(kl, free).sum()
        terms = {"nll": nll.detach(), "kl": kl.detach().sum()}
        return Loss(total, terms, self.likelihood.misfit(params, batch.target))


def vae_faults(layout: Layout, options: VaeOptions) -> Sequence[str]:
    """Return a sentence for each option that has no effect or does not go with another."""
    faults = list(prior_faults(layout, options))
    if options.posterior == "gaussian" and options.flow_steps is not None:
        faults.append(f"flow_steps = {options.flow_steps} has no effect: set posterior = 'iaf', or omit flow_steps")
    if options.posterior != "gaussian" and options.prior == "vampprior":
        faults.append(
            f"posterior = '{options.posterior}' does not go with prior = 'vampprior', a mixture of Gaussian "
            "posteriors: omit one of them"
        )
    return faults
