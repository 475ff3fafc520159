"""Beta-TC-VAE: a VAE that penalises the total correlation of its latents.

Chen et al. 2018.
"""

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor

from aepipe.frozen import FrozenModel
from aepipe.layout import Layout
from aepipe.models.base import BackbonePlan, Batch, Family, Loss, Objective, Posterior, StepContext
from aepipe.models.card_metrics import independence_metrics
from aepipe.models.encoder_decoder import GaussianEncoderDecoder
from aepipe.models.latent_space import LatentWidth, draw_from, latents_for, real_space, too_wide
from aepipe.models.layers.likelihood import Likelihood
from aepipe.models.losses import gaussian_nll, linear_ramp
from aepipe.models.total_correlation import Densities, stratified

_MOST_LATENTS = 256  # every pair of rows of a group is compared in every latent
_GROUP_ROWS = 512  # all pairs within a group are compared: time and memory grow linearly with the rows


class Options(FrozenModel):
    """Options of this family in [model]."""

    latent: LatentWidth = None
    alpha: float = Field(1.0, ge=0, description="weight of the mutual information of row and latents")
    beta: float = Field(6.0, ge=0, description="weight of the total correlation; 1 is the plain VAE")
    gamma: float = Field(1.0, ge=0, description="weight of the summed KL of each single latent to N(0, 1)")
    warm_up: float = Field(
        0.1, ge=0, le=1, description="share of the epochs over which these three weights rise from 0"
    )


class BetaTcVae(GaussianEncoderDecoder):
    """VAE whose KL is split into mutual information, total correlation and dimension-wise KL."""

    def __init__(self, layout: Layout, options: Options, backbone: BackbonePlan, likelihood: Likelihood) -> None:
        super().__init__(layout, backbone, likelihood, real_space(latents_for(layout, options.latent)))
        self.options = options

    def objectives(self) -> tuple[Objective, ...]:
        rate, warms_up = self.backbone.learning_rate, self.options.warm_up
        return (Objective("vae", tuple(self.parameters()), self._loss, learning_rate=rate, warms_up=warms_up),)

    def card_metrics(self, batch: Batch, generator: torch.Generator) -> Mapping[str, float]:
        return independence_metrics(self, batch, generator)

    def _loss(self, batch: Batch, context: StepContext) -> Loss:
        options, posterior = self.options, self.posterior(batch.input)
        z = draw_from(posterior, context.generator)
        params = self.decode(z, batch.input.given)
        nll = self.likelihood.nll(params, batch.target).sum(1).mean()
        kl = posterior.kl.sum(1).mean()
        correlation, information = self._dependence(z, posterior)
        # MI, TC and the latents' own KL add up to the KL, which is exact: estimates pay what differs from gamma alone.
        price = options.gamma * kl + (options.beta - options.gamma) * correlation
        price = price + (options.alpha - options.gamma) * information
        terms = {"nll": nll, "kl": kl, "tc": correlation, "mi": information}
        return Loss(
            nll + linear_ramp(context.progress, options.warm_up) * price,
            {name: term.detach() for name, term in terms.items()},
            self.likelihood.misfit(params, batch.target),
        )

    def _dependence(self, z: Tensor, posterior: Posterior) -> tuple[Tensor, Tensor]:
        """Estimate total correlation and mutual information in groups of rows: scalars, in nats."""
        mean, log_var = posterior.mean, posterior.log_var
        assert log_var is not None
        rows, groups = max(self.training_rows, len(z)), -(-len(z) // _GROUP_ROWS)
        parts = [
            stratified(*part, rows=rows)
            for part in zip(*(tensor.tensor_split(groups) for tensor in (z, mean, log_var)), strict=True)
        ]
        densities = Densities(*map(torch.cat, zip(*parts, strict=True)))
        own = -gaussian_nll(z - mean, 0.5 * log_var).sum(1)
        return densities.total_correlation, (own - densities.joint).mean()


FAMILY = Family(
    "beta_tcvae", "VAE with independent latents, by a weighted total correlation", Options, ("mlp", "conv"),
    BetaTcVae, lambda layout, options: too_wide(layout, options.latent, most=_MOST_LATENTS),
    formula="−E[log p(x|z)] + α I(x; z) + β TC(z) + γ Σⱼ KL(q(zⱼ) ‖ p(zⱼ)), TC(z) = KL(q(z) ‖ Πⱼ q(zⱼ))",
    advice="Prefer it for features that vary independently: it penalises the total correlation alone. Not for close "
    "reconstructions, which it gives up part of.",
)  # fmt: skip
