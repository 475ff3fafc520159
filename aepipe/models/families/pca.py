"""Principal component analysis: the optimal linear code in closed form, the baseline of all families.

Numbers, missing flags, one-hot codes or pixels form one vector; Jolliffe 2002. Latents have unit variance on the
training rows.
"""

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor

from aepipe.frozen import FrozenModel
from aepipe.layout import LatentSpace, Layout
from aepipe.models.base import Batch, Family, Model, Objective, Part, Posterior, deterministic_posterior
from aepipe.models.card_metrics import reconstruction_metrics
from aepipe.models.export_parts import standard_parts
from aepipe.models.latent_space import bottleneck_faults, latents_for, real_space
from aepipe.models.layers.likelihood import Likelihood
from aepipe.models.layers.pca_init import LEAST_SHARE
from aepipe.models.layers.preprocessing import Row


class Options(FrozenModel):
    """Options of this family in [model]."""

    latent: int | None = Field(
        None, ge=1, description="number of components; default: a quarter of the columns, 16 for images"
    )


class PrincipalComponents(Model):
    """Orthogonal projection and its transpose."""

    center: Tensor
    components: Tensor
    spread: Tensor

    def __init__(self, layout: Layout, options: Options, likelihood: Likelihood) -> None:
        super().__init__(layout, likelihood)
        self.space = real_space(latents_for(layout, options.latent))
        self.register_buffer("center", torch.zeros(likelihood.width))
        self.register_buffer("components", torch.zeros(len(self.space.names), likelihood.width))
        self.register_buffer("spread", torch.ones(len(self.space.names)))

    @property
    def latent(self) -> LatentSpace:
        return self.space

    def prior(self) -> None:
        return None

    def objectives(self) -> tuple[Objective, ...]:
        return ()

    @torch.no_grad()
    def prepare(self, batch: Batch) -> None:
        targets = self.likelihood.targets(batch.input).double()
        center = targets.mean(0)
        variances, directions = torch.linalg.eigh((targets - center).T @ (targets - center) / len(targets))
        latents = len(self.space.names)
        # A direction of less variance is not scaled up to one: float32 would show as noise.
        largest = variances.flip(0)[:latents].clamp(min=max(1e-12, LEAST_SHARE * float(variances[-1])))
        self.center.copy_(center)
        components = directions.flip(1)[:, :latents].T
        # The largest entry of each direction is positive, so that the signs are the same on all machines.
        largest_entry = components.gather(1, components.abs().argmax(1, keepdim=True))
        self.components.copy_(components * torch.where(largest_entry < 0, -1.0, 1.0))
        self.spread.copy_(largest.sqrt())
        self.likelihood.sigma.settle(self.likelihood.misfit(self.reconstruct(batch.input).params, batch.target))

    def posterior(self, row: Row) -> Posterior:
        centered = self.likelihood.targets(row) - self.center
        return deterministic_posterior(centered @ self.components.T / self.spread)

    def decode(self, z: Tensor, given: Tensor) -> Tensor:
        return self.likelihood.params_of((z * self.spread) @ self.components + self.center)

    def parts(self) -> tuple[Part, ...]:
        return standard_parts(self)

    def card_metrics(self, batch: Batch, generator: torch.Generator) -> dict[str, float]:
        return reconstruction_metrics(self, batch)


def _faults(layout: Layout, options: Options) -> Sequence[str]:
    if layout.target is not None:
        return ("family 'pca' cannot reconstruct a target column: use another family",)
    return bottleneck_faults(layout, options)


FAMILY = Family(
    "pca",
    "principal components, in closed form",
    Options,
    (),
    lambda layout, options, _, likelihood: PrincipalComponents(layout, options, likelihood),
    _faults,
    formula="x̂ = μ + W Wᵀ (x − μ), the columns of W the leading eigenvectors of the covariance of x",
    advice="Prefer it as the baseline, and where columns depend on each other linearly: it needs no training. Not "
    "for curves and groups.",
)
