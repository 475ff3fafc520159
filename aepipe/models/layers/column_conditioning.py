"""Conditioning on some columns of a row: a vector of the given columns, and the density of latents given it.

Ivanov, Figurnov & Vetrov 2019 (VAEAC): each training row draws its own random set of given columns.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aepipe.layout import Category

_SPREAD = 0.1
_APART = 0.7
_LEAST_LOG_VAR, _GREATEST_LOG_VAR = -6.0, 3.0


class CodeSum(nn.Module):
    """Map codes (B, C) to the sum of their embeddings (B, width), weighted by `counts` (B, C) if given."""

    offsets: Tensor
    last: Tensor

    def __init__(self, categories: tuple[Category, ...], width: int, *, spread: float) -> None:
        super().__init__()
        sizes = torch.tensor([category.size for category in categories])
        self.table = nn.Parameter(spread * torch.randn(int(sizes.sum()), width))
        self.register_buffer("offsets", sizes.cumsum(0) - sizes, persistent=False)
        self.register_buffer("last", sizes - 1, persistent=False)

    def forward(self, codes: Tensor, counts: Tensor | None = None) -> Tensor:
        at = torch.minimum(codes.clamp(min=0), self.last) + self.offsets
        if self.training:  # five times faster, but cannot be exported to ONNX
            return F.embedding_bag(at, self.table, mode="sum", per_sample_weights=counts)
        rows = F.embedding(at, self.table)
        return (rows if counts is None else rows * counts.unsqueeze(2)).sum(1)


class PartialEncoder(nn.Module):
    """Map codes (B, C) and a mask (B, C) of the given ones to a vector (B, width); 0 if none is given."""

    def __init__(self, categories: tuple[Category, ...], width: int) -> None:
        super().__init__()
        self.codes = CodeSum(categories, width, spread=_SPREAD)
        self.flags = nn.Linear(len(categories), width, bias=False)

    def forward(self, codes: Tensor, is_given: Tensor) -> Tensor:
        return torch.relu(self.codes(codes, is_given) + self.flags(is_given))


class GivenLatents(nn.Module):
    """Density of latents given some columns: a mixture whose parameters depend on the vector of the given columns.

    Bishop 1994 (mixture density networks); diagonal Gaussians.
    """

    def __init__(self, width: int, latents: int, *, components: int = 8) -> None:
        super().__init__()
        self.split = (components, components * latents, components * latents)
        self.shape = (-1, components, latents)
        last = nn.Linear(width, sum(self.split))
        nn.init.normal_(last.bias, std=_APART)  # components that start equal stay equal
        self.answer = nn.Sequential(nn.Linear(width, width), nn.ReLU(), last)

    def nll(self, z: Tensor, given: Tensor) -> Tensor:
        """Return -log p(z) given the vector, (B,) in nats."""
        log_weights, mean, log_var = self._mixture(given)
        squares = (z.unsqueeze(1) - mean).square() * (-log_var).exp() + log_var + math.log(2 * math.pi)
        return -torch.logsumexp(log_weights - 0.5 * squares.sum(2), 1)

    def draw(self, given: Tensor, eps: Tensor, uniform: Tensor) -> Tensor:
        """Draw latents (B, Z): the component by uniform (B, 1), then from it by standard normal eps (B, Z)."""
        log_weights, mean, log_var = self._mixture(given)
        ends = log_weights.exp().cumsum(1)
        component = (uniform >= ends[:, :-1]).to(torch.int64).sum(1)
        is_drawn = torch.arange(self.split[0], device=given.device) == component.unsqueeze(1)
        return ((mean + eps.unsqueeze(1) * (0.5 * log_var).exp()) * is_drawn.unsqueeze(2)).sum(1)

    def _mixture(self, given: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return log weights (B, K), means and log variances (B, K, Z)."""
        weights, mean, log_var = self.answer(given).split(self.split, dim=1)
        limited = log_var.reshape(self.shape).clamp(_LEAST_LOG_VAR, _GREATEST_LOG_VAR)
        return weights.log_softmax(1), mean.reshape(self.shape), limited


class Start(nn.Module):
    """Start state of autoregressive columns: map latents (B, Z) and the vector of given columns (B, H) to (B, H)."""

    def __init__(self, latents: int, width: int) -> None:
        super().__init__()
        self.latents = nn.Linear(latents, width)
        self.of_given = nn.Linear(width, width, bias=False)
        self.answer = nn.Linear(width, width)
        self.directly = nn.Linear(width, width, bias=False)

    def forward(self, z: Tensor, given: Tensor | None) -> Tensor:
        inner = self.latents(z) if given is None else self.latents(z) + self.of_given(given)
        answer: Tensor = self.answer(torch.relu(inner))
        return answer if given is None else answer + self.directly(given)
