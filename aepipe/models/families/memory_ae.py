"""Memory-augmented autoencoder: the decoder sees only combinations of learned prototypes of normal rows.

An autoencoder may reconstruct anomalies well. Gong et al. 2019 (MemAE) replace the code by a sparse, convex combination
of memory items, so that a row unlike all items is reconstructed as a normal one.
"""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from aepipe.frozen import FrozenModel
from aepipe.layout import Layout
from aepipe.models.base import BackbonePlan, Batch, Family, Loss, Posterior, StepContext, deterministic_posterior
from aepipe.models.card_metrics import reconstruction_metrics
from aepipe.models.encoder_decoder import DeterministicEncoderDecoder
from aepipe.models.latent_space import LatentWidth, latent_faults, latents_for
from aepipe.models.layers.likelihood import Likelihood
from aepipe.models.layers.preprocessing import Row

_LEAST_WEIGHT = 1e-12


class Options(FrozenModel):
    """Options of this family in [model]."""

    latent: LatentWidth = None
    items: int = Field(100, ge=2, le=4_096, description="number of memory items")
    shrink: float = Field(
        1.0, ge=0, lt=2, description="weights below this multiple of 1 / items are set to 0; 1 to 3 in the paper"
    )
    entropy: float = Field(0.01, ge=0, description="weight of the entropy of a row's weights, in nats")
    sharpness: float = Field(10.0, gt=0, description="factor of the cosine similarity before the softmax")


class Memory(nn.Module):
    """Addressing of memory items by cosine similarity, with hard shrinkage: codes (B, Z) to codes (B, Z)."""

    def __init__(self, items: int, latents: int, *, shrink: float, sharpness: float) -> None:
        super().__init__()
        self.items = nn.Parameter(torch.randn(items, latents))
        self.threshold = shrink / items
        self.sharpness = sharpness

    def weigh(self, codes: Tensor) -> Tensor:
        """Return the weights of the items, (B, items), which add up to 1. Gong et al. 2019, equations 4 to 7."""
        similarity = F.normalize(codes, dim=1) @ F.normalize(self.items, dim=1).T
        weights = torch.softmax(self.sharpness * similarity, 1)
        above = weights - self.threshold
        kept = torch.relu(above) * weights / (above.abs() + _LEAST_WEIGHT)
        return kept / kept.sum(1, keepdim=True).clamp(min=_LEAST_WEIGHT)

    def forward(self, codes: Tensor) -> Tensor:
        return self.weigh(codes) @ self.items


class MemoryAutoencoder(DeterministicEncoderDecoder):
    """Encoder, memory and decoder; the latents are the combinations of memory items."""

    def __init__(self, layout: Layout, options: Options, backbone: BackbonePlan, likelihood: Likelihood) -> None:
        latents = latents_for(layout, options.latent)
        super().__init__(layout, backbone, likelihood, latents)
        self.options = options
        self.memory = Memory(options.items, latents, shrink=options.shrink, sharpness=options.sharpness)

    @torch.no_grad()
    def prepare(self, batch: Batch) -> None:
        """Initialise the networks, and the memory with the codes of rows that lie evenly apart."""
        super().prepare(batch)
        codes = self.encoder(batch.input).float()
        items = self.memory.items
        places = torch.linspace(0, len(codes) - 1, len(items), device=codes.device).round().long()
        items.copy_(codes[places] + 0.01 * items * codes.std(0, correction=0))

    def posterior(self, row: Row) -> Posterior:
        return deterministic_posterior(self.memory(self.encoder(row).to(row.dense.dtype)))

    def card_metrics(self, batch: Batch, generator: torch.Generator) -> Mapping[str, float]:
        weights = self.memory.weigh(self.encoder(batch.input).to(batch.input.dense.dtype))
        used = float((weights > 0).any(0).sum())
        return {
            **reconstruction_metrics(self, batch),
            "items_used": used,
            "items_per_row": float((weights > 0).sum(1).double().mean()),
            "entropy": float(_entropy(weights)) / math.log(len(self.memory.items)),
        }

    def loss(self, batch: Batch, context: StepContext) -> Loss:
        """Return equation 10 of Gong et al. 2019, with the negative log-likelihood as reconstruction error."""
        weights = self.memory.weigh(self.encoder(batch.input).to(batch.input.dense.dtype))
        params = self.decode(weights @ self.memory.items, batch.input.given)
        nll = self.likelihood.nll(params, batch.target).sum(1).mean()
        entropy = _entropy(weights)
        terms = {"nll": nll.detach(), "entropy": entropy.detach()}
        return Loss(nll + self.options.entropy * entropy, terms, self.likelihood.misfit(params, batch.target))


def _entropy(weights: Tensor) -> Tensor:
    """Compute the mean entropy of weights (B, items), in nats, a scalar."""
    return -(weights * weights.clamp(min=_LEAST_WEIGHT).log()).sum(1).mean()


FAMILY = Family(
    "memory_ae",
    "a code mixed from learned prototypes of normal rows, so that anomalies are reconstructed badly",
    Options,
    ("mlp", "conv"),
    MemoryAutoencoder,
    latent_faults,
    formula="−log p(x|Σᵢ wᵢ mᵢ) + λ H(w), w = softmax(s cos(f(x), mᵢ)) without its small weights, m the memory items",
    advice="Prefer it with the head `reconstruction` on clean data, where an `ae` rebuilds anomalies too: AUROC was "
    "higher in 2 of 5 tables, and .016 on average. Not for features: combinations of prototypes lose what makes a row "
    "different.",
)
