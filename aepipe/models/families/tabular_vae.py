"""VAE for tables with an autoregressive decoder over discretised columns.

Kingma & Welling 2013; decoder as in Larochelle & Murray 2011 (NADE); conditioning on any columns as in Ivanov, Figurnov
& Vetrov 2019 (VAEAC); free bits as in Kingma et al. 2016.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from pydantic import Field
from torch import Tensor, nn

from aepipe.frozen import FrozenModel
from aepipe.layout import COMPLETER, FREE, OPENING, LatentSpace, Layout, Port
from aepipe.models.base import (
    Batch,
    Family,
    Loss,
    Model,
    Objective,
    Part,
    Posterior,
    Reconstruction,
    StepContext,
)
from aepipe.models.card_metrics import ACTIVE_NATS, draw_log_weights, importance_weighted, reconstruction_metrics
from aepipe.models.export_parts import standard_parts
from aepipe.models.gaussian_copula import draw_by_copula
from aepipe.models.latent_space import draw_from, latent_faults, real_space, split_gaussian
from aepipe.models.layers.autoregressive_columns import AutoregressiveColumns
from aepipe.models.layers.autoregressive_columns_onnx import ColumnGraph
from aepipe.models.layers.column_conditioning import CodeSum, GivenLatents, PartialEncoder, Start
from aepipe.models.layers.likelihood import Likelihood, TableLikelihood
from aepipe.models.layers.preprocessing import Row
from aepipe.models.layers.prior import Prior, standard_prior
from aepipe.models.losses import free_bits, linear_ramp

_LEARNING_RATE = 3e-3
_ROWS_TO_SEE = 300_000  # then 20,000 rows have been learned as well as they will be; more rows need few epochs
_FEWEST_EPOCHS, _MOST_EPOCHS = 20, 200
_AVERAGED = 0.998
_MOST_OF_SMALL = 3_000
"""Training rows of a table that is first trained on rows of a copula, too."""
_COPULA_ROWS, _COPULA_ENDS = 600, 0.15
"""Copula rows that the first epoch adds to the training rows, and the share of the epochs after which none are left;
chosen on five tables of 300 rows."""
_COPULA_VALUES, _MOST_COPULA_DRAWS = 1 << 22, 16_384
_MATCHED_ROWS = 65_536
"""Draws that correct the probabilities of codes; takes a second or two."""
_EXAMPLES = 512
_FEWEST_COLUMNS = 2


class Options(FrozenModel):
    """Options of this family in [model]."""

    latent: int | None = Field(None, ge=1, description="number of latents; default: half of the columns, 2 to 16")
    units: int = Field(
        128, ge=8, le=2_048, description="hidden units of the autoregressive decoder; with a privacy budget: 32"
    )
    column_units: int = Field(
        64,
        ge=0,
        le=2_048,
        description="hidden units of each column's own layer; 0: no such layer; with a privacy budget: 16",
    )
    dropout: float = Field(
        0.2,
        ge=0,
        le=0.9,
        description="share of the decoder's units left out in a training step; with a privacy budget: 0",
    )
    first: tuple[str, ...] = Field(
        (), description="columns to decode first, such as those that samples are conditioned on"
    )
    given: float = Field(
        0.5, ge=0, le=0.9, description="share of the rows of a training step that learn sampling given some columns"
    )
    warm_up: float = Field(
        0.1, ge=0, le=1, description="share of the epochs over which the weight of the KL rises from 0 to 1"
    )
    free_bits: float = Field(0.4, ge=0, description="nats of KL per latent that cost nothing (free bits)")


class TabularVae(Model):
    """Encoder of summed code embeddings; autoregressive decoder over the columns, started from the latents."""

    def __init__(self, layout: Layout, options: Options, likelihood: Likelihood) -> None:
        super().__init__(layout, likelihood)
        self.options = options
        self.copula_rows: Tensor | None = None
        categories, width = layout.categories, options.units
        latents = options.latent or min(16, max(2, round(len(categories) / 2)))
        self.space = real_space(latents)
        self.codes = CodeSum(categories, width, spread=len(categories) ** -0.5)
        self.encoder = nn.Sequential(nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2 * latents))
        self.given = PartialEncoder(categories, width)
        self.given_latents = GivenLatents(width, latents)
        self.start = Start(latents, width)
        self.chain = AutoregressiveColumns(
            [category.size for category in categories],
            width,
            order_of(layout, options.first),
            hidden=options.column_units,
            dropout=options.dropout,
            bins=[category.bins for category in categories],
        )

    @property
    def latent(self) -> LatentSpace:
        return self.space

    def objectives(self) -> tuple[Objective, ...]:
        epochs = min(_MOST_EPOCHS, max(_FEWEST_EPOCHS, _ROWS_TO_SEE // max(1, self.training_rows)))
        return (
            Objective(
                "vae",
                tuple(self.parameters()),
                self._loss,
                learning_rate=_LEARNING_RATE,
                warms_up=self.options.warm_up,
                epochs=epochs,
                anneals=True,
                averaged=_AVERAGED,
                row_losses=self._row_losses,
            ),
        )

    def posterior(self, row: Row) -> Posterior:
        return split_gaussian(self.encoder(self.codes(row.codes)), self.codes.table.dtype)

    def decode(self, z: Tensor, given: Tensor) -> Tensor:
        return self._params(self.chain.greedy_decode(self.start(z, None)))

    def reconstruct(self, row: Row) -> Reconstruction:
        posterior = self.posterior(row)
        return Reconstruction(
            posterior, self._params(self.chain.log_probabilities(self.start(posterior.mean, None), row.codes))
        )

    def prior(self) -> Prior | None:
        return standard_prior(len(self.space.names))

    @torch.no_grad()
    def prepare(self, batch: Batch) -> None:
        codes = batch.target.codes
        self.chain.init_from_counts(codes)
        self.copula_rows = None
        if self.code_orders is not None and 2 <= self.training_rows <= _MOST_OF_SMALL:
            rows = min(_MOST_COPULA_DRAWS, _COPULA_VALUES // codes.shape[1])
            found = draw_by_copula(codes.cpu().numpy(), self.code_orders, rows=rows, seed=0)
            self.copula_rows = torch.from_numpy(found).to(codes)

    def prepare_privately(self, counts: Sequence[Tensor]) -> None:
        super().prepare_privately(counts)
        self.chain.init_from(counts)

    @torch.no_grad()
    def match_shares(self, prior: Prior, parts: Sequence[Mapping[str, NDArray[np.generic]]], seed: int) -> None:
        generator = torch.Generator(self.device)
        generator.manual_seed(seed)
        drawn = [
            (torch.randn if port.noise == "normal" else torch.rand)(
                (_MATCHED_ROWS, *port.row_shape), generator=generator, device=self.device
            )
            for port in prior.noise
        ]
        counts = self.noisy_counts or self.chain.counts_of(
            torch.from_numpy(np.concatenate([rows["cat"] for rows in parts])).to(self.device)
        )
        start = self.start(prior.to(self.device)(*drawn), None)
        self.chain.match_shares(start, counts, generator, is_private=self.noisy_counts is not None)

    def parts(self) -> tuple[Part, ...]:
        encoder, decoder, _ = standard_parts(self)
        (cat,), width = self.layout.rebuilt_ports, self.options.units
        (z,), u = decoder.inputs, Port("u", "float32", (self.chain.uniforms,), "uniform")
        forced, state = cat._replace(name="forced"), Port("state", "float32", (width,))
        noise = Port("eps", "float32", z.row_shape, "normal"), Port("pick", "float32", (1,), "uniform")
        drawn, completed = (z, u), (state, forced, u)
        generator, sizes = np.random.default_rng(0), self.chain.sizes
        examples = generator.integers(0, sizes, (_EXAMPLES, len(sizes)))
        half_forced = np.where(generator.random(examples.shape) < 0.5, examples, FREE).astype(np.int32)
        chained, some = (cat.name,), {"forced": half_forced}
        return (
            encoder,
            replace(decoder, chained=chained, write=lambda module: _graph(module, (z,), cat)),
            Part(
                "sampler",
                SampleCodes(self),
                drawn,
                (cat,),
                chained=chained,
                write=lambda module: _graph(module, drawn, cat),
            ),
            Part(OPENING, EncodeCondition(self), (forced, *noise), (state,), examples=some),
            Part(
                COMPLETER,
                CompleteCodes(self),
                completed,
                (cat,),
                chained=chained,
                examples=some,
                write=lambda module: _graph(module, completed, cat),
            ),
        )

    def card_metrics(self, batch: Batch, generator: torch.Generator) -> Mapping[str, float]:
        posterior = self.posterior(batch.input)
        by_latent = posterior.kl.mean(0)
        nll = float(self._nll(draw_from(posterior, generator), batch).mean())
        kl = float(by_latent.sum())
        log_weights = partial(draw_log_weights, posterior, lambda z: self._nll(z, batch), generator)
        return {
            **reconstruction_metrics(self, batch),
            "elbo": -(nll + kl),
            "kl": kl,
            "active_latents": float((by_latent > ACTIVE_NATS).sum()),
            "log_likelihood": float(importance_weighted(log_weights, draws=16).mean()),
        }

    def draw(self, z: Tensor, uniform: Tensor) -> Tensor:
        """Draw codes (B, C) int32 from latents (B, Z) and uniforms (B, U)."""
        return self.chain.draw(self.start(z, None), uniform)

    def encode_condition(self, forced: Tensor, eps: Tensor, pick: Tensor) -> Tensor:
        """Return the initial decoder state (B, H) given the codes (B, C) that are not `FREE`.

        eps (B, Z) and pick (B, 1) draw the latents from their density given these codes.
        """
        given = self.given(forced, (forced >= 0).to(eps.dtype))
        state: Tensor = self.start(self.given_latents.draw(given, eps, pick), given)
        return state

    def _loss(self, batch: Batch, context: StepContext) -> Loss:
        """Compute the negative ELBO, and for the first rows of a training batch the loss given some columns."""
        if self.training and self.copula_rows is not None:
            batch = self._with_copula_rows(batch, self.copula_rows, context)
        codes, posterior = batch.input.codes, self.posterior(batch.input)
        z = draw_from(posterior, context.generator)
        rows = int(self.options.given * len(codes)) if self.training else 0
        is_given = _given_sets(rows, codes, context.generator)
        given = self.given(codes[:rows], is_given)
        nothing = given.new_zeros((len(codes) - rows, given.shape[1]))
        noise = context.generator if self.training else None
        losses = self.chain.nll(self.start(z, torch.cat([given, nothing])), batch.target.codes, noise)
        asked = torch.cat([1 - is_given, torch.ones_like(losses[rows:])])
        nll = (losses * asked).sum(1).mean()
        kl = posterior.kl.mean(0)
        total = nll + linear_ramp(context.progress, self.options.warm_up) * free_bits(kl, self.options.free_bits).sum()
        if rows:
            total = total + self.given_latents.nll(z[:rows].detach(), given).sum() / len(codes)
        return Loss(total, {"nll": nll.detach(), "kl": kl.detach().sum()})

    def _with_copula_rows(self, batch: Batch, drawn: Tensor, context: StepContext) -> Batch:
        """Add fewer and fewer rows of a copula in random places: a prior of small tables that training forgets."""
        share = _COPULA_ROWS / self.training_rows * (1 - linear_ramp(context.progress, _COPULA_ENDS))
        rows, generator, device = len(batch.target.codes), context.generator, self.device
        added = round(share * rows)
        if not added:
            return batch
        more = drawn[torch.randint(len(drawn), (added,), generator=generator, device=device)]
        order = torch.randperm(rows + added, generator=generator, device=device)
        row, target = (
            each._replace(codes=torch.cat([each.codes, more])[order]) for each in (batch.input, batch.target)
        )
        return replace(batch, input=row, target=target)

    def _row_losses(self, batch: Batch, context: StepContext) -> Tensor:
        """Compute the loss of each row by itself, (B,): which columns are given is drawn, and free bits are a row's."""
        codes, posterior = batch.input.codes, self.posterior(batch.input)
        z = draw_from(posterior, context.generator)
        is_given = _drawn_sets(codes, self.options.given, context.generator)
        given = self.given(codes, is_given)
        losses = self.chain.nll(self.start(z, given), batch.target.codes, context.generator, context.uses)
        kl = posterior.kl.clamp(min=self.options.free_bits).sum(1)
        of_latents = self.given_latents.nll(z.detach(), given) * is_given.amax(1)
        nll = (losses * (1 - is_given)).sum(1)
        return nll + linear_ramp(context.progress, self.options.warm_up) * kl + of_latents

    def _nll(self, z: Tensor, batch: Batch) -> Tensor:
        return self.chain.nll(self.start(z, None), batch.target.codes).sum(1)

    def _params(self, log_probabilities: list[Tensor]) -> Tensor:
        assert isinstance(self.likelihood, TableLikelihood)
        return self.likelihood.categories.laid_out(log_probabilities)


class SampleCodes(nn.Module):
    """Latents and uniforms to sampled codes."""

    def __init__(self, model: TabularVae) -> None:
        super().__init__()
        self.model = model

    def forward(self, z: Tensor, uniform: Tensor) -> Tensor:
        return self.model.draw(z, uniform)


class EncodeCondition(nn.Module):
    """Forced codes (`FREE` for none) and noise to the initial decoder state."""

    def __init__(self, model: TabularVae) -> None:
        super().__init__()
        self.model = model

    def forward(self, forced: Tensor, eps: Tensor, pick: Tensor) -> Tensor:
        return self.model.encode_condition(forced, eps, pick)


class CompleteCodes(nn.Module):
    """Initial decoder state, forced codes and uniforms to complete rows of codes that keep the forced ones."""

    def __init__(self, model: TabularVae) -> None:
        super().__init__()
        self.model = model

    def forward(self, state: Tensor, forced: Tensor, uniform: Tensor) -> Tensor:
        return self.model.chain.draw(state, uniform, forced)


def _graph(module: nn.Module, inputs: tuple[Port, ...], output: Port) -> ModelProto:
    """Write a part that runs the autoregressive decoder as ONNX: greedy, sampled or completed rows."""
    model = module.model
    assert isinstance(model, TabularVae)
    graph = ColumnGraph(model.chain)
    if isinstance(module, CompleteCodes):
        return graph.model(graph.drawn("state", "u", "forced"), inputs, output)
    state = graph.start("z", (model.start.latents, model.start.answer))
    codes = graph.drawn(state, "u") if isinstance(module, SampleCodes) else graph.greedy_decode(state)
    return graph.model(codes, inputs, output)


def order_of(layout: Layout, first: tuple[str, ...]) -> tuple[int, ...]:
    """Return the order in which features are decoded: columns in `first`, then the others."""
    ranks = {name: rank for rank, name in enumerate(first)}
    names = [layout.columns[category.column] for category in layout.categories]
    return tuple(sorted(range(len(names)), key=lambda at: ranks.get(names[at], len(ranks))))


def _given_sets(rows: int, codes: Tensor, generator: torch.Generator) -> Tensor:
    """Draw which columns of each row are given, (rows, C) of 0 and 1: one in every other row, else 1 to C - 1."""
    columns, device = codes.shape[1], codes.device
    order = torch.rand((rows, columns), generator=generator, device=device).argsort(1)
    counts = torch.randint(1, columns, (rows, 1), generator=generator, device=device)
    counts[::2] = 1
    return (order < counts).to(torch.get_default_dtype())


def _drawn_sets(codes: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Draw which columns of each row are given, (B, C) of 0 and 1, in a share of the rows; each row by itself."""
    rows, columns = codes.shape
    uniform = torch.rand((rows, columns + 2), generator=generator, device=codes.device)
    counts = torch.randint(1, columns, (rows, 1), generator=generator, device=codes.device)
    counts = torch.where(uniform[:, -1:] < 0.5, 1, counts)
    is_given = (uniform[:, :columns].argsort(1) < counts) & (uniform[:, -2:-1] < share)
    return is_given.to(torch.get_default_dtype())


def _faults(layout: Layout, options: Options) -> Iterable[str]:
    if layout.kind != "table" or layout.numbers:
        yield "family 'tabular_vae' accepts only tables: use family 'vae'"
    elif len(layout.categories) < _FEWEST_COLUMNS:
        yield f"family 'tabular_vae' needs at least {_FEWEST_COLUMNS} columns, got {len(layout.categories)}: use 'vae'"
    unknown = sorted(set(options.first) - set(layout.columns))
    if unknown:
        yield f"first = {unknown} are not modelled columns: expected some of {', '.join(layout.columns)}"
    yield from latent_faults(layout, options)


FAMILY = Family(
    "tabular_vae",
    "autoregressive VAE over discretised columns: synthetic rows, also given any columns",
    Options,
    (),
    lambda layout, options, _, likelihood: TabularVae(layout, options, likelihood),
    lambda layout, options: tuple(_faults(layout, options)),
    takes_codes=True,
    private_options={"units": 32, "column_units": 16, "dropout": 0.0},
    formula="−E[Σⱼ log p(xⱼ|x₁, …, xⱼ₋₁, z)] + KL(q(z|x) ‖ N(0, I))",
    advice="Prefer it for synthetic tables, conditional samples and imputation. Not for scores of numbers in narrow "
    "ranges: values within a bin look alike.",
)
