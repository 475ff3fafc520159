"""The autoencoder: a row through a narrow code and back, by maximum likelihood.

Deep, convolutional or linear by its trunk. Hinton & Salakhutdinov 2006.
"""

from collections.abc import Sequence

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from aepipe.bottleneck import latents_for, real_space, too_wide
from aepipe.family import Batch, Family, LatentSpace, Loss, Model, Part, Player, Posterior, TrunkPlan, Turn
from aepipe.layout import Layout
from aepipe.nets.frontend import Row
from aepipe.nets.likelihood import Likelihood
from aepipe.parts import standard_parts


class Options(BaseModel):
    """Keys of [model] that this family takes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    latent: int | None = Field(
        None, ge=1, description="width of the code; none: a quarter of the columns, 16 for images"
    )
    code_decay: float = Field(
        1e-3, ge=0, description="weight of the code's mean square, which keeps its scale in bounds"
    )


class Autoencoder(Model):
    """Encoder and decoder with a deterministic code between them."""

    def __init__(self, layout: Layout, options: Options, trunk: TrunkPlan, likelihood: Likelihood) -> None:
        super().__init__(layout, likelihood)
        self.options = options
        self.trunk = trunk
        self.space = real_space(latents_for(layout, options.latent))
        self.encoder = trunk.encoder(layout, len(self.space.names))
        self.decoder = trunk.decoder(layout, len(self.space.names), likelihood)

    @property
    def latent(self) -> LatentSpace:
        return self.space

    @property
    def has_prior(self) -> bool:
        return False

    def prepare(self, rows: Row) -> None:
        self.trunk.start(self.encoder, self.decoder, self.likelihood, rows)

    def players(self) -> tuple[Player, ...]:
        rate = self.trunk.learning_rate
        return (Player("autoencoder", tuple(self.parameters()), self._loss, learning_rate=rate),)

    def posterior(self, row: Row) -> Posterior:
        return Posterior(self.encoder(row).to(row.dense.dtype), None)

    def decode(self, z: Tensor) -> Tensor:
        answer: Tensor = self.decoder(z)
        return answer

    def kl(self, posterior: Posterior) -> Tensor:
        return torch.zeros_like(posterior.mean[:, 0])

    def parts(self) -> tuple[Part, ...]:
        return standard_parts(self)

    def _loss(self, batch: Batch, turn: Turn) -> Loss:
        z = self.posterior(batch.seen).mean
        params = self.decode(z)
        nll = self.likelihood.nll(params, batch.clean).sum(1).mean()
        decay = self.options.code_decay * z.square().sum(1).mean()
        return Loss(nll + decay, {"nll": nll.detach()}, self.likelihood.misfit(params, batch.clean))


def _build(layout: Layout, options: BaseModel, trunk: TrunkPlan, likelihood: Likelihood) -> Model:
    return Autoencoder(layout, Options.model_validate(options), trunk, likelihood)


def _faults(layout: Layout, options: BaseModel) -> Sequence[str]:
    return too_wide(layout, Options.model_validate(options).latent, most=layout.features)


FAMILY = Family("ae", "a narrow deterministic code, by maximum likelihood", Options, ("mlp", "conv"), _build, _faults)
