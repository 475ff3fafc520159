"""Masked autoencoder: hides cells of a row, and learns to predict them from the others.

He et al. 2022 for images, in patches; Devlin et al. 2019 for codes. The share of hidden cells varies from row to row,
so that the model knows rows without gaps and rows of many gaps.
"""

from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from aepipe.frozen import FrozenModel
from aepipe.layout import MISSING, Layout
from aepipe.models.base import BackbonePlan, Batch, Family, Loss, StepContext
from aepipe.models.card_metrics import reconstruction_metrics
from aepipe.models.encoder_decoder import DeterministicEncoderDecoder
from aepipe.models.latent_space import latent_faults, latents_for
from aepipe.models.layers.likelihood import Likelihood, Residual
from aepipe.models.layers.preprocessing import Row

_SEED = 0
_PER_COLUMN, _MOST_LATENTS = 2, 64
_STARTING_ROWS = 4_096
"""Least number of rows with hidden cells that a network starts from: fewer are repeated, with other hidden cells."""


class Options(FrozenModel):
    """Options of this family in [model]."""

    latent: int | None = Field(
        None, ge=1, description="number of latents; default: twice the columns, at most 64; 16 for images"
    )
    mask: float = Field(
        0.7, gt=0, le=1, description="greatest share of hidden cells; each row hides a share drawn uniformly up to it"
    )
    patch: int = Field(4, ge=1, le=256, description="side of the squares of an image that are hidden as one, in pixels")
    visible: float = Field(0.2, ge=0, le=1, description="weight of the loss of a visible cell; a hidden one has 1")
    code_decay: float = Field(
        1e-3, ge=0, description="weight of the mean square of the latents, which bounds their scale"
    )


class Masked(NamedTuple):
    """Rows with hidden cells."""

    row: Row
    hidden: Tensor
    """(B, F) bool, in the order of the features of a row"""


class MaskedAutoencoder(DeterministicEncoderDecoder):
    """Encoder that knows which numbers are hidden, and a decoder of all cells."""

    def __init__(self, layout: Layout, options: Options, backbone: BackbonePlan, likelihood: Likelihood) -> None:
        super().__init__(layout, backbone, likelihood, _latents(layout, options.latent))
        self.options = options
        if layout.numbers:  # without a flag, a hidden number would look like a mean one
            numbers = tuple(number.model_copy(update={"may_be_missing": True}) for number in layout.numbers)
            flagged = layout.model_copy(update={"numbers": numbers})
            self.encoder = backbone.encoder(flagged, len(self.space.names))
            self.preprocessing.numbers.has_missing = True  # imputed rows have gaps that training rows had not

    def prepare(self, batch: Batch) -> None:
        """Initialise at the principal components of rows with hidden cells, and the regression of whole rows on them.

        In whole rows the flags of hidden cells are constant, so that their weights would be arbitrary.
        """
        if self.layout.kind == "table":
            generator = torch.Generator(batch.input.dense.device).manual_seed(_SEED)
            times = -(-_STARTING_ROWS // len(batch.input.dense))
            row, target = (
                Row(*(part.repeat_interleave(times, 0) for part in one)) for one in (batch.input, batch.target)
            )
            batch = Batch(self.hide(row, generator).row, target)
        super().prepare(batch)

    def card_metrics(self, batch: Batch, generator: torch.Generator) -> dict[str, float]:
        masked = self.hide(batch.input, generator)
        nll = self.likelihood.nll(self.reconstruct(masked.row).params, batch.target)
        hidden = (nll * masked.hidden).sum() / masked.hidden.sum().clamp(min=1)
        return {**reconstruction_metrics(self, batch), "hidden_cell_nll": float(hidden)}

    def hide(self, row: Row, generator: torch.Generator) -> Masked:
        """Hide cells: a number is missing, a code is MISSING, a patch is black. Missing cells stay missing."""
        rows = len(row.dense)
        share = self.options.mask * torch.rand((rows, 1), generator=generator, device=row.dense.device)
        image = self.layout.image
        if image is not None:
            side = self.options.patch
            down, across = -(-image.height // side), -(-image.width // side)
            patches = torch.rand((rows, down * across), generator=generator, device=share.device) < share
            squares = patches.reshape(rows, 1, down, across).repeat_interleave(side, 2).repeat_interleave(side, 3)
            pixels = squares[:, :, : image.height, : image.width].expand_as(row.dense)
            return Masked(row._replace(dense=row.dense.masked_fill(pixels, 0.0)), pixels.flatten(1))
        width = row.dense.shape[1]
        cells = torch.rand((rows, width + row.codes.shape[1]), generator=generator, device=share.device) < share
        numbers, codes = cells[:, :width], cells[:, width:]
        hidden = torch.cat([numbers & (row.observed > 0), codes & (row.codes != MISSING)], 1)
        return Masked(
            row._replace(
                dense=row.dense.masked_fill(numbers, 0.0),
                observed=row.observed.masked_fill(numbers, 0.0),
                codes=row.codes.masked_fill(codes, MISSING),
            ),
            hidden,
        )

    def loss(self, batch: Batch, context: StepContext) -> Loss:
        """Return the weighted mean loss of a cell times the cells of a row, in nats."""
        masked = self.hide(batch.input, context.generator)
        posterior, params = self.reconstruct(masked.row)
        nll = self.likelihood.nll(params, batch.target)
        hidden = masked.hidden.to(nll.dtype)
        weights = self.options.visible + (1 - self.options.visible) * hidden
        weights = weights * nll.numel() / weights.sum().clamp(min=1)
        weighted = (weights * nll).sum() / len(nll)
        decay = self.options.code_decay * posterior.mean.square().sum(1).mean()
        terms = {"hidden_cell_nll": ((hidden * nll).sum() / hidden.sum().clamp(min=1)).detach()}
        return Loss(weighted + decay, terms, self._misfit(params, batch.target, weights))

    @torch.no_grad()
    def _misfit(self, params: Tensor, row: Row, weights: Tensor) -> Residual:
        """Return the residuals with the weights (B, F) of the loss, whose sigma would be too small for hidden cells.

        Visible cells are rebuilt almost without error.
        """
        observed = row.observed.flatten(1)
        numbers = observed.shape[1]
        counts = weights[:, :numbers] * observed
        return Residual((counts * self.likelihood.residual(params, row)[:, :numbers].square()).sum(0), counts.sum(0))


def _latents(layout: Layout, asked: int | None) -> int:
    """Return the requested number of latents; a table needs no bottleneck, as a hidden cell cannot be copied."""
    if asked is not None or layout.kind != "table":
        return latents_for(layout, asked)
    return min(_MOST_LATENTS, _PER_COLUMN * layout.features)


def _faults(layout: Layout, options: Options) -> list[str]:
    faults = list(latent_faults(layout, options))
    if layout.target is not None:
        faults.append("family 'masked_ae' rebuilds the row itself, but the job has a target column: use denoising_ae")
    if layout.image is not None and options.patch > min(layout.image.height, layout.image.width):
        size = f"{layout.image.height} x {layout.image.width}"
        faults.append(f"patch = {options.patch} is too large: expected at most the shorter side of {size} pixels")
    return faults


FAMILY = Family(
    "masked_ae",
    "predicts hidden cells of a row, or patches of an image, from the visible ones",
    Options,
    ("mlp", "conv"),
    MaskedAutoencoder,
    _faults,
    formula="−Σⱼ wⱼ log p(xⱼ|f(x without hidden cells)) + δ ‖f(x)‖², wⱼ larger for hidden cells than for visible ones",
    advice="Prefer it to fill missing cells, and for features of tables for a classifier: AUROC was higher than with "
    "`denoising_ae` in 7 of 8 tables, mostly because it has more latents. Not for close reconstructions of whole rows: "
    "`ae` gives these.",
)
