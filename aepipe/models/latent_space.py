"""Latent space: default size, names, sampling."""

from collections.abc import Sequence
from typing import Annotated, Protocol, TypeAlias

import torch
from pydantic import Field
from torch import Tensor

from aepipe.layout import LatentSpace, Layout
from aepipe.models.base import Posterior
from aepipe.models.layers.noise import normal_like
from aepipe.models.losses import kl_by_dimension

LatentWidth: TypeAlias = Annotated[
    int | None,
    Field(
        ge=1,
        description="number of latents; default: a quarter of the columns, 16 for images, 8 with texts, and for `ae` "
        "with texts one per token, 8 to 32",
    ),
]
"""Option `latent` of most families, passed to `latents_for`."""

MOST = 4096
TEXT_LATENTS = 8
"""Default with texts: free bits of more latents than are used cost perplexity."""
MOST_TEXT_LATENTS = 32
"""The greatest default of autoencoders with texts."""
_LEAST_LOG_VAR, _GREATEST_LOG_VAR = -14.0, 10.0  # beyond, exp() leaves what bfloat16 and float32 sums can tell apart


def latents_for(layout: Layout, asked: int | None) -> int:
    """Return the requested number of latents; default: a quarter of the columns, 16 for most images, 8 with texts.

    >>> latents_for(Layout(columns=("a",)), 3)
    3
    """
    if asked is not None:
        return asked
    if layout.image is not None:
        return min(16 if layout.features <= 4_096 else 32, max(2, layout.features // 4))
    if layout.kind == "text":
        return TEXT_LATENTS
    return min(16, max(2, round(layout.features / 4)), max(1, layout.features - 1))


def bottleneck_for(layout: Layout, asked: int | None) -> int:
    """Return the requested number of latents of an autoencoder; default: as `latents_for`, with texts one per token.

    Latents that no prior holds in place cost nothing, and long texts need more of them: 8 to 32.
    """
    if asked is not None or layout.kind != "text":
        return latents_for(layout, asked)
    return min(MOST_TEXT_LATENTS, max(TEXT_LATENTS, sum(text.length for text in layout.texts)))


class HasLatent(Protocol):
    """Options with a number of latents; None for the default."""

    @property
    def latent(self) -> int | None: ...


def latent_faults(layout: Layout, options: HasLatent) -> Sequence[str]:
    """Return a message if there are more latents than any family supports."""
    return too_wide(layout, options.latent, most=MOST)


def bottleneck_faults(layout: Layout, options: HasLatent) -> Sequence[str]:
    """Return a message if there are more latents than features of a row."""
    return too_wide(layout, options.latent, most=layout.features)


def too_wide(layout: Layout, asked: int | None, *, most: int) -> Sequence[str]:
    """Return a message if there are more than `most` latents."""
    if asked is None or asked <= most:
        return ()
    what = "pixels" if layout.image is not None else "columns"
    limit = f"{most}, the {what} of a row" if most == layout.features else f"{most}"
    return (f"latent = {asked} is too wide: expected at most {limit}",)


def real_space(latents: int) -> LatentSpace:
    """Build a space of real latents named `z_000` and on."""
    return LatentSpace(names=tuple(f"z_{index:03d}" for index in range(latents)))


def split_gaussian(answer: Tensor, dtype: torch.dtype) -> Posterior:
    """Split an encoder output (B, 2Z) into mean and log-variance, cast back from autocast types."""
    mean, log_var = answer.to(dtype).chunk(2, dim=1)
    log_var = log_var.clamp(_LEAST_LOG_VAR, _GREATEST_LOG_VAR)
    return Posterior(mean, log_var, kl_by_dimension(mean, log_var), mean[:, :0])


def draw_from(posterior: Posterior, generator: torch.Generator) -> Tensor:
    """Draw one reparametrised sample per row, (B, Z); the mean if the posterior is deterministic."""
    if posterior.log_var is None:
        return posterior.mean
    mean = posterior.mean
    return mean + normal_like(mean, generator) * torch.exp(0.5 * posterior.log_var)
