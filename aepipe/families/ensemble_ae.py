"""Small autoencoders side by side, each of its own share of the rows: a row is rebuilt as the mean of what they say.

Bootstrap aggregation, Breiman 1996, with Poisson counts as in Oza & Russell 2001; of autoencoders, Chen et al. 2017
(RandNet). Members train together and are exported together: a layer of all of them is one batched product.
"""

from collections.abc import Sequence

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from aepipe.bottleneck import latents_for, real_space, too_wide
from aepipe.facts import rebuilding_facts
from aepipe.family import (
    Batch,
    Family,
    LatentSpace,
    Loss,
    Model,
    Part,
    Player,
    Posterior,
    Through,
    TrunkPlan,
    Turn,
    point,
)
from aepipe.layout import Layout
from aepipe.nets.frontend import Row
from aepipe.nets.likelihood import Likelihood
from aepipe.nets.linear_start import principal_components
from aepipe.nets.members import MemberDecoders, MemberEncoders, apart, begin, together
from aepipe.nets.trunks.mlp import Options as Mlp
from aepipe.nets.trunks.mlp import hidden_widths
from aepipe.parts import standard_parts


class Options(BaseModel):
    """Keys of [model] that this family takes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    members: int = Field(5, ge=1, le=64, description="autoencoders in the ensemble")
    latent: int | None = Field(
        None, ge=1, description="width of each member's code; none: a quarter of the columns, 16 for images"
    )
    bootstrap: bool = Field(
        True, description="each member counts each row a Poisson(1) number of times; false: all rows once"
    )
    code_decay: float = Field(
        1e-3, ge=0, description="weight of the codes' mean square, which keeps their scale in bounds"
    )


class EnsembleAutoencoder(Model):
    """M encoders, M decoders; latents are the members' codes, one after another."""

    def __init__(self, layout: Layout, options: Options, trunk: TrunkPlan, likelihood: Likelihood) -> None:
        super().__init__(layout, likelihood)
        self.options, self.rate = options, trunk.learning_rate
        mlp = Mlp.model_validate(trunk.options or Mlp())
        members, latents, hidden = options.members, latents_for(layout, options.latent), hidden_widths(layout, mlp)
        self.space = real_space(members * latents)
        self.encoder = MemberEncoders(layout, members, (*hidden, latents), mlp)
        self.decoder = MemberDecoders(latents, members, (*hidden[::-1], likelihood.width), mlp)
        self.seed = int(torch.randint(1 << 31, ()))
        self.register_buffer("counts", torch.ones(members, 0), persistent=False)

    counts: Tensor
    """(M, rows): how often each member counts each training row"""

    @property
    def latent(self) -> LatentSpace:
        return self.space

    def players(self) -> tuple[Player, ...]:
        return (Player("ensemble", tuple(self.parameters()), self._loss, learning_rate=self.rate),)

    def prior(self) -> None:
        return None

    @torch.no_grad()
    def prepare(self, batch: Batch) -> None:
        """Each member begins at the principal components of its own rows."""
        if self.options.bootstrap:
            generator = torch.Generator().manual_seed(self.seed)
            ones = torch.ones(self.options.members, self.training_rows)
            self.counts = torch.poisson(ones, generator).to(self.device)
        encoder, decoder = self.encoder.shortcut, self.decoder.shortcut
        if encoder is None or decoder is None:
            return
        latents = len(self.space.names) // self.options.members
        own = [(_repeated(batch.seen, counts), _repeated(batch.clean, counts)) for counts in self._counts(batch)]
        starts = [principal_components(encoder, latents, self.likelihood, *rows) for rows in own]
        known = [start for start in starts if start is not None]
        if len(known) == len(starts):
            begin(encoder, decoder, known)

    def posterior(self, row: Row) -> Posterior:
        return point(together(self.encoder(row)).to(row.dense.dtype))

    def decode(self, z: Tensor, given: Tensor) -> Tensor:
        return self.each(z).mean(0)

    def each(self, z: Tensor) -> Tensor:
        """Parameters of the likelihood as each member has them, (M, B, width), at latents (B, Z)."""
        params: Tensor = self.decoder(apart(z, self.options.members))
        return params

    def through(self, row: Row) -> Through:
        posterior = self.posterior(row)
        return Through(posterior, self.decode(posterior.mean, row.given))

    def parts(self) -> tuple[Part, ...]:
        return standard_parts(self)

    def facts(self, batch: Batch, generator: torch.Generator) -> dict[str, float]:
        params = self.each(self.posterior(batch.seen).mean)
        return {**rebuilding_facts(self, batch), "member_nll": float(self._nll_of_each(params, batch.clean).mean())}

    def _loss(self, batch: Batch, turn: Turn) -> Loss:
        """In training members learn each by itself; rows held out judge what they say together."""
        z = self.posterior(batch.seen).mean
        params, decay = self.each(z), self.options.code_decay * z.square().sum(1).mean() / self.options.members
        if not self.training:
            mean = params.mean(0)
            nll = self.likelihood.nll(mean, batch.clean).sum(1).mean()
            return Loss(nll + decay, {"nll": nll.detach()}, self.likelihood.misfit(mean, batch.clean))
        nll = (self._counts(batch) * self._nll_of_each(params, batch.clean)).mean()
        misfit = self.likelihood.misfit(params.flatten(0, 1), _stacked(batch.clean, self.options.members))
        return Loss(nll + decay, {"nll": nll.detach()}, misfit)

    def _nll_of_each(self, params: Tensor, row: Row) -> Tensor:
        """(M, B) in nats, of params (M, B, width)."""
        members = len(params)
        nll = self.likelihood.nll(params.flatten(0, 1), _stacked(row, members)).sum(1)
        return nll.reshape(members, -1)

    def _counts(self, batch: Batch) -> Tensor:
        """How often each member counts these rows, (M, B); once where nobody knows which they are."""
        if batch.places is None or not self.counts.shape[1]:
            return self.counts.new_ones((self.options.members, len(batch.clean.dense)))
        return self.counts[:, batch.places]


def _stacked(row: Row, members: int) -> Row:
    """The rows (M * B), once for each member."""
    return Row(*(torch.cat([part] * members) for part in row))


def _repeated(row: Row, counts: Tensor) -> Row:
    """Each row as often as it counts, (B,)."""
    return Row(*(part.repeat_interleave(counts.long(), 0) for part in row))


def _build(layout: Layout, options: BaseModel, trunk: TrunkPlan, likelihood: Likelihood) -> Model:
    return EnsembleAutoencoder(layout, Options.model_validate(options), trunk, likelihood)


def _faults(layout: Layout, options: BaseModel) -> Sequence[str]:
    return too_wide(layout, Options.model_validate(options).latent, most=layout.features)


FAMILY = Family(
    "ensemble_ae",
    "small autoencoders of bootstrapped rows, trained side by side, whose mean rebuilds a row",
    Options,
    ("mlp",),
    _build,
    _faults,
)
