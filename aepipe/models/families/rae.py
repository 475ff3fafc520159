"""Regularised autoencoder: a deterministic code and a smooth decoder; the prior is fitted after training.

Ghosh, Sajjadi, Vergari, Black & Schoelkopf 2020: what makes a VAE's samples good is a smooth decoder, which a penalty
on it gives without noise. The mixture that every family gets after training takes the place of a chosen prior.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from aepipe.frozen import FrozenModel
from aepipe.layout import Layout
from aepipe.models.base import BackbonePlan, Batch, Family, Loss, StepContext
from aepipe.models.card_metrics import reconstruction_metrics
from aepipe.models.encoder_decoder import DeterministicEncoderDecoder
from aepipe.models.latent_space import LatentWidth, bottleneck_faults
from aepipe.models.layers.likelihood import Likelihood


class Options(FrozenModel):
    """Options of this family in [model]."""

    latent: LatentWidth = None
    regulariser: Literal["gradient", "weights"] = Field(
        "gradient",
        description="gradient: the squared slope of the decoder in a random direction of its output; weights: the "
        "squared norm of the decoder's parameters",
    )
    smooth: float | None = Field(
        None, ge=0, description="weight of the regulariser; default: 0.01 for gradient, 1e-4 for weights"
    )
    code_decay: float = Field(0.1, ge=0, description="weight of half the code's squared norm, in nats")


class RegularisedAutoencoder(DeterministicEncoderDecoder):
    """Encoder and decoder with deterministic latents and a penalty on the decoder."""

    def __init__(self, layout: Layout, options: Options, backbone: BackbonePlan, likelihood: Likelihood) -> None:
        super().__init__(layout, backbone, likelihood, options.latent)
        self.options = options
        default = 0.01 if options.regulariser == "gradient" else 1e-4
        self.smooth = default if options.smooth is None else options.smooth

    def card_metrics(self, batch: Batch, generator: torch.Generator) -> Mapping[str, float]:
        z = self.posterior(batch.input).mean
        slope = float(self.squared_slope(z, batch.input.given, generator).detach())
        return {**reconstruction_metrics(self, batch), "decoder_slope": slope**0.5}

    def squared_slope(self, z: Tensor, given: Tensor, generator: torch.Generator) -> Tensor:
        """Estimate the mean squared Frobenius norm of the decoder's Jacobian at latents z (B, Z), a scalar.

        E |v J|^2 over random signs v is the squared norm (Hutchinson 1989); one v is drawn per row.
        """
        with torch.enable_grad():
            at = z if z.requires_grad else z.detach().requires_grad_()
            params = self.decode(at, given)
            signs = (
                torch.randint(0, 2, params.shape, generator=generator, device=params.device).to(params.dtype) * 2 - 1
            )
            (slopes,) = torch.autograd.grad((params * signs).sum(), at, create_graph=True)
        return slopes.square().sum(1).mean()

    def loss(self, batch: Batch, context: StepContext) -> Loss:
        """Return equation 11 of Ghosh et al. 2020."""
        posterior, params = self.reconstruct(batch.input)
        nll = self.likelihood.nll(params, batch.target).sum(1).mean()
        decay = 0.5 * self.options.code_decay * posterior.mean.square().sum(1).mean()
        if self.options.regulariser == "gradient":
            penalty = self.squared_slope(posterior.mean, batch.input.given, context.generator)
        else:
            penalty = sum((weights.square().sum() for weights in self.decoder.parameters()), torch.zeros_like(nll))
        terms = {"nll": nll.detach(), "penalty": penalty.detach()}
        total = nll + decay + self.smooth * penalty
        return Loss(total, terms, self.likelihood.misfit(params, batch.target))


FAMILY = Family(
    "rae",
    "a deterministic code under a smooth decoder; the prior is fitted afterwards",
    Options,
    ("mlp", "conv"),
    RegularisedAutoencoder,
    bottleneck_faults,
    formula="−log p(x|f(x)) + ½ β ‖f(x)‖² + λ ‖∂g(z)/∂z‖² at z = f(x)",
    advice="Prefer it for samples by a fitted mixture without noise in training. Not for likelihoods, which it has "
    "none of.",
)
