"""Base class of most families: an encoder and a decoder of one backbone with a vector of real latents between."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from aepipe.layout import LatentSpace, Layout
from aepipe.models.base import (
    BackbonePlan,
    Batch,
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
from aepipe.models.latent_space import latents_for, real_space, split_gaussian
from aepipe.models.layers.likelihood import Likelihood
from aepipe.models.layers.preprocessing import Row
from aepipe.models.layers.prior import Prior, standard_prior


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
        super().__init__(layout, backbone, likelihood, real_space(latents_for(layout, latents)), answers=1)

    def objectives(self) -> tuple[Objective, ...]:
        rate = self.backbone.learning_rate
        return (Objective("autoencoder", tuple(self.parameters()), self.loss, learning_rate=rate),)

    def posterior(self, row: Row) -> Posterior:
        return deterministic_posterior(self.encoder(row).to(row.dense.dtype))

    def prior(self) -> Prior | None:
        return None

    @abstractmethod
    def loss(self, batch: Batch, context: StepContext) -> Loss:
        """Return the loss of the only objective."""


class GaussianEncoderDecoder(EncoderDecoder, ABC):
    """Encoder-decoder with a diagonal Gaussian posterior and the prior N(0, I)."""

    def __init__(self, layout: Layout, backbone: BackbonePlan, likelihood: Likelihood, space: LatentSpace) -> None:
        super().__init__(layout, backbone, likelihood, space, answers=2)

    def posterior(self, row: Row) -> Posterior:
        return split_gaussian(self.encoder(row), row.dense.dtype)

    def prior(self) -> Prior | None:
        return standard_prior(len(self.space.names))
