"""Sparse autoencoder: latents, possibly more than columns, few are active for a row.

The penalty is L1 on rectified latents, or the KL of the mean activity of latents in (0, 1), Ng 2011 (CS294A lecture
notes). A decoder with large weights could evade both by shrinking the latents, so active latents get noise of a fixed
size in training: activity below the noise carries no information. Inactive latents get no noise, so that the cost of a
latent stays proportional to its use.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from aepipe.frozen import FrozenModel
from aepipe.layout import Layout
from aepipe.models.base import (
    BackbonePlan,
    Batch,
    Family,
    Loss,
    Objective,
    Posterior,
    StepContext,
    deterministic_posterior,
)
from aepipe.models.card_metrics import reconstruction_metrics
from aepipe.models.encoder_decoder import EncoderDecoder
from aepipe.models.latent_space import latent_faults, real_space
from aepipe.models.layers.likelihood import Likelihood
from aepipe.models.layers.noise import normal_like
from aepipe.models.layers.preprocessing import Row
from aepipe.models.losses import linear_ramp

NOISE = 0.1
"""Standard deviation of what is added to active codes in training, and so the unit that their sizes are measured in."""

NEAR_ZERO = NOISE / 10
"""An activation below it is as good as none."""

_ACTIVITY = 0.05
_LEAST_ACTIVITY = 1e-4
_LEAST_STD = 1e-3
_ROWS_TO_CENTRE = 4_096


class Options(FrozenModel):
    """Options of this family in [model]."""

    latent: int | None = Field(
        None, ge=1, description="number of latents; default: twice the columns, at most 64; 64 for images"
    )
    penalty: Literal["l1", "kl"] = Field(
        "l1",
        description="l1: rectified latents with an L1 penalty; kl: latents in (0, 1) whose mean is pulled to "
        "`activity`",
    )
    sparsity: float = Field(1.0, ge=0, description="weight of the penalty in nats; more gives more zeros")
    warm_up: float = Field(
        0.3, ge=0, le=1, description="share of the epochs over which the weight of the penalty rises from 0"
    )
    activity: float = Field(
        _ACTIVITY, gt=0, lt=1, description="target mean activation of each latent, with penalty = kl"
    )


class SparseAutoencoder(EncoderDecoder):
    """Encoder and decoder with deterministic latents that are mostly zero."""

    def __init__(self, layout: Layout, options: Options, backbone: BackbonePlan, likelihood: Likelihood) -> None:
        width = options.latent or (64 if layout.image is not None else min(64, 2 * layout.features))
        super().__init__(layout, _centring(backbone), likelihood, real_space(width), answers=1)
        self.options = options

    def objectives(self) -> tuple[Objective, ...]:
        rate = self.backbone.learning_rate
        warms_up = self.options.warm_up
        return (
            Objective(
                "autoencoder",
                tuple(self.parameters()),
                self._loss,
                learning_rate=rate,
                warms_up=warms_up,
                output_layer=self.output_layer,
            ),
        )

    def posterior(self, row: Row) -> Posterior:
        answer = self.encoder(row).to(row.dense.dtype)
        return deterministic_posterior(torch.relu(answer) if self.options.penalty == "l1" else torch.sigmoid(answer))

    def prior(self) -> None:
        return None

    def card_metrics(self, batch: Batch, generator: torch.Generator) -> Mapping[str, float]:
        z = self.posterior(batch.input).mean
        return {
            **reconstruction_metrics(self, batch),
            "near_zero_share": float((z < NEAR_ZERO).double().mean()),
            "never_active_latents": float((z < NEAR_ZERO).all(0).sum()),
            "mean_activation": float(z.mean()),
        }

    def _loss(self, batch: Batch, context: StepContext) -> Loss:
        z = self.posterior(batch.input).mean
        noisy = z + NOISE * normal_like(z, context.generator) * (z > 0) if self.training else z
        params = self.decode(noisy, batch.input.given)
        nll = self.likelihood.nll(params, batch.target).sum(1).mean()
        if self.options.penalty == "l1":
            penalty = z.sum(1).mean()
        else:
            penalty = activity_kl(z.mean(0), self.options.activity).sum()
        weight = self.options.sparsity * linear_ramp(context.progress, self.options.warm_up)
        terms = {"nll": nll.detach(), "penalty": penalty.detach()}
        return Loss(nll + weight * penalty, terms, self.likelihood.misfit(params, batch.target))


class Centred(nn.Module):
    """Encoder with data-dependent initialisation: its outputs (B, Z) have mean 0 and variance 1 on the first rows.

    Salimans & Kingma 2016, section 3. Otherwise the mean of the rows decides which latents pass the rectifier, and the
    others never learn.
    """

    center: Tensor
    gain: Tensor

    def __init__(self, encoder: nn.Module, outputs: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("center", torch.zeros(outputs))
        self.register_buffer("gain", torch.ones(outputs))

    def forward(self, row: Row) -> Tensor:
        answer: Tensor = (self.encoder(row) - self.center) * self.gain
        return answer

    @torch.no_grad()
    def settle(self, row: Row) -> None:
        """Take the moments of these rows."""
        answers = self.encoder(row)
        self.center.copy_(answers.mean(0))
        self.gain.copy_(1 / answers.std(0, correction=0).clamp(min=_LEAST_STD))


def _centring(backbone: BackbonePlan) -> BackbonePlan:
    """Replace the PCA initialisation of the backbone: the rectifier would cut off half of each component."""

    def encoder(layout: Layout, outputs: int) -> nn.Module:
        return Centred(backbone.encoder(layout, outputs), outputs)

    def start(encoder: nn.Module, decoder: nn.Module, likelihood: Likelihood, rows: Row, wanted: Row) -> None:
        assert isinstance(encoder, Centred)
        encoder.settle(Row(*(part[:_ROWS_TO_CENTRE] for part in rows)))

    return replace(backbone, encoder=encoder, start=start)


def activity_kl(means: Tensor, target: float) -> Tensor:
    """Compute KL(Bernoulli(target) || Bernoulli(mean)) per latent, (Z,), in nats; means (Z,). Ng 2011, section 3."""
    means = means.clamp(_LEAST_ACTIVITY, 1 - _LEAST_ACTIVITY)
    wanted = torch.full_like(means, target)
    return wanted * (wanted / means).log() + (1 - wanted) * ((1 - wanted) / (1 - means)).log()


def _faults(layout: Layout, options: Options) -> Sequence[str]:
    unused = options.activity != _ACTIVITY and options.penalty == "l1"
    return (
        *latent_faults(layout, options),
        *(("activity belongs to penalty = 'kl': omit it, or set that penalty",) if unused else ()),
    )


FAMILY = Family(
    "sparse_ae",
    "many latents with few active per row; may have more latents than columns",
    Options,
    ("mlp", "conv"),
    SparseAutoencoder,
    _faults,
    formula="−log p(x|z) + λ Σⱼ zⱼ, z = max(0, f(x)); or λ Σⱼ KL(ρ ‖ mean of zⱼ) with z = sigmoid(f(x))",
    advice="Prefer it for features that a person reads one at a time, also more features than columns. Not for close "
    "reconstructions with few latents.",
)
