"""Interface of a family: objectives to train, parts to export, a latent space.

Training, heads, export and batch scoring depend on families only through this module.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from pydantic import BaseModel
from torch import Tensor, nn

from aepipe.layout import LatentSpace, Layout, Port
from aepipe.models.backbone import AveragedTraining, GridNets, no_faults, no_output_layer, no_start
from aepipe.models.layers.corruption import Corruption, CorruptionOptions
from aepipe.models.layers.likelihood import Likelihood, Residual
from aepipe.models.layers.parameter_uses import ParameterUses
from aepipe.models.layers.preprocessing import Preprocessing, Row
from aepipe.models.layers.prior import Prior

OptionsT = TypeVar("OptionsT", bound=BaseModel)
"""Options of a family."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of a training step: the input of the network, and the target of its reconstruction.

    The two differ if the input is corrupted or the layout has a target column.
    """

    input: Row
    target: Row
    places: Tensor | None = None
    """(B,) indices of the rows in the training table; None if unknown."""


class StepContext(NamedTuple):
    """Context of an optimizer step: `progress` rises from 0 to 1 over a phase; `generator` is the only source of noise.

    Dev losses use progress 1 and the same noise every time, so that epochs are comparable.
    """

    progress: float
    generator: torch.Generator
    uses: ParameterUses | None = None
    """record that `row_losses` keeps of parameters outside of linear layers and code sums; None: none is kept"""


class Loss(NamedTuple):
    """Loss of an objective: the scalar to minimise, a mean over rows, and detached terms for the training curve.

    `misfit` holds detached residuals, from which the optimal sigma is updated; None if the loss is not a likelihood.
    """

    total: Tensor
    terms: Mapping[str, Tensor]
    misfit: Residual | None = None


class Objective(NamedTuple):
    """Group of parameters that minimises its own loss.

    The objectives of a phase alternate, each on its own batches. The dev loss of the first objective decides when the
    phase ends. The next phase starts from the best weights and updates only the parameters of its own objectives.
    """

    name: str
    parameters: tuple[nn.Parameter, ...]
    loss: Callable[[Batch, StepContext], Loss]
    phase: int = 0
    learning_rate: float = 1e-3
    """Default rate. A rate set in the job applies to the first objective; the others keep their ratio to it."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW betas; a critic tracks the encoder better with shorter averages"""
    warms_up: float = 0.0
    """Share of the phase in which the loss itself is ramped up and early stopping is off."""
    epochs: int | None = None
    """Default maximum number of epochs; used for the first objective of a phase."""
    anneals: bool = False
    """Whether the learning rate follows a half cosine to 0 instead of being halved on plateaus."""
    averaged: float = 0.0
    """Decay of the weight average that is evaluated on dev rows and kept; 0 for no averaging."""
    output_layer: tuple[nn.Parameter, ...] = ()
    """Parameters of the decoder's last layer. If there are any, large tables are trained by the schedule of
    `for_large_table` in aepipe/training/schedule.py."""
    output_rate: float = 1.0
    """Factor of the learning rate for the output layer."""
    batch_rows: int = 256
    """Default batch size."""
    cpu_batch_rows: int | None = None
    """Default batch size on a CPU; None for `batch_rows`."""
    patience_share: float = 1.0
    """Share of the job's patience after which training stops; used for the first objective of a phase."""
    row_losses: Callable[[Batch, StepContext], Tensor] | None = None
    """Losses (B,) of rows, each by itself; without them, no training with differential privacy."""
    epoch_rows: int | None = None
    """Maximum rows of an epoch, drawn at random; None for the rule of the training loop."""


@dataclass(frozen=True, slots=True)
class Part:
    """ONNX file to export. `module.forward` takes the inputs and returns the outputs in the order of the ports."""

    name: str
    module: nn.Module
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    rtol: float = 1e-4
    atol: float = 1e-4
    scales: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Scale of each column of an output, against which the parity check measures differences."""
    chained: tuple[str, ...] = ()
    """Integer outputs with autoregressive columns: after the first mismatch in a row, later ones may differ."""
    draws: int = 1
    """Draws per row on which later values depend; rounding may decide a share of all draws, so of the rows"""
    examples: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)
    """512 rows for inputs that are neither noise nor outputs of an earlier part"""
    write: Callable[[nn.Module], ModelProto] | None = None
    """Function that writes the module, in eval mode on the CPU, as ONNX; None to trace it with torch."""


class FlowBase(NamedTuple):
    """Gaussian posterior (B, Z) that a flow transforms, and the context (B, Z) of the flow."""

    mean: Tensor
    log_var: Tensor
    context: Tensor


class Posterior(NamedTuple):
    """Output of an encoder, without noise."""

    mean: Tensor
    """(B, Z), latents as inputs of the decoder; int64 for codes"""
    log_var: Tensor | None
    """(B, Z), of a diagonal Gaussian; None if the encoder is deterministic or a flow follows"""
    kl: Tensor
    """KL to the prior in nats: (B, Z), exact, of each latent; (B, 1), of the row, without a closed form per latent;
    (B, 0) if training uses no prior"""
    pooled: Tensor
    """(B, P), values of `LatentSpace.pooled`; (B, 0) without any"""
    flow_base: FlowBase | None = None
    """Gaussian before the flow; None without a flow"""


def deterministic_posterior(mean: Tensor) -> Posterior:
    """Return the posterior of a deterministic encoder."""
    nothing = mean.new_zeros((mean.shape[0], 0), dtype=torch.float32)
    return Posterior(mean, None, nothing, nothing)


class Reconstruction(NamedTuple):
    """Posterior of rows and the parameters of their likelihood (B, width), without noise."""

    posterior: Posterior
    params: Tensor


class Model(nn.Module, ABC):
    """Network of a family for one layout. Subclasses implement the abstract methods and are final."""

    def __init__(self, layout: Layout, likelihood: Likelihood) -> None:
        super().__init__()
        self.layout = layout
        self.preprocessing = Preprocessing(layout)
        self.likelihood = likelihood
        self.corruption = Corruption(CorruptionOptions())
        self.training_rows = 0
        """Number of training rows, set before `prepare`; 0 if unknown."""
        self.code_orders: tuple[tuple[int, ...] | None, ...] | None = None
        """Codes of each category in the order of their values, None without an order; set before `prepare` if known."""
        self.euler_steps = 0
        """Steps of the flow that is fitted on the latents for sampling; 0 for a Gaussian mixture."""
        self.noisy_counts: tuple[Tensor, ...] | None = None
        """Counts of each column's codes with noise; None unless the model is trained with differential privacy."""

    @property
    def device(self) -> torch.device:
        """Return the device of the parameters and buffers."""
        return next(chain(self.parameters(), self.buffers())).device

    def parameters_but(self, left_out: Iterable[nn.Parameter]) -> tuple[nn.Parameter, ...]:
        """Return all parameters that belong to no other objective."""
        known = {id(parameter) for parameter in left_out}
        return tuple(parameter for parameter in self.parameters() if id(parameter) not in known)

    @property
    @abstractmethod
    def latent(self) -> LatentSpace:
        """Return the latent space."""

    @abstractmethod
    def objectives(self) -> tuple[Objective, ...]:
        """Return the objectives of training; none if `prepare` solves the model in closed form."""

    @abstractmethod
    def posterior(self, row: Row) -> Posterior:
        """Encode rows without noise."""

    def draw_at(self, posterior: Posterior, noise: Tensor) -> Tensor:
        """Transform standard normal noise (B, Z) to draws from the posterior; the mean if it is deterministic."""
        if posterior.log_var is None:
            return posterior.mean.to(noise.dtype)
        return posterior.mean.to(noise.dtype) + noise * torch.exp(0.5 * posterior.log_var.to(noise.dtype))

    @abstractmethod
    def decode(self, z: Tensor, given: Tensor) -> Tensor:
        """Decode latents z (B, Z) and conditions (B, G) to likelihood parameters (B, likelihood.width)."""

    def reconstruct(self, row: Row) -> Reconstruction:
        """Encode rows and decode the posterior mean; families with other decoders override it."""
        posterior = self.posterior(row)
        return Reconstruction(posterior, self.decode(posterior.mean, row.given))

    @abstractmethod
    def prior(self) -> Prior | None:
        """Return the prior of the latents; None if the family is trained without one."""

    @abstractmethod
    def prepare(self, batch: Batch) -> None:
        """Initialise from training rows, once before the first step: closed forms and data-dependent weights."""

    def prepare_privately(self, counts: Sequence[Tensor]) -> None:
        """Initialise from noisy counts of each column's codes, in place of `prepare`; keep them for `match_shares`."""
        self.noisy_counts = tuple(counts)

    def match_shares(  # most samplers draw no codes
        self, prior: Prior, parts: Sequence[Mapping[str, NDArray[np.generic]]], seed: int
    ) -> None:
        """Correct the sampler until it draws each code as often as these rows have it; nothing else changes.

        Args:
            prior: distribution of the latents of samples.
            parts: encoded rows, also those that the network was not fitted to.
            seed: seed of the draws.
        """

    @abstractmethod
    def parts(self) -> tuple[Part, ...]:
        """Return the parts to export besides the scorer; `export_parts.standard_parts` builds the usual three."""

    @abstractmethod
    def card_metrics(self, batch: Batch, generator: torch.Generator) -> Mapping[str, float]:
        """Compute the metrics of the model card on held-out rows, in eval mode."""


@dataclass(frozen=True, slots=True)
class BackbonePlan:
    """Backbone with validated options, ready to build networks of given widths."""

    name: str
    encoder: Callable[[Layout, int], nn.Module]
    """(layout, outputs) -> module: Row -> (B, outputs)"""
    decoder: Callable[[Layout, int, Likelihood], nn.Module]
    """(layout, inputs, likelihood) -> module: (B, inputs) -> (B, likelihood.width)"""
    learning_rate: float = 1e-3
    """of AdamW"""
    start: Callable[[nn.Module, nn.Module, Likelihood, Row, Row], None] = no_start
    """(encoder, decoder, likelihood, training rows, their targets): initialises the networks in closed form"""
    output_layer: Callable[[nn.Module], tuple[nn.Parameter, ...]] = no_output_layer
    """decoder -> parameters of its last layer; none if the backbone has no rate for them"""
    grid: Callable[[Layout, int, Likelihood], GridNets] | None = None
    """(layout, D, likelihood) -> networks between rows and a grid of vectors; None if the backbone has no grid"""
    options: BaseModel | None = None
    """options of the backbone, for a family that builds its own networks from them; None without a backbone"""
    averaged: AveragedTraining = AveragedTraining()  # noqa: RUF009
    """defaults of families that average their weights"""


class Family(NamedTuple, Generic[OptionsT]):
    """Family defined by a file of aepipe/models/families: options, supported backbones and factory."""

    name: str
    summary: str
    options: type[OptionsT]
    backbones: tuple[str, ...]
    """Names of the supported backbones; empty for a closed form."""
    build: Callable[[Layout, OptionsT, BackbonePlan, Likelihood], Model]
    faults: Callable[[Layout, OptionsT], Sequence[str]] = no_faults
    """Lists the options that do not fit a layout, one sentence each; called before anything is built."""
    takes_codes: bool = False
    """Whether all columns of a table are encoded as codes, numbers by atoms and quantile bins."""
    takes_texts: bool = True
    """Whether the family models texts with a backbone that reads them."""
    takes_items: bool = False
    """Whether the family models a list of items."""
    takes_conditions: bool = False
    """Whether the family needs condition columns."""
    may_take_conditions: bool = False
    """Whether a table may have conditions with a family that does not need them; other families reject them."""
    private_options: Mapping[str, object] = {}
    """Defaults of options in training with differential privacy, where they differ."""
    formula: str = ""
    """Loss of a row, or the solution of a closed form, with the symbols of docs/families.md."""
    advice: str = ""
    """When to prefer the family and when not, for its documentation."""
