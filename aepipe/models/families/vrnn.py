"""Variational recurrent neural network: latents per step with a prior conditioned on the previous steps.

Chung, Kastner, Dinh, Goel, Courville & Bengio 2015. A step is one of a series window, or a row of an image. Scoring
feeds the observed steps back (teacher forcing); decoding feeds back the means of the network's own outputs.
"""

import math
from collections.abc import Iterable, Mapping

import torch
from pydantic import Field
from torch import Tensor, nn

from aepipe.frozen import FrozenModel
from aepipe.layout import LatentSpace, Layout, Port
from aepipe.models.backbones.recurrent import Options as RecurrentOptions
from aepipe.models.backbones.recurrent import state_width
from aepipe.models.base import (
    BackbonePlan,
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
from aepipe.models.card_metrics import ACTIVE_NATS, importance_weighted, reconstruction_metrics
from aepipe.models.export_parts import preprocessed, standard_parts
from aepipe.models.layers.gaussian import kl_between
from aepipe.models.layers.likelihood import Likelihood
from aepipe.models.layers.noise import normal_like
from aepipe.models.layers.preprocessing import Row
from aepipe.models.layers.prior import Prior
from aepipe.models.layers.sequence import Reading, Sequence, in_steps, laid_out, mean_of, step_width
from aepipe.models.layers.vrnn_cell import VrnnCell, VrnnOutput
from aepipe.models.losses import gaussian_nll, linear_ramp

_MOST_A_STEP = 256
_LEAST_COUNT = 0.5  # of a length that no training row has


class Options(FrozenModel):
    """Options of this family in [model]."""

    latent: int | None = Field(
        None, ge=1, description="latents per step; default: twice the channels, 2 to 8; 16 for images"
    )
    warm_up: float = Field(
        0.1, ge=0, le=1, description="share of the epochs over which the weight of the KL rises from 0 to 1"
    )
    stochastic: bool = Field(True, description="false: hold the latents at 0, for comparison")


class VariationalRecurrentNetwork(Model):
    """Recurrence over the steps of a row that predicts each step from its latents and the previous steps."""

    def __init__(self, layout: Layout, options: Options, backbone: BackbonePlan, likelihood: Likelihood) -> None:
        super().__init__(layout, likelihood)
        self.options, self.rate = options, backbone.learning_rate
        self.reading = Reading(layout)
        self.network = VrnnCell(
            width=self.reading.width,
            latents=options.latent or (16 if layout.image is not None else min(8, max(2, 2 * step_width(layout)))),
            state=state_width(layout, backbone.options or RecurrentOptions()),
            outputs=step_width(layout),
            is_stochastic=options.stochastic,
        )
        lengths = likelihood.width - self.reading.steps * step_width(layout)
        self.length = nn.Parameter(torch.zeros(lengths)) if lengths else None
        steps, latents, state = self.reading.steps, self.network.latents, self.network.state
        self.space = LatentSpace(
            names=tuple(f"z_{step:03d}_{index:03d}" for step in range(steps) for index in range(latents)),
            pooled=(*(f"z_{index:03d}" for index in range(latents)), *(f"h_{index:03d}" for index in range(state))),
            is_written=False,
        )

    @property
    def latent(self) -> LatentSpace:
        return self.space

    def objectives(self) -> tuple[Objective, ...]:
        parameters = tuple(self.parameters())
        return (Objective("vrnn", parameters, self._loss, learning_rate=self.rate, warms_up=self.options.warm_up),)

    def posterior(self, row: Row) -> Posterior:
        return self.reconstruct(row).posterior

    def decode(self, z: Tensor, given: Tensor) -> Tensor:
        return self._params(self._generated(z, as_noise=False)[1])

    def reconstruct(self, row: Row) -> Reconstruction:
        sequence = self.reading(row)
        output: VrnnOutput = self.network(sequence, None)
        pooled = torch.cat([mean_of(output.z, sequence.valid), output.state], 1)
        mean, log_var, kl = (
            _by_row(each * sequence.valid) for each in (output.z, output.own.log_var, self._kl(output))
        )
        return Reconstruction(Posterior(mean, log_var, kl, pooled), self._params(output.outputs))

    def prior(self) -> Prior:
        return StepPrior(self)

    @torch.no_grad()
    def prepare(self, batch: Batch) -> None:
        if self.length is not None:
            counts = torch.bincount(batch.target.codes[:, 0], minlength=len(self.length)) + _LEAST_COUNT
            self.length.copy_((counts / counts.sum()).log())

    def parts(self) -> tuple[Part, ...]:
        losses = Port("losses", "float32", (self.reading.steps,))
        return (*standard_parts(self), Part("steps", StepLosses(self), self.layout.encoded_ports, (losses,)))

    def card_metrics(self, batch: Batch, generator: torch.Generator) -> Mapping[str, float]:
        nll, kl, _ = self._drawn(batch, generator)
        by_step = self.reconstruct(batch.input).posterior.kl.reshape(-1, self.reading.steps, self.network.latents)
        by_latent = by_step.sum(1).mean(0)
        return {
            **reconstruction_metrics(self, batch),
            "elbo": -float((nll + kl).mean()),
            "kl": float(kl.mean()),
            "active_latents": float((by_latent > ACTIVE_NATS).sum()),
            "log_likelihood": float(self.importance_weighted(batch, generator).mean()),
        }

    def importance_weighted(self, batch: Batch, generator: torch.Generator, *, draws: int = 16) -> Tensor:
        """Compute the importance-weighted lower bound of log p(row), (B,) in nats, from draws of whole sequences."""
        return importance_weighted(lambda: self._drawn(batch, generator)[2], draws=draws)

    def step_losses(self, row: Row) -> Tensor:
        """Compute the negative ELBO per step at the posterior mean, (B, T) in nats; NaN beyond the end of a row."""
        posterior, params = self.reconstruct(row)
        steps, width = self.reading.steps, step_width(self.layout)
        nll = self.likelihood.nll(params, row)[:, : steps * width]
        kl = posterior.kl.reshape(-1, steps, self.network.latents).sum(2)
        valid = self.reading(row).valid.squeeze(2).T
        losses = in_steps(self.layout, nll).sum(2).T + kl
        return torch.where(valid > 0, losses, torch.full_like(losses, math.nan))

    def generate(self, eps: Tensor) -> Tensor:
        """Draw latents (B, T * Z) step by step from the learned prior, with noise eps (B, T, Z)."""
        return _by_row(self._generated(eps.flatten(1), as_noise=True)[0])

    def _loss(self, batch: Batch, context: StepContext) -> Loss:
        sequence = self.reading(batch.input)
        output: VrnnOutput = self.network(sequence, self._noise(sequence, context.generator))
        params = self._params(output.outputs)
        nll = self.likelihood.nll(params, batch.target).sum(1).mean()
        kl = (self._kl(output) * sequence.valid).sum((0, 2)).mean()
        total = nll + linear_ramp(context.progress, self.options.warm_up) * kl
        terms = {"nll": nll.detach(), "kl": kl.detach()}
        return Loss(total, terms, self.likelihood.misfit(params, batch.target))

    def _drawn(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draw latents once; return -log p(x|z), the KL summed over steps and log p(x,z)/q(z|x), (B,) each in nats.

        The KL of a step is exact given the drawn latents of the previous steps.
        """
        sequence = self.reading(batch.input)
        noise = self._noise(sequence, generator)
        output: VrnnOutput = self.network(sequence, noise)
        nll = self.likelihood.nll(self._params(output.outputs), batch.target).sum(1)
        kl = (self._kl(output) * sequence.valid).sum((0, 2))
        if not self.options.stochastic:
            return nll, kl, -nll
        own = gaussian_nll(output.z - output.own.mean, 0.5 * output.own.log_var)
        prior = gaussian_nll(output.z - output.prior.mean, 0.5 * output.prior.log_var)
        return nll, kl, ((own - prior) * sequence.valid).sum((0, 2)) - nll

    def _kl(self, output: VrnnOutput) -> Tensor:
        """Return the KL per step and latent, (T, B, Z)."""
        return kl_between(output.own, output.prior) if self.options.stochastic else torch.zeros_like(output.z)

    def _noise(self, sequence: Sequence, generator: torch.Generator) -> Tensor:
        return normal_like(sequence.valid.expand(-1, -1, self.network.latents), generator)

    def _generated(self, latents: Tensor, *, as_noise: bool) -> tuple[Tensor, Tensor]:
        steps = latents.reshape(-1, self.reading.steps, self.network.latents).transpose(0, 1)

        def as_input(outputs: Tensor) -> Tensor:  # from a predicted step (B, V) to the next input (B, W)
            return self.reading.again(outputs if self.likelihood.linear else torch.sigmoid(outputs))

        return self.network.generate(steps, as_input, as_noise=as_noise)

    def _params(self, outputs: Tensor) -> Tensor:
        params = laid_out(self.layout, outputs)
        return params if self.length is None else torch.cat([params, self.length.expand(params.shape[0], -1)], 1)


class StepPrior(Prior):
    """Noise eps (B, T, Z) to latents z (B, T * Z), each step drawn given the previous ones."""

    def __init__(self, model: VariationalRecurrentNetwork) -> None:
        super().__init__()
        self.model = model

    @property
    def noise(self) -> tuple[Port, ...]:
        return (Port("eps", "float32", (self.model.reading.steps, self.model.network.latents), "normal"),)

    def forward(self, eps: Tensor) -> Tensor:
        return self.model.generate(eps)


class StepLosses(nn.Module):
    """Row tensors to the loss per step, (B, T) in nats; NaN beyond the end of a row."""

    def __init__(self, model: VariationalRecurrentNetwork) -> None:
        super().__init__()
        self.model = model

    def forward(self, *row: Tensor) -> Tensor:
        return self.model.step_losses(preprocessed(self.model, row))


def _by_row(steps: Tensor) -> Tensor:
    """Reshape (T, B, Z) to (B, T * Z)."""
    return steps.transpose(0, 1).flatten(1)


def _faults(layout: Layout, options: Options) -> Iterable[str]:
    latent = options.latent
    if latent is not None and latent > _MOST_A_STEP:
        yield f"latent = {latent} is too wide: expected at most {_MOST_A_STEP} per step"
    if layout.target is not None:
        yield "family 'vrnn' feeds its output back as input: it cannot reconstruct a target column"


FAMILY = Family(
    "vrnn",
    "latents at every step of a sequence, with a learned prior given the steps before",
    Options,
    ("recurrent",),
    VariationalRecurrentNetwork,
    lambda layout, options: tuple(_faults(layout, options)),
    takes_texts=False,
    formula="Σₜ −E[log p(xₜ|x₁, …, xₜ₋₁, z₁, …, zₜ)] + KL(q(zₜ|x₁, …, xₜ, z₁, …, zₜ₋₁) ‖ p(zₜ|x₁, …, xₜ₋₁, z₁, …, "
    "zₜ₋₁))",
    advice="Prefer it for scores per step and for windows sampled step by step. Not for long windows on a tight "
    "budget: a step depends on the one before it.",
)
