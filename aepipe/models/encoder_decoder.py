"""Base class of most families: an encoder and a decoder of one backbone with a vector of real latents between."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from aepipe.layout import LatentSpace, Layout
from aepipe.models.base import (
    BackbonePlan,
    Batch,
    FlowBase,
    Loss,
    Model,
    Objective,
    Part,
    Posterior,
    Reconstruction,
    StepContext,
    deterministic_posterior,
)
from aepipe.models.export_parts import standard_parts
from aepipe.models.latent_space import bottleneck_for, draw_from, real_space, split_gaussian
from aepipe.models.layers.gaussian import Gaussian
from aepipe.models.layers.likelihood import Likelihood
from aepipe.models.layers.noise import normal_like
from aepipe.models.layers.posterior_flow import PosteriorFlow
from aepipe.models.layers.preprocessing import Row
from aepipe.models.layers.prior import MixturePrior, Prior, standard_prior
from aepipe.models.layers.vamp_prior import PseudoInputs, kl_to_mixture, mixture_log_density
from aepipe.models.losses import gaussian_nll
from aepipe.models.prior_choice import N01, PriorChoice

_FIXED_DRAWS = 8
"""Draws of the KL after a flow, in pairs of opposite noise, so that a score does not depend on chance."""


TEXT_EPOCHS = 30
"""Default number of epochs with texts: a step costs ten times as much as with other columns."""
_TEXT_AVERAGED = 0.99
"""Decay of averaged weights with texts: the last epochs fit the rare tokens of single rows."""


class EncoderDecoder(Model, ABC):
    """Encoder, latents, decoder. Subclasses define the posterior and the objectives."""

    def __init__(
        self, layout: Layout, backbone: BackbonePlan, likelihood: Likelihood, space: LatentSpace, *, answers: int
    ) -> None:
        """Build the networks; `answers` is the number of encoder outputs per latent."""
        super().__init__(layout, likelihood)
        self.backbone = backbone
        self.space = space
        latents = len(space.names)
        self.encoder = backbone.encoder(layout, answers * latents)
        self.decoder = backbone.decoder(layout, latents + layout.given, likelihood)

    @property
    def latent(self) -> LatentSpace:
        return self.space

    @property
    def output_layer(self) -> tuple[torch.nn.Parameter, ...]:
        """Parameters of the decoder's last layer for tables; none otherwise."""
        return self.backbone.output_layer(self.decoder) if self.layout.kind == "table" else ()

    def prepare(self, batch: Batch) -> None:
        self.backbone.start(self.encoder, self.decoder, self.likelihood, batch.input, batch.target)

    def decode(self, z: Tensor, given: Tensor) -> Tensor:
        inputs = torch.cat([z, given], 1) if self.layout.given else z
        answer: Tensor = self.decoder(inputs)
        return answer

    def reconstruct(self, row: Row) -> Reconstruction:
        posterior = self.posterior(row)
        return Reconstruction(posterior, self.decode(posterior.mean, row.given))

    def parts(self) -> tuple[Part, ...]:
        return standard_parts(self)


class DeterministicEncoderDecoder(EncoderDecoder, ABC):
    """Encoder-decoder with one real code per row and no prior of its own; subclasses define `loss`."""

    def __init__(self, layout: Layout, backbone: BackbonePlan, likelihood: Likelihood, latents: int | None) -> None:
        """Build the networks; latents: None for the default of the layout."""
        space = real_space(bottleneck_for(layout, latents))
        super().__init__(layout, backbone, likelihood, space, answers=1)

    def objectives(self) -> tuple[Objective, ...]:
        rate = self.backbone.learning_rate
        epochs = default_epochs(self.layout)
        return (
            Objective(
                "autoencoder",
                tuple(self.parameters()),
                self.loss,
                learning_rate=rate,
                epochs=epochs,
                averaged=_TEXT_AVERAGED if self.layout.kind == "text" else 0.0,
                output_layer=self.output_layer,
            ),
        )

    def posterior(self, row: Row) -> Posterior:
        return deterministic_posterior(self.encoder(row).to(row.dense.dtype))

    def prior(self) -> Prior | None:
        return None

    @abstractmethod
    def loss(self, batch: Batch, context: StepContext) -> Loss:
        """Return the loss of the only objective."""


class Draw(NamedTuple):
    """Latents drawn from the posteriors of rows, and what they cost."""

    z: Tensor
    """(B, Z)"""
    kl: Tensor
    """KL to the prior in nats: (B, Z) in closed form per latent, or (B, 1) estimated at `z`"""


class WeightedDraw(NamedTuple):
    """Latents drawn from the posteriors of rows, and their density."""

    z: Tensor
    """(B, Z)"""
    log_ratio: Tensor
    """(B,) log p(z) - log q(z | row), in nats"""


class GaussianEncoderDecoder(EncoderDecoder, ABC):
    """Encoder-decoder with a diagonal Gaussian posterior, possibly followed by a flow.

    The prior is N(0, I) or the mixture of pseudo-inputs.
    """

    fixed_noise: Tensor

    def __init__(
        self,
        layout: Layout,
        backbone: BackbonePlan,
        likelihood: Likelihood,
        space: LatentSpace,
        *,
        prior: PriorChoice = N01,
        flow: PosteriorFlow | None = None,
    ) -> None:
        """Build the networks; flow: None for a Gaussian posterior."""
        super().__init__(layout, backbone, likelihood, space, answers=2 if flow is None else 3)
        self.pseudo_inputs = PseudoInputs(layout, prior.pseudo_inputs) if prior.pseudo_inputs else None
        self.euler_steps = prior.euler_steps
        self.flow = flow
        if flow is not None:
            half = torch.randn(_FIXED_DRAWS // 2, 1, len(space.names))
            self.register_buffer("fixed_noise", torch.cat([half, -half]))

    def encode(self, row: Row) -> Posterior:
        """Encode rows; the KL is (B, 0) where it has no closed form."""
        answer = self.encoder(row)
        if self.flow is not None:
            mean, log_var, context = answer.to(row.dense.dtype).chunk(3, dim=1)
            base = split_gaussian(torch.cat([mean, log_var], 1), row.dense.dtype)
            assert base.log_var is not None
            z = self.flow(base.mean, context).z
            return Posterior(z, None, z[:, :0], z[:, :0], FlowBase(base.mean, base.log_var, context))
        own = split_gaussian(answer, row.dense.dtype)
        return own if self.pseudo_inputs is None else own._replace(kl=own.mean[:, :0])

    def posterior(self, row: Row) -> Posterior:
        """Encode rows; without a closed form the KL is (B, 1).

        With pseudo-inputs it is an upper bound; after a flow it is the mean over fixed draws.
        """
        own = self.encode(row)
        if self.flow is not None:
            return own._replace(
                kl=-torch.stack([self._weighted(own, noise)[1] for noise in self.fixed_noise]).mean(0)[:, None]
            )
        return own if self.pseudo_inputs is None else own._replace(kl=kl_to_mixture(_gaussian(own), self._components()))

    def draw(self, posterior: Posterior, generator: torch.Generator) -> Draw:
        """Draw one reparametrised sample per row; its KL is in closed form where there is one."""
        if self.flow is None and self.pseudo_inputs is None:
            return Draw(draw_from(posterior, generator), posterior.kl)
        z, log_ratio = self.draw_weighted(posterior, generator)
        return Draw(z, -log_ratio.unsqueeze(1))

    def draw_weighted(self, posterior: Posterior, generator: torch.Generator) -> WeightedDraw:
        """Draw one reparametrised sample per row, with its density."""
        return self._weighted(posterior, normal_like(posterior.mean, generator))

    def draw_at(self, posterior: Posterior, noise: Tensor) -> Tensor:
        if posterior.flow_base is None:
            return super().draw_at(posterior, noise)
        return self._weighted(posterior, noise.to(posterior.mean.dtype)).z.to(noise.dtype)

    def _weighted(self, posterior: Posterior, noise: Tensor) -> WeightedDraw:
        """Transform standard normal noise (B, Z) or (1, Z) to draws, with their density."""
        base = posterior.flow_base
        if base is None:
            z = _gaussian(posterior).at(noise)
            return WeightedDraw(z, self.log_prior(z) - log_density(z, posterior))
        assert self.flow is not None
        before = base.mean + noise * torch.exp(0.5 * base.log_var)
        z, log_det = self.flow(before, base.context)
        log_own = -gaussian_nll(before - base.mean, 0.5 * base.log_var).sum(1) - log_det
        return WeightedDraw(z, self.log_prior(z) - log_own)

    def log_prior(self, z: Tensor) -> Tensor:
        """Compute the log density of latents z (B, Z) under the prior, (B,) in nats."""
        if self.pseudo_inputs is None:
            return -gaussian_nll(z, torch.zeros_like(z)).sum(1)
        return mixture_log_density(z, self._components())

    def prepare(self, batch: Batch) -> None:
        super().prepare(batch)
        if self.pseudo_inputs is not None:
            self.pseudo_inputs.start(batch.input)

    @torch.no_grad()
    def prior(self) -> Prior | None:
        if self.pseudo_inputs is None:
            return standard_prior(len(self.space.names))
        means, log_vars = (part.double().cpu() for part in self._components())
        factors = torch.diag_embed(torch.exp(0.5 * log_vars))
        return MixturePrior(np.full(len(means), 1 / len(means)), means.numpy(), factors.numpy())

    def _components(self) -> Gaussian:
        """Encode the pseudo-inputs, (K, Z) each."""
        assert self.pseudo_inputs is not None
        rows = self.pseudo_inputs()
        return _gaussian(split_gaussian(self.encoder(rows), rows.dense.dtype))


def log_density(z: Tensor, posterior: Posterior) -> Tensor:
    """Compute log q(z | row) of latents z (B, Z) under a diagonal Gaussian, (B,) in nats."""
    assert posterior.log_var is not None
    return -gaussian_nll(z - posterior.mean, 0.5 * posterior.log_var).sum(1)


def _gaussian(posterior: Posterior) -> Gaussian:
    assert posterior.log_var is not None
    return Gaussian(posterior.mean, posterior.log_var)


def default_epochs(layout: Layout) -> int | None:
    """Return the default maximum number of epochs for a layout; None for the default of training."""
    return TEXT_EPOCHS if layout.kind == "text" else None
