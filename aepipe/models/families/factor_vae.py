"""FactorVAE: a VAE that penalises the total correlation of its latents, estimated by a critic.

Kim & Mnih 2018.
"""

from collections.abc import Mapping

import torch
from pydantic import Field, PositiveInt

from aepipe.frozen import FrozenModel
from aepipe.layout import Layout
from aepipe.models.base import BackbonePlan, Batch, Family, Loss, Objective, StepContext
from aepipe.models.card_metrics import independence_metrics
from aepipe.models.encoder_decoder import GaussianEncoderDecoder
from aepipe.models.latent_space import LatentWidth, draw_from, latent_faults, latents_for, real_space
from aepipe.models.layers.critic import Critic, critic_nll
from aepipe.models.layers.likelihood import Likelihood
from aepipe.models.losses import linear_ramp
from aepipe.models.total_correlation import permuted


class Options(FrozenModel):
    """Options of this family in [model]."""

    latent: LatentWidth = None
    beta: float = Field(
        3.0, ge=0, description="weight of the KL; 1 in the paper, which is too weak for tables of 10,000 rows"
    )
    gamma: float = Field(10.0, ge=0, description="weight of the total correlation that the critic estimates")
    critic_hidden: tuple[PositiveInt, ...] = Field(
        (256, 256, 256), description="widths of the hidden layers of the critic"
    )
    critic_rate: float = Field(1e-3, gt=0, description="learning rate of the critic")
    warm_up: float = Field(
        0.1,
        ge=0,
        le=1,
        description="share of the epochs over which the weights of KL and total correlation rise from 0",
    )


class FactorVae(GaussianEncoderDecoder):
    """VAE with a critic that separates latents from permuted latents."""

    def __init__(self, layout: Layout, options: Options, backbone: BackbonePlan, likelihood: Likelihood) -> None:
        super().__init__(layout, backbone, likelihood, real_space(latents_for(layout, options.latent)))
        self.options = options
        self.critic = Critic(len(self.space.names), options.critic_hidden)

    def objectives(self) -> tuple[Objective, ...]:
        options, critic = self.options, tuple(self.critic.parameters())
        own = self.parameters_but(critic)
        return (
            Objective("vae", own, self._loss, learning_rate=self.backbone.learning_rate, warms_up=options.warm_up),
            Objective("critic", critic, self._critic_loss, learning_rate=options.critic_rate, betas=(0.5, 0.9)),
        )

    def card_metrics(self, batch: Batch, generator: torch.Generator) -> Mapping[str, float]:
        return independence_metrics(self, batch, generator)

    def _loss(self, batch: Batch, context: StepContext) -> Loss:
        """Compute nll + beta KL + gamma TC; TC is the mean logit of the critic. Kim & Mnih 2018, equations 2 and 3."""
        posterior = self.posterior(batch.input)
        z = draw_from(posterior, context.generator)
        params = self.decode(z, batch.input.given)
        nll = self.likelihood.nll(params, batch.target).sum(1).mean()
        kl = posterior.kl.sum(1).mean()
        correlation = self.critic(z).mean()
        price = self.options.beta * kl + self.options.gamma * correlation
        total = nll + linear_ramp(context.progress, self.options.warm_up) * price
        terms = {"nll": nll.detach(), "kl": kl.detach(), "tc": correlation.detach()}
        return Loss(total, terms, self.likelihood.misfit(params, batch.target))

    def _critic_loss(self, batch: Batch, context: StepContext) -> Loss:
        """Compare draws of half of the rows with permuted draws of the other half, as in algorithm 2."""
        with torch.no_grad():
            z = draw_from(self.posterior(batch.input), context.generator)
        drawn, others = z.tensor_split(2)
        of_drawn, of_shuffled = self.critic(drawn), self.critic(permuted(others, context.generator))
        right = torch.cat([of_drawn > 0, of_shuffled <= 0]).to(z.dtype).mean()
        return Loss(critic_nll(of_drawn, of_shuffled), {"accuracy": right})


FAMILY = Family(
    "factor_vae",
    "VAE with independent latents, by a critic of their total correlation",
    Options,
    ("mlp", "conv"),
    FactorVae,
    latent_faults,
    formula="−E[log p(x|z)] + β KL(q(z|x) ‖ p(z)) + γ TC(z), TC(z) ≈ E[D(z)], where the critic D tells latents "
    "from latents permuted across rows one by one",
    advice="Prefer it like `beta_tcvae`, for independent features with closer reconstructions at the same "
    "independence. Not where training time counts: its critic needs a second batch per step.",
)
