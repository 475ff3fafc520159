"""The variational autoencoder: a Gaussian code that training pulls towards N(0, I), by the evidence lower bound.

Kingma & Welling 2013; sigma as in Rybkin, Daniilidis & Levine 2021; free bits as in Kingma et al. 2016.
"""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from aepipe.bottleneck import MOST, draw_from, latents_for, real_space, split_gaussian, too_wide
from aepipe.family import Batch, Family, LatentSpace, Loss, Model, Part, Player, Posterior, TrunkPlan, Turn
from aepipe.layout import Layout
from aepipe.losses import free_bits, kl_by_dimension, kl_to_standard_normal
from aepipe.nets.frontend import Row
from aepipe.nets.likelihood import Likelihood
from aepipe.parts import standard_parts


class Options(BaseModel):
    """Keys of [model] that this family takes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    latent: int | None = Field(
        None, ge=1, description="width of the code; none: a quarter of the columns, 16 for images"
    )
    warm_up: float = Field(
        0.1, ge=0, le=1, description="share of the epochs over which the KL's weight rises from 0 to 1"
    )
    free_bits: float = Field(0.0, ge=0, description="nats below which a latent dimension's KL is not pushed")


class VariationalAutoencoder(Model):
    """Encoder to a diagonal Gaussian, decoder from a draw of it."""

    def __init__(self, layout: Layout, options: Options, trunk: TrunkPlan, likelihood: Likelihood) -> None:
        super().__init__(layout, likelihood)
        self.options = options
        self.trunk = trunk
        self.space = real_space(latents_for(layout, options.latent))
        self.encoder = trunk.encoder(layout, 2 * len(self.space.names))
        self.decoder = trunk.decoder(layout, len(self.space.names), likelihood)

    @property
    def latent(self) -> LatentSpace:
        return self.space

    @property
    def has_prior(self) -> bool:
        return True

    def prepare(self, rows: Row) -> None:
        self.trunk.start(self.encoder, self.decoder, self.likelihood, rows)

    def players(self) -> tuple[Player, ...]:
        rate, warms_up = self.trunk.learning_rate, self.options.warm_up
        return (Player("vae", tuple(self.parameters()), self._loss, learning_rate=rate, warms_up=warms_up),)

    def posterior(self, row: Row) -> Posterior:
        return split_gaussian(self.encoder(row), row.dense.dtype)

    def decode(self, z: Tensor) -> Tensor:
        answer: Tensor = self.decoder(z)
        return answer

    def kl(self, posterior: Posterior) -> Tensor:
        assert posterior.log_var is not None
        return kl_to_standard_normal(posterior.mean, posterior.log_var)

    def parts(self) -> tuple[Part, ...]:
        return standard_parts(self)

    def _loss(self, batch: Batch, turn: Turn) -> Loss:
        posterior = self.posterior(batch.seen)
        params = self.decode(draw_from(posterior, turn.generator))
        nll = self.likelihood.nll(params, batch.clean).sum(1).mean()
        assert posterior.log_var is not None
        kl = kl_by_dimension(posterior.mean, posterior.log_var).mean(0)
        total = nll + self._weight(turn.progress) * free_bits(kl, self.options.free_bits).sum()
        terms = {"nll": nll.detach(), "kl": kl.detach().sum()}
        return Loss(total, terms, self.likelihood.misfit(params, batch.clean))

    def _weight(self, progress: float) -> float:
        return min(1.0, progress / self.options.warm_up) if self.options.warm_up else 1.0


def _build(layout: Layout, options: BaseModel, trunk: TrunkPlan, likelihood: Likelihood) -> Model:
    return VariationalAutoencoder(layout, Options.model_validate(options), trunk, likelihood)


def _faults(layout: Layout, options: BaseModel) -> Sequence[str]:
    return too_wide(layout, Options.model_validate(options).latent, most=MOST)


FAMILY = Family(
    "vae", "a Gaussian code that can be sampled, by the evidence lower bound", Options, ("mlp", "conv"), _build, _faults
)
