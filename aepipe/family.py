"""What a family of autoencoders is to the rest: players that train it, parts that are exported, a latent space.

Training, heads, export and the batch wing know families by this file alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Literal, NamedTuple

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from aepipe.layout import Layout, Port
from aepipe.nets.frontend import Frontend, Row
from aepipe.nets.likelihood import Likelihood, Residual
from aepipe.nets.trunk import no_start

Program = Literal["once", "autoregressive", "recurrent"]


class Batch(NamedTuple):
    """What a loss looks at: the rows as the network sees them, and as they are (the same unless corrupted)."""

    seen: Row
    clean: Row


class Turn(NamedTuple):
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


class Player(NamedTuple):
    """A group of parameters with an objective of its own.

    Players of a phase take turns, each with rows of its own; the loss of a phase's first player on dev rows ends it.
    The next phase begins with the best weights so far, of which it changes its own players' only.
    """

    name: str
    parameters: tuple[nn.Parameter, ...]
    loss: Callable[[Batch, Turn], Loss]
    phase: int = 0
    learning_rate: float = 1e-3
    """What suits its networks. A job's own rate is the first player's; the others keep their proportion to it."""
    warms_up: float = 0.0
    """Share of a phase's epochs in which its objective still changes, and a worse dev loss does not count."""


class LatentSpace(NamedTuple):
    """The features of a row: a name each, and whether they are real, codes or bits."""

    names: tuple[str, ...]
    kind: Literal["real", "code", "binary"] = "real"


class Part(NamedTuple):
    """One ONNX file. The module's forward takes the inputs in order and returns the outputs in order."""

    name: str
    module: nn.Module
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    program: Program = "once"
    rtol: float = 1e-4
    atol: float = 1e-4


class Posterior(NamedTuple):
    """Diagonal Gaussian over latents, (B, Z) each; `log_var` is None where the encoder is deterministic."""

    mean: Tensor
    log_var: Tensor | None


class Model(nn.Module, ABC):
    """A family, wired for one layout. Subclasses are final: they implement what is abstract, no more."""

    def __init__(self, layout: Layout, likelihood: Likelihood) -> None:
        super().__init__()
        self.layout = layout
        self.frontend = Frontend(layout)
        self.likelihood = likelihood

    @property
    def device(self) -> torch.device:
        """Where its tensors are."""
        return next(chain(self.parameters(), self.buffers())).device

    @property
    @abstractmethod
    def latent(self) -> LatentSpace:
        """The space of the features."""

    @abstractmethod
    def players(self) -> tuple[Player, ...]:
        """Who takes turns in training; none where `prepare` solves the model in closed form."""

    @abstractmethod
    def posterior(self, row: Row) -> Posterior:
        """The latents of rows, without noise."""

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """Parameters of the likelihood at latents z (B, Z): (B, likelihood.width)."""

    @abstractmethod
    def kl(self, posterior: Posterior) -> Tensor:
        """The exact KL of each row's posterior to the prior, (B,), in nats; zeros where there is no prior."""

    @abstractmethod
    def prepare(self, rows: Row) -> None:
        """Called once with the training rows before the first turn: closed forms and data-dependent starts."""

    @property
    @abstractmethod
    def has_prior(self) -> bool:
        """Whether N(0, I) is a prior that training pulled the latents towards."""

    @abstractmethod
    def parts(self) -> tuple[Part, ...]:
        """The modules that become ONNX files beside the scorer; `aepipe.parts.standard_parts` makes the usual three."""


class TrunkPlan(NamedTuple):
    """A trunk and its validated options, ready to make networks of given widths."""

    name: str
    encoder: Callable[[Layout, int], nn.Module]
    """(layout, outputs) -> module: Row -> (B, outputs)"""
    decoder: Callable[[Layout, int, Likelihood], nn.Module]
    """(layout, inputs, likelihood) -> module: (B, inputs) -> (B, likelihood.width)"""
    learning_rate: float = 1e-3
    """of AdamW, that suits these networks"""
    start: Callable[[nn.Module, nn.Module, Likelihood, Row], None] = no_start
    """(encoder, decoder, likelihood, training rows): begin these two, fresh from above, where closed forms say"""


def no_faults(layout: Layout, options: BaseModel) -> Sequence[str]:
    """What a family whose options suit every layout answers."""
    return ()


class Family(NamedTuple):
    """A file of aepipe/families: its options, the trunks it takes, and how it is built."""

    name: str
    summary: str
    options: type[BaseModel]
    trunks: tuple[str, ...]
    """Names of the trunks that it may be made of; none for a closed form."""
    build: Callable[[Layout, BaseModel, TrunkPlan, Likelihood], Model]
    faults: Callable[[Layout, BaseModel], Sequence[str]] = no_faults
    """What of these options does not fit this layout, in sentences; looked at before anything is built."""
