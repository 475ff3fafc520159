"""Noise on the input rows of a denoising model; its targets stay clean.

Vincent et al. 2010 (Gaussian, masking, salt and pepper). Swap noise suits tables best: it keeps the distribution of
each column.
"""

from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from aepipe.frozen import FrozenModel
from aepipe.layout import MISSING, Layout
from aepipe.models.layers.noise import normal_like
from aepipe.models.layers.preprocessing import Row

PEPPER, SALT = -3.0, 3.0
"""Values of a number under salt-and-pepper noise, in its standard deviations; a pixel becomes black or white."""

_AMOUNTS = {"gaussian": 0.3, "masking": 0.2, "swap": 0.15, "salt_and_pepper": 0.1}
_IMAGE_AMOUNTS = {"gaussian": 0.2, "masking": 0.3, "swap": 0.15, "salt_and_pepper": 0.15}


class CorruptionOptions(FrozenModel):
    """Keys of [model] that every trained family takes."""

    corruption: Literal["none", "gaussian", "masking", "swap", "salt_and_pepper"] = Field(
        "none", description="noise on the inputs of the encoder in training; the reconstruction targets stay clean"
    )
    corruption_amount: float | None = Field(
        None,
        gt=0,
        le=1,
        description="standard deviation of gaussian noise, relative to that of the column or to the greatest pixel; "
        "for other noise, the share of the cells; default: depends on the kind of noise",
    )


def corruption_faults(layout: Layout, options: CorruptionOptions) -> Iterator[str]:
    """Yield a sentence for each option that does not fit this layout."""
    kind = options.corruption
    if kind == "none" and options.corruption_amount is not None:
        yield "corruption_amount needs a corruption: set gaussian, masking, swap or salt_and_pepper"
    has_reals = not layout.has_cells or bool(layout.numbers)
    if kind in ("gaussian", "salt_and_pepper") and not has_reals:
        what = "text" if layout.texts else "a category"
        yield f"corruption = '{kind}' changes numbers, but every column is {what}: use masking or swap"


class Corruption(nn.Module):
    """Add noise to rows. `given` does not change, and missing cells stay missing.

    The noise of each cell is independent; a cell is a number with its missing flag, a code, or a pixel.
    """

    def __init__(self, options: CorruptionOptions) -> None:
        super().__init__()
        self.options = options

    def forward(self, row: Row, generator: torch.Generator) -> Row:
        if self.options.corruption == "none":
            return row
        is_image = row.dense.dim() == 4
        amount = self.options.corruption_amount or (_IMAGE_AMOUNTS if is_image else _AMOUNTS)[self.options.corruption]
        match self.options.corruption:
            case "gaussian":
                return _gaussian(row, amount, generator)
            case "masking":
                return _masking(row, amount, generator)
            case "swap":
                return _swap(row, amount, generator)
            case _:
                return _salt_and_pepper(row, amount, generator)


def _gaussian(row: Row, std: float, generator: torch.Generator) -> Row:
    """Add normal noise to numbers and pixels; pixels stay within [0, 1], codes do not change."""
    like = row.dense
    noisy = like + std * normal_like(like, generator) * row.observed
    return row._replace(dense=noisy.clamp(0, 1) if like.dim() == 4 else noisy)


def _masking(row: Row, share: float, generator: torch.Generator) -> Row:
    """Mask this share of the cells: a number is unobserved and 0, its mean; a pixel is black."""
    kept = (_uniform(row.dense, generator) >= share).to(row.dense.dtype)
    masked = _uniform(row.codes, generator) < share
    codes = row.codes if _is_series(row) else row.codes.masked_fill(masked, MISSING)
    return row._replace(dense=row.dense * kept, observed=row.observed * kept, codes=codes)


def _swap(row: Row, share: float, generator: torch.Generator) -> Row:
    """Replace this share of the cells by the cell of another row in the same column, missing or not."""
    hit = (_uniform(row.dense, generator) < share) & (row.observed > 0)
    donors = _donors(row.dense, generator)
    dense = torch.where(hit, row.dense.gather(0, donors), row.dense)
    observed = torch.where(hit, row.observed.gather(0, donors), row.observed)
    hit = (_uniform(row.codes, generator) < share) & (row.codes != MISSING)
    codes = torch.where(hit, row.codes.gather(0, _donors(row.codes, generator)), row.codes)
    codes = row.codes if _is_series(row) else codes
    return row._replace(dense=dense, observed=observed, codes=codes)


def _salt_and_pepper(row: Row, share: float, generator: torch.Generator) -> Row:
    """Make half of this share of numbers and pixels very small, the other half very large; codes do not change."""
    pepper, salt = (0.0, 1.0) if row.dense.dim() == 4 else (PEPPER, SALT)
    u = _uniform(row.dense, generator)
    seen = row.observed > 0
    dense = row.dense.masked_fill((u < share / 2) & seen, pepper).masked_fill((u >= 1 - share / 2) & seen, salt)
    return row._replace(dense=dense)


def _uniform(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(like.shape, generator=generator, device=like.device)


def _donors(like: Tensor, generator: torch.Generator) -> Tensor:
    """Draw for each cell (B, ...) the index of another row; its own if there is no other."""
    rows = len(like)
    step = torch.randint(1, max(2, rows), like.shape, generator=generator, device=like.device)
    own = torch.arange(rows, device=like.device).reshape(-1, *(1,) * (like.dim() - 1))
    return (own + step) % max(1, rows)


def _is_series(row: Row) -> bool:
    """Tell whether the row is a series, whose only code is its length and never corrupted."""
    return row.dense.dim() == 3
