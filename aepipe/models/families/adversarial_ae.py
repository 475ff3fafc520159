"""Adversarial autoencoder: a critic matches the distribution of deterministic latents to N(0, I).

Makhzani et al. 2015, stabilised by the R1 gradient penalty of Mescheder, Geiger & Nowozin 2018 and by a penalty on the
batch moments of the latents, which is our addition.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

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
from aepipe.models.layers.critic import Critic, critic_nll
from aepipe.models.layers.likelihood import Likelihood
from aepipe.models.layers.noise import normal_like
from aepipe.models.layers.preprocessing import Row
from aepipe.models.layers.prior import Prior, standard_prior

_CRITIC, _CRITIC_BETAS = (128, 128), (0.5, 0.9)
_CRITIC_RATE = 1e-3
_LEAST_VAR = 1e-6


class Options(FrozenModel):
    """Options of this family in [model]."""

    latent: LatentWidth = None
    match: float = Field(
        100.0,
        gt=0,
        description="weight of the match to N(0, I), relative to the negative log-likelihood of a row in nats",
    )
    r1: float = Field(
        0.03, ge=0, description="gamma of the R1 penalty on the gradient of the critic at draws of N(0, I)"
    )


class AdversarialAutoencoder(EncoderDecoder):
    """Encoder and decoder, and a critic that separates latents from draws of N(0, I)."""

    def __init__(self, layout: Layout, options: Options, backbone: BackbonePlan, likelihood: Likelihood) -> None:
        latents = latents_for(layout, options.latent)
        super().__init__(layout, backbone, likelihood, real_space(latents), answers=1)
        self.options = options
        self.critic = Critic(latents, _CRITIC)

    def objectives(self) -> tuple[Objective, ...]:
        rate = self.backbone.learning_rate
        own = (*self.encoder.parameters(), *self.decoder.parameters(), *self.likelihood.parameters())
        critics = tuple(self.critic.parameters())
        return (
            Objective("autoencoder", own, self._loss, learning_rate=rate),
            Objective("critic", critics, self._critic_loss, learning_rate=_CRITIC_RATE, betas=_CRITIC_BETAS),
        )

    def prepare(self, batch: Batch) -> None:
        """Keep the random weights: latents initialised at the principal components keep the clusters of those.

        Samples from N(0, I) on Fashion-MNIST have a Frechet distance of 92 with random weights, 97 with PCA.
        """

    def posterior(self, row: Row) -> Posterior:
        return deterministic_posterior(self.encoder(row).to(row.dense.dtype))

    def prior(self) -> Prior | None:
        return standard_prior(len(self.space.names))

    def card_metrics(self, batch: Batch, generator: torch.Generator) -> Mapping[str, float]:
        z = self.posterior(batch.input).mean
        right = torch.cat([self.critic(z) < 0, self.critic(normal_like(z, generator)) > 0])
        return {
            **reconstruction_metrics(self, batch),
            **moment_metrics(z),
            "critic_accuracy": float(right.float().mean()),
        }

    def _loss(self, batch: Batch, context: StepContext) -> Loss:
        posterior, params = self.reconstruct(batch.input)
        nll = self.likelihood.nll(params, batch.target).sum(1).mean()
        critic_loss = F.softplus(-self.critic(posterior.mean)).mean()
        apart = moments_apart(posterior.mean)
        terms = {"nll": nll.detach(), "critic": critic_loss.detach(), "apart": apart.detach()}
        return Loss(
            nll + self.options.match * (critic_loss + apart), terms, self.likelihood.misfit(params, batch.target)
        )

    def _critic_loss(self, batch: Batch, context: StepContext) -> Loss:
        """Compare latents of half of the rows with as many draws of N(0, I); encoding dominates the cost."""
        half = -(-len(batch.input.dense) // 2)
        with torch.no_grad():
            z = self.posterior(Row(*(part[:half] for part in batch.input))).mean
        drawn = normal_like(z, context.generator)
        critic_loss = critic_nll(self.critic(drawn), self.critic(z))
        penalty = slope_penalty(self.critic, drawn)
        total = critic_loss + 0.5 * self.options.r1 * penalty
        return Loss(total, {"critic": critic_loss.detach(), "slope": penalty.detach()})


def slope_penalty(critic: nn.Module, z: Tensor) -> Tensor:
    """Compute the mean squared norm of the critic's gradient at latents z (B, Z), a differentiable scalar.

    Half of gamma times this is R1: Mescheder, Geiger & Nowozin 2018, equation 9.
    """
    with torch.enable_grad():
        at = z.detach().requires_grad_()
        (slopes,) = torch.autograd.grad(critic(at).sum(), at, create_graph=True)
    return slopes.square().sum(1).mean()


def moments_apart(z: Tensor) -> Tensor:
    """Compute KL(N(mean, var) || N(0, 1)) of the batch moments of latents z (B, Z), summed over latents, a scalar.

    The critic alone lets the latents contract towards the mode of N(0, I).
    """
    var, mean = torch.var_mean(z, 0, correction=0)
    return 0.5 * (mean.square() + var - 1 - torch.log(var.clamp(min=_LEAST_VAR))).sum()


FAMILY = Family(
    "adversarial_ae",
    "deterministic latents whose distribution a critic matches to N(0, I)",
    Options,
    ("mlp", "conv"),
    AdversarialAutoencoder,
    bottleneck_faults,
    formula="−log p(x|f(x)) + λ (softplus(−D(f(x))) + m), where the critic D minimises softplus(−D(ε)) + "
    "softplus(D(f(x))) + ½ γ ‖∇D(ε)‖² with ε ~ N(0, I), and m is the distance of the moments of a batch "
    "from 0 and I",
    advice="Prefer it for samples from N(0, I) with a code that no bound limits, in up to some ten latents. Not "
    "where training has to be steady or fast: a critic costs twice the time, and `wae` needs none.",
)
