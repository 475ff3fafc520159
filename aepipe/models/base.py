"""What a family of autoencoders is to the rest: players that train it, parts that are exported, a latent space.

Training, heads, export and the batch wing know families by this file alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from pydantic import BaseModel
from torch import Tensor, nn

from aepipe.layout import LatentKind, Layout, Port
from aepipe.models.backbone import GridNets, no_start
from aepipe.models.layers.corruption import Corruption, CorruptionOptions
from aepipe.models.layers.likelihood import Likelihood, Residual
from aepipe.models.layers.preprocessing import Preprocessing, Row
from aepipe.models.layers.prior import Prior


class Batch(NamedTuple):
    """What a loss looks at: rows as the network sees them, and as they are: the same unless corrupted or a target."""

    seen: Row
    clean: Row
    places: Tensor | None = None
    """(B,) which of the table's rows these are, the same in every epoch; none where nobody has counted them"""


class StepContext(NamedTuple):
    """Where training is: `progress` runs from 0 to 1 over a phase's epochs, `generator` is the only source of noise.

    Dev rows are looked at with progress 1 and the same noise each time, so that losses of different epochs compare.
    """

    progress: float
    generator: torch.Generator


class Loss(NamedTuple):
    """`total` is minimised, a scalar: a mean over rows; `terms` are detached scalars for the training curve.

    `misfit`, detached, is what an optimal sigma follows; none where the loss is not a likelihood of rows.
    """

    total: Tensor
    terms: Mapping[str, Tensor]
    misfit: Residual | None = None


class Objective(NamedTuple):
    """A group of parameters with an objective of its own.

    Players of a phase take turns, each with rows of its own; the loss of a phase's first player on dev rows ends it.
    The next phase begins with the best weights so far, of which it changes its own players' only.
    """

    name: str
    parameters: tuple[nn.Parameter, ...]
    loss: Callable[[Batch, StepContext], Loss]
    phase: int = 0
    learning_rate: float = 1e-3
    """What suits its networks. A job's own rate is the first player's; the others keep their proportion to it."""
    betas: tuple[float, float] = (0.9, 0.999)
    """of AdamW; a critic follows what it judges better with a shorter memory"""
    warms_up: float = 0.0
    """Share of a phase's epochs in which its objective still changes, and a worse dev loss does not count."""
    epochs: int | None = None
    """How many suit it, at most, where a job names none; of a phase's first player."""
    anneals: bool = False
    """Whether its learning rate falls along half a cosine to 0 over a phase's epochs, not halved on plateaus."""
    averaged: float = 0.0
    """How much of their average weights keep at a step: judged on dev rows and kept is the average; 0: without."""


class LatentSpace(NamedTuple):
    """What a decoder takes, a name each, and what of a row is written as features."""

    names: tuple[str, ...]
    kind: LatentKind = "real"
    pooled: tuple[str, ...] = ()
    """Names of real features that sum up latents no distance can be taken of: codes, or those of every step."""
    is_written: bool = True
    """Whether the latents are features themselves; if not, the pooled ones alone."""


class Part(NamedTuple):
    """One ONNX file. The module's forward takes the inputs in order and returns the outputs in order."""

    name: str
    module: nn.Module
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    rtol: float = 1e-4
    atol: float = 1e-4
    scales: Mapping[str, Sequence[float]] = MappingProxyType({})
    """of outputs in source units: the spread of each column, beside which a difference is large or small"""
    chained: tuple[str, ...] = ()
    """Names of integer outputs whose columns are drawn given those before: where one differs, so may all after it."""
    examples: Mapping[str, NDArray[np.generic]] = MappingProxyType({})
    """512 rows of inputs that are no noise, and that no earlier part answers, to try it on"""
    write: Callable[[nn.Module], ModelProto] | None = None
    """Writes the module, in eval mode on the CPU, as ONNX where to trace it would take minutes; none: it is traced."""


class Posterior(NamedTuple):
    """What an encoder says of rows, without noise."""

    mean: Tensor
    """(B, Z) latents as the decoder takes them; int64 where they are codes"""
    log_var: Tensor | None
    """(B, Z) of a diagonal Gaussian; None where the encoder is deterministic"""
    kl: Tensor
    """(B, Z) exact KL of each latent to its prior, in nats; of no width where training knows no prior"""
    pooled: Tensor
    """(B, P) as `LatentSpace.pooled`; of no width where there is none"""


def point(mean: Tensor, *, pooled: Tensor | None = None) -> Posterior:
    """The posterior of a deterministic encoder."""
    nothing = mean.new_zeros((mean.shape[0], 0), dtype=torch.float32)
    return Posterior(mean, None, nothing, nothing if pooled is None else pooled)


class Reconstruction(NamedTuple):
    """Rows through a model and back, without noise: the posterior, and the likelihood's parameters (B, width)."""

    posterior: Posterior
    params: Tensor


class Model(nn.Module, ABC):
    """A family, wired for one layout. Subclasses are final: they implement what is abstract, no more."""

    def __init__(self, layout: Layout, likelihood: Likelihood) -> None:
        super().__init__()
        self.layout = layout
        self.preprocessing = Preprocessing(layout)
        self.likelihood = likelihood
        self.corruption = Corruption(CorruptionOptions())
        self.training_rows = 0
        """How many rows it learns from, which training says before `prepare`; 0 where nobody has said it."""

    @property
    def device(self) -> torch.device:
        """Where its tensors are."""
        return next(chain(self.parameters(), self.buffers())).device

    def parameters_but(self, left_out: Iterable[nn.Parameter]) -> tuple[nn.Parameter, ...]:
        """All parameters but these, which another player trains."""
        known = {id(parameter) for parameter in left_out}
        return tuple(parameter for parameter in self.parameters() if id(parameter) not in known)

    @property
    @abstractmethod
    def latent(self) -> LatentSpace:
        """The space of the latents and features."""

    @abstractmethod
    def objectives(self) -> tuple[Objective, ...]:
        """Who takes turns in training; none where `prepare` solves the model in closed form."""

    @abstractmethod
    def posterior(self, row: Row) -> Posterior:
        """The latents of rows, without noise."""

    @abstractmethod
    def decode(self, z: Tensor, given: Tensor) -> Tensor:
        """Parameters of the likelihood, (B, likelihood.width), at latents z (B, Z) and conditions (B, G)."""

    def reconstruct(self, row: Row) -> Reconstruction:
        """Rows to their latents and back: the posterior's mean, decoded, where a family does not say otherwise."""
        posterior = self.posterior(row)
        return Reconstruction(posterior, self.decode(posterior.mean, row.given))

    @abstractmethod
    def prior(self) -> Prior | None:
        """Noise to latents, as training left it; None where training knows no prior."""

    @abstractmethod
    def prepare(self, batch: Batch) -> None:
        """Called once with training rows before the first turn: closed forms and data-dependent starts."""

    @abstractmethod
    def parts(self) -> tuple[Part, ...]:
        """The modules that become ONNX files beside the scorer; `export_parts.standard_parts` makes the usual three."""

    @abstractmethod
    def facts(self, batch: Batch, generator: torch.Generator) -> Mapping[str, float]:
        """What the model card says of it, measured on rows that it did not learn from, in eval mode."""


class BackbonePlan(NamedTuple):
    """A trunk and its validated options, ready to make networks of given widths."""

    name: str
    encoder: Callable[[Layout, int], nn.Module]
    """(layout, outputs) -> module: Row -> (B, outputs)"""
    decoder: Callable[[Layout, int, Likelihood], nn.Module]
    """(layout, inputs, likelihood) -> module: (B, inputs) -> (B, likelihood.width)"""
    learning_rate: float = 1e-3
    """of AdamW, that suits these networks"""
    start: Callable[[nn.Module, nn.Module, Likelihood, Row, Row], None] = no_start
    """(encoder, decoder, likelihood, training rows, what is rebuilt of them): begin where closed forms say"""
    grid: Callable[[Layout, int, Likelihood], GridNets] | None = None
    """(layout, D, likelihood): networks between rows and a grid of vectors; none where a trunk knows no places"""
    options: BaseModel | None = None
    """the trunk's own, for a family that puts its bricks together in another way; none without a trunk"""


def no_faults(layout: Layout, options: BaseModel) -> Sequence[str]:
    """What a family whose options suit every layout answers."""
    return ()


class Family(NamedTuple):
    """A file of aepipe/models/families: its options, the trunks it takes, and how it is built."""

    name: str
    summary: str
    options: type[BaseModel]
    trunks: tuple[str, ...]
    """Names of the trunks that it may be made of; none for a closed form."""
    build: Callable[[Layout, BaseModel, BackbonePlan, Likelihood], Model]
    faults: Callable[[Layout, BaseModel], Sequence[str]] = no_faults
    """What of these options does not fit this layout, in sentences; looked at before anything is built."""
    takes_codes: bool = False
    """Whether a table's columns reach it as codes alone: numbers by atoms and quantile bins."""
    takes_conditions: bool = False
    """Whether it is built around condition columns; the others refuse them, and this one needs them."""
