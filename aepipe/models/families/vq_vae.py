"""Vector-quantised autoencoder: codes from a learned codebook, and an autoregressive prior over the codes.

van den Oord, Vinyals & Kavukcuoglu 2017; the prior is trained after the codes. The codes may also come from residual
codebooks, or from finite scalar quantisation (Mentzer et al. 2023).
"""

import math
from collections.abc import Iterator, Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from aepipe.frozen import FrozenModel
from aepipe.layout import LatentSpace, Layout, Port
from aepipe.models.base import (
    BackbonePlan,
    Batch,
    Family,
    Loss,
    Model,
    Objective,
    Part,
    Posterior,
    StepContext,
)
from aepipe.models.card_metrics import reconstruction_metrics
from aepipe.models.export_parts import latent_port, standard_parts
from aepipe.models.latent_space import latents_for
from aepipe.models.layers.likelihood import Likelihood
from aepipe.models.layers.pixelcnn_prior import Grid, PixelCnnPrior
from aepipe.models.layers.preprocessing import Row
from aepipe.models.layers.residual_quantizer import ResidualQuantizer
from aepipe.models.layers.scalar_quantizer import ScalarQuantizer
from aepipe.models.layers.vector_quantizer import VectorQuantizer, perplexity, shares_of

_WIDTH_ON_GRIDS, _WIDTH = 32, 4
_LEVELS, _FEWEST_LEVELS, _MOST_CODES = (8, 6, 5), 2, 65_536
_STARTING_ROWS = 1_000
_PRIOR_RATE = 2e-3


class Options(FrozenModel):
    """Options of this family in [model]."""

    quantizer: Literal["codebook", "fsq"] = Field(
        "codebook",
        description="codebook: learned code vectors; fsq: finite scalar quantisation, fixed levels per number, no "
        "codes that fall out of use",
    )
    levels: tuple[int, ...] | None = Field(
        None, description="levels per number of a code vector with quantizer = fsq; default: [8, 6, 5], 240 codes"
    )
    residual: int = Field(
        1, ge=1, le=8, description="codebooks per code vector; each quantises what the ones before it left over"
    )
    codebook: int = Field(256, ge=2, le=65_536, description="number of codes in the codebook")
    codes: int | None = Field(
        None,
        ge=1,
        le=256,
        description="codes per row; default: a grid with trunk = conv, else the default number of latents of `ae`",
    )
    code_width: int | None = Field(
        None, ge=1, le=1_024, description="width of a code vector; default: 32 on a grid, else 4"
    )
    commitment: float = Field(0.25, gt=0, description="weight of the distance from encodings to their code vectors")
    codebook_decay: float = Field(
        0.97, ge=0, lt=1, description="decay per step of the moving averages that update the codebook"
    )
    reset_below: float = Field(
        0.1, ge=0, lt=1, description="re-initialise codes used less than this share of the mean use; 0: never"
    )
    prior_width: int = Field(64, ge=1, le=1_024, description="channels of the prior over codes")


class VectorQuantised(Model):
    """Encoder to P vectors, nearest code of each, decoder from the vectors of the codes."""

    def __init__(self, layout: Layout, options: Options, backbone: BackbonePlan, likelihood: Likelihood) -> None:
        super().__init__(layout, likelihood)
        self.options = options
        self.backbone = backbone
        self.codes = math.prod(_levels(options)) if options.quantizer == "fsq" else options.codebook
        self.encoder, self.decoder, grid, self.width = _networks(layout, options, backbone, likelihood)
        self.vectors = grid.positions
        self.grid = Grid(grid.height, grid.width * options.residual)
        self.codebook = _quantizer(options, self.width)
        self.code_prior = PixelCnnPrior(self.grid, self.codes, channels=options.prior_width)

    @property
    def latent(self) -> LatentSpace:
        codes = tuple(f"c_{index:03d}" for index in range(self.grid.positions))
        pooled = self._pool(torch.zeros(1, self.vectors, self.width)).shape[1]
        return LatentSpace(names=codes, kind="code", pooled=tuple(f"z_{index:03d}" for index in range(pooled)))

    def objectives(self) -> tuple[Objective, ...]:
        of_prior = tuple(self.code_prior.parameters())
        return (
            Objective("vq_vae", self.parameters_but(of_prior), self._loss, learning_rate=self.backbone.learning_rate),
            Objective("code_prior", of_prior, self._prior_loss, phase=1, learning_rate=_PRIOR_RATE),
        )

    def posterior(self, row: Row) -> Posterior:
        codes = self.codebook(self._encode(row))
        # A code is certain, so that its KL to the prior is -log p(code).
        return Posterior(codes, None, self.code_prior.nll(codes), self._pool(self.codebook.look_up(codes)))

    def decode(self, z: Tensor, given: Tensor) -> Tensor:
        answer: Tensor = self.decoder(self.codebook.look_up(z))
        return answer

    def prior(self) -> PixelCnnPrior:
        return self.code_prior

    def prepare(self, batch: Batch) -> None:
        if isinstance(self.encoder, _Split) and isinstance(self.decoder, _Joined):
            self.backbone.start(self.encoder.network, self.decoder.network, self.likelihood, batch.input, batch.target)
        step = -(-len(batch.input.dense) // _STARTING_ROWS)
        self.codebook.start(self._encode(Row(*(part[::step] for part in batch.input))))

    def parts(self) -> tuple[Part, ...]:
        shape = (self.grid.positions, self.codes)
        logits = Port("logits", "float32", shape)
        return (*standard_parts(self), Part("code_prior", Logits(self.code_prior), (latent_port(self),), (logits,)))

    def card_metrics(self, batch: Batch, generator: torch.Generator) -> Mapping[str, float]:
        posterior = self.posterior(batch.input)
        shares = shares_of(posterior.mean, self.codes)
        usual = self.codebook.uses / self.codebook.uses.sum()
        rebuilt = reconstruction_metrics(self, batch)
        return {
            **rebuilt,
            "elbo": -(rebuilt["nll"] + float(posterior.kl.sum(1).mean())),
            "perplexity": float(perplexity(shares)),
            "codes_in_use": float((shares > 0).sum()),
            "prior_nats_per_code": float(posterior.kl.mean()),
            "unigram_nats_per_code": float(-(shares * usual.clamp(min=1e-9).log()).sum()),
        }

    def _pool(self, vectors: Tensor) -> Tensor:
        """Pool vectors (B, P, D): the mean over a grid, otherwise their concatenation."""
        return vectors.flatten(1) if isinstance(self.encoder, _Split) else vectors.mean(1)

    def _encode(self, row: Row) -> Tensor:
        """Encode rows to vectors (B, P, D), cast back from autocast types."""
        vectors: Tensor = self.encoder(row)
        return self.codebook.bound(vectors.to(row.dense.dtype))

    def _loss(self, batch: Batch, context: StepContext) -> Loss:
        vectors = self._encode(batch.input)
        codes = self.codebook(vectors.detach())
        nearest = self.codebook.look_up(codes)
        if self.training:
            self.codebook.follow(vectors, codes, context.generator)
        params = self.decoder(vectors + (nearest - vectors).detach())  # straight through
        nll = self.likelihood.nll(params, batch.target).sum(1).mean()
        # A mean over rows and numbers, times the features that the likelihood is summed over: neither the batch nor
        # the number of codes changes what is given up for it.
        apart = self.layout.features * (vectors - nearest).square().mean()
        used = perplexity(shares_of(codes, self.codes))
        terms = {"nll": nll.detach(), "commitment": apart.detach(), "perplexity": used}
        misfit = self.likelihood.misfit(params, batch.target)
        commitment = 0.0 if self.options.quantizer == "fsq" else self.options.commitment  # levels attract no vectors
        return Loss(nll + commitment * apart, terms, misfit)

    def _prior_loss(self, batch: Batch, context: StepContext) -> Loss:
        with torch.no_grad():
            codes = self.codebook(self._encode(batch.input))
        nll = self.code_prior.nll(codes)
        return Loss(nll.sum(1).mean(), {"nats_per_code": nll.detach().mean()})


class Logits(nn.Module):
    """Codes (B, P) int32 to the logits of each code given the codes before it, (B, P, K)."""

    def __init__(self, prior: PixelCnnPrior) -> None:
        super().__init__()
        self.prior = prior

    def forward(self, codes: Tensor) -> Tensor:
        return self.prior.logits(codes.long())


class _Split(nn.Module):
    """Network whose output (B, P * D) is reshaped to vectors (B, P, D)."""

    def __init__(self, network: nn.Module, codes: int) -> None:
        super().__init__()
        self.network = network
        self.codes = codes

    def forward(self, row: Row) -> Tensor:
        answer: Tensor = self.network(row)
        return answer.reshape(answer.shape[0], self.codes, -1)


class _Joined(nn.Module):
    """Network that takes vectors (B, P, D), flattened."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, vectors: Tensor) -> Tensor:
        answer: Tensor = self.network(vectors.flatten(1))
        return answer


def _levels(options: Options) -> tuple[int, ...]:
    return options.levels or _LEVELS


def _quantizer(options: Options, width: int) -> VectorQuantizer | ResidualQuantizer | ScalarQuantizer:
    decay, reset_below = options.codebook_decay, options.reset_below
    if options.quantizer == "fsq":
        return ScalarQuantizer(_levels(options), decay=decay)
    if options.residual > 1:
        return ResidualQuantizer(options.residual, options.codebook, width, decay=decay, reset_below=reset_below)
    return VectorQuantizer(options.codebook, width, decay=decay, reset_below=reset_below)


def _faults(layout: Layout, options: Options) -> Iterator[str]:
    """Yield a sentence for each option that does not go with the quantizer."""
    if options.quantizer == "codebook":
        if options.levels is not None:
            yield f"levels = {list(options.levels)} has no effect: set quantizer = 'fsq', or omit levels"
        return
    for key in ("codebook", "code_width", "commitment", "reset_below"):
        if key in options.model_fields_set:
            yield f"{key} = {getattr(options, key)} has no effect with quantizer = 'fsq': set levels, or omit {key}"
    if options.residual > 1:
        yield f"residual = {options.residual} does not go with quantizer = 'fsq': use more levels, or omit residual"
    levels = _levels(options)
    if min(levels) < _FEWEST_LEVELS or math.prod(levels) > _MOST_CODES:
        yield (
            f"levels = {list(levels)}: expected at least {_FEWEST_LEVELS} levels per number and a product of at most "
            f"{_MOST_CODES:,}"
        )


def _networks(
    layout: Layout, options: Options, backbone: BackbonePlan, likelihood: Likelihood
) -> tuple[nn.Module, nn.Module, Grid, int]:
    """Build encoder and decoder; return them with the grid of the codes and the width of their vectors."""
    fixed = len(_levels(options)) if options.quantizer == "fsq" else None
    image, rebuilt = layout.image, layout.rebuilt
    if (
        backbone.grid is not None
        and options.codes is None
        and image is not None
        and rebuilt is not None
        and (image.height, image.width) == (rebuilt.height, rebuilt.width)
    ):
        width = fixed or options.code_width or _WIDTH_ON_GRIDS
        nets = backbone.grid(layout, width, likelihood)
        return nets.encoder, nets.decoder, Grid(nets.height, nets.width), width
    codes, width = options.codes or latents_for(layout, None), fixed or options.code_width or _WIDTH
    encoder, decoder = backbone.encoder(layout, codes * width), backbone.decoder(layout, codes * width, likelihood)
    return _Split(encoder, codes), _Joined(decoder), Grid(1, codes), width


FAMILY = Family(
    "vq_vae",
    "vector quantisation with a learned codebook, and a prior over the codes",
    Options,
    ("mlp", "conv"),
    VectorQuantised,
    lambda layout, options: tuple(_faults(layout, options)),
    formula="−log p(x|e) + β ‖f(x) − e‖², e the code vector closest to f(x), then −log p(codes) for the prior",
    advice="Prefer it for sharp images and discrete codes. Not for small tables, or where features need a metric.",
)
