"""Feature spaces of the distance heads: a row is a point with coordinates near unit size."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from aepipe.heads.base import ScoringInputs
from aepipe.heads.robust_spread import robust_spread

FLOOR = 1e-2
"""Least spread of a coordinate relative to the typical spread of its field; anything below is rounding noise."""

LEAST_SPREAD = {"residual": 1e-3, "row": 1e-3, "z": 1e-4, "rarity": 0.3}
"""Least spread of a coordinate by field: residuals and rows are in standard deviations of their columns.

If columns determine each other exactly, a residual is the rounding error of float32, about 1e-7 to 1e-5. Divided by its
own spread it would outweigh every real difference, and differ between two runtimes. The rarity of a category is in
nats; values that are equally frequent but for chance would otherwise seem far apart.
"""

LEAST_SHARE = 0.3
"""Least robust spread of a coordinate relative to its standard deviation after clipping at `REACH`.

A column that hardly ever changes has an interquartile range of 0, so that any change would dominate the distance.
On 21 contaminated tables, this raises the AUROC of robust distances of the rows by 3 points.
"""

REACH = 10.0
"""Clipping distance in typical spreads of the coordinates of a field."""


Matrix = NDArray[np.float64]

Fields = tuple[str, ...]
"""Fields of `ScoringInputs` that are concatenated to a point."""

MODEL: Fields = ("residual", "z")
"""Outputs of the model for a row: [residual, latent]."""

ROW: Fields = ("row",)
"""The numbers of the row itself."""


def own_fields(evidence: ScoringInputs) -> Fields:
    """Return the fields of the row itself that it has: its numbers, and the rarity of its categories."""
    return tuple(field for field in (*ROW, "rarity") if getattr(evidence, field).shape[1])


def fields_of(evidence: ScoringInputs) -> tuple[Fields, ...]:
    """Return the spaces of these rows: outputs of the model, and the row itself if it has own fields."""
    own = own_fields(evidence)
    return (MODEL, own) if own else (MODEL,)


class Scaling(NamedTuple):
    """Center and scale of each coordinate, (D,) each."""

    center: Matrix
    scale: Matrix


class Space(nn.Module):
    """Points (B, D) from scoring inputs: the fields concatenated, centred and scaled."""

    center: Tensor
    gain: Tensor

    def __init__(self, scaling: Scaling, fields: Fields = MODEL) -> None:
        super().__init__()
        self.fields = fields
        self.register_buffer("center", torch.tensor(scaling.center, dtype=torch.float32))
        self.register_buffer("gain", torch.tensor(1 / scaling.scale, dtype=torch.float32))

    def forward(self, evidence: ScoringInputs) -> Tensor:
        return (torch.cat([getattr(evidence, field) for field in self.fields], dim=1) - self.center) * self.gain


def coordinates(evidence: ScoringInputs, fields: Fields = MODEL) -> Matrix:
    """Concatenate the fields without scaling, (B, D) float64."""
    return torch.cat([getattr(evidence, field) for field in fields], dim=1).double().cpu().numpy()


def standard_scaling(train: ScoringInputs, dev: ScoringInputs, fields: Fields = MODEL) -> Scaling:
    """Return the mean and the greater of the standard deviations on training and dev rows.

    Dev rows show the error of the network on unseen rows; training rows show rare values.
    """
    learned, fresh = coordinates(train, fields), coordinates(dev, fields)
    spread = np.maximum(learned.std(axis=0), fresh.std(axis=0))
    return Scaling(learned.mean(axis=0), _floored(spread, train, fields))


def robust_scaling(train: ScoringInputs, dev: ScoringInputs, fields: Fields = MODEL) -> Scaling:
    """Return medians and interquartile ranges, which a tenth of anomalous rows hardly changes."""
    learned, fresh = coordinates(train, fields), coordinates(dev, fields)
    center, spread = np.median(learned, axis=0), np.maximum(robust_spread(learned), robust_spread(fresh))
    reach = REACH * np.concatenate([np.full(len(kind), _typical(kind)) for _, kind in _kinds(spread, train, fields)])
    whole = [np.clip(values - center, -reach, reach).std(axis=0) for values in (learned, fresh)]
    return Scaling(center, _floored(np.maximum(spread, LEAST_SHARE * np.maximum(*whole)), train, fields))


def _floored(spread: Matrix, evidence: ScoringInputs, fields: Fields) -> Matrix:
    floored = [
        np.maximum(kind, max(FLOOR * _typical(kind), LEAST_SPREAD[field]))
        for field, kind in _kinds(spread, evidence, fields)
    ]
    return np.concatenate(floored)


def _kinds(spread: Matrix, evidence: ScoringInputs, fields: Fields) -> list[tuple[str, Matrix]]:
    """Return the spreads of each field that has any."""
    ends = np.cumsum([getattr(evidence, field).shape[1] for field in fields])[:-1]
    return [(field, kind) for field, kind in zip(fields, np.split(spread, ends), strict=True) if len(kind)]


def _typical(spread: Matrix) -> float:
    """Return the root mean square, or 1 if nothing varies."""
    return float(np.sqrt(np.mean(spread**2))) or 1.0
