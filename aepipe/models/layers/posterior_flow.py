"""Normalising flows that turn the Gaussian posterior of a row into a more flexible one.

Planar steps: Rezende & Mohamed 2015; inverse autoregressive steps: Kingma et al. 2016 (IAF). Every step starts as the
identity, so that training begins with the Gaussian.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_LEAST_SQUARE = 1e-6
_GREATEST_LOG_SCALE = 2.0


class Flowed(NamedTuple):
    """Latents after a flow."""

    z: Tensor
    """(B, Z)"""
    log_det: Tensor
    """(B,) log of the absolute determinant of dz / dz0"""


class PosteriorFlow(nn.Module, ABC):
    """Invertible map of latents z0 (B, Z), given the context (B, Z) of their rows; subclasses are final."""

    @abstractmethod
    def forward(self, z0: Tensor, context: Tensor) -> Flowed:
        """Return the transformed latents and their log determinant."""


class PlanarFlow(PosteriorFlow):
    """Steps z + u tanh(w z + b), whose u, w and b are linear in the context."""

    def __init__(self, latents: int, steps: int) -> None:
        super().__init__()
        self.latents = latents
        linear = [nn.Linear(latents, 2 * latents + 1) for _ in range(steps)]
        self.steps = nn.ModuleList(linear)
        for step in linear:  # u = 0 is the identity
            nn.init.zeros_(step.weight[:latents])
            nn.init.zeros_(step.bias[:latents])
            nn.init.normal_(step.bias[latents:])

    def forward(self, z0: Tensor, context: Tensor) -> Flowed:
        z, log_det = z0, torch.zeros_like(z0[:, 0])
        for step in self.steps:
            u, w, b = step(context).split([self.latents, self.latents, 1], dim=1)
            inner = (w * u).sum(1, keepdim=True)
            # w u > -1 keeps the step invertible (Rezende & Mohamed 2015, appendix A.1); this form leaves u = 0 alone.
            allowed = F.softplus(inner + torch.log(torch.expm1(inner.new_ones(())))) - 1
            u = u + (allowed - inner) * w / w.square().sum(1, keepdim=True).clamp(min=_LEAST_SQUARE)
            bend = torch.tanh((w * z).sum(1, keepdim=True) + b)
            stretch = 1 + (1 - bend.square()) * (w * u).sum(1, keepdim=True)
            z, log_det = z + u * bend, log_det + torch.log(stretch.squeeze(1).clamp(min=_LEAST_SQUARE))
        return Flowed(z, log_det)


class AutoregressiveFlow(PosteriorFlow):
    """Steps exp(s) z + m, whose s and m of a latent depend on the latents before it; the order alternates."""

    def __init__(self, latents: int, steps: int) -> None:
        super().__init__()
        self.steps = nn.ModuleList(_AutoregressiveStep(latents) for _ in range(steps))

    def forward(self, z0: Tensor, context: Tensor) -> Flowed:
        z, log_det = z0, torch.zeros_like(z0[:, 0])
        for step in self.steps:
            shift, log_scale = step(z, context)
            z, log_det = (torch.exp(log_scale) * z + shift).flip(1), log_det + log_scale.sum(1)
        return Flowed(z if len(self.steps) % 2 == 0 else z.flip(1), log_det)


class _AutoregressiveStep(nn.Module):
    """Masked network with one hidden layer: z and context (B, Z) to shift and log scale (B, Z)."""

    into_hidden: Tensor
    into_outputs: Tensor

    def __init__(self, latents: int) -> None:
        super().__init__()
        width = max(32, 4 * latents)
        self.hidden = nn.Linear(latents, width)
        self.context = nn.Linear(latents, width, bias=False)
        self.outputs = nn.Linear(width, 2 * latents)
        self.direct = nn.Linear(latents, 2 * latents, bias=False)
        for layer in (self.outputs, self.direct):  # the identity at the start
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)
        places, degrees = torch.arange(latents), torch.arange(width) % latents
        self.register_buffer("into_hidden", (degrees[:, None] >= places + 1).float(), persistent=False)
        self.register_buffer("into_outputs", (places.repeat(2)[:, None] >= degrees).float(), persistent=False)

    def forward(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        hidden = F.elu(F.linear(z, self.hidden.weight * self.into_hidden, self.hidden.bias) + self.context(context))
        answer = F.linear(hidden, self.outputs.weight * self.into_outputs, self.outputs.bias) + self.direct(context)
        shift, log_scale = answer.chunk(2, dim=1)
        return shift, _GREATEST_LOG_SCALE * torch.tanh(log_scale / _GREATEST_LOG_SCALE)


def make_flow(kind: str, latents: int, steps: int) -> PosteriorFlow | None:
    """Build a flow, "planar" or "iaf"; None for "gaussian"."""
    return {"planar": PlanarFlow, "iaf": AutoregressiveFlow}[kind](latents, steps) if kind != "gaussian" else None
