"""Rarity of the categories of a row, which scores of its numbers do not see."""

from collections.abc import Mapping
from math import ceil

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from aepipe.layout import Layout
from aepipe.models.layers.loss_pooling import RESIDUAL_WIDTH, AdjacentMean
from aepipe.models.layers.tokens import rest_places

_PSEUDO_COUNT = 0.5

Codes = NDArray[np.generic]


class CategoryRarity(nn.Module):
    """Negative log-likelihood of each category of a row by its frequency, (B, C) in nats.

    Categories are independent here, as the numbers of `Marginals` are. A code without training rows, such as that of
    values never seen, counts as half a row. Above a width, the costs of neighbouring categories are added.
    """

    places: Tensor
    first: Tensor
    costs: Tensor

    def __init__(self, layout: Layout, codes: Codes) -> None:
        """Count the codes.

        Args:
            layout: Layout with categories.
            codes: Codes of training rows, (B, K), in the order of `layout.categories`.
        """
        super().__init__()
        places = _places(layout)
        self.mean = AdjacentMean(ceil(len(places) / RESIDUAL_WIDTH))
        sizes = [layout.categories[place].size for place in places]
        costs = [_costs(codes[:, place], size) for place, size in zip(places, sizes, strict=True)]
        self.register_buffer("places", torch.tensor(places, dtype=torch.int64))
        self.register_buffer("first", torch.tensor(np.cumsum([0, *sizes])[:-1], dtype=torch.int64))
        self.register_buffer("costs", torch.tensor(np.concatenate(costs), dtype=torch.float32).unsqueeze(1))

    def forward(self, codes: Tensor) -> Tensor:
        """Return the costs, (B, C) in nats; codes: (B, K)."""
        found: Tensor = F.embedding(codes.index_select(1, self.places) + self.first, self.costs).squeeze(2)
        return found if self.mean.size == 1 else self.mean(found) * self.mean.size


def fit_category_rarity(layout: Layout, rows: Mapping[str, Codes]) -> CategoryRarity | None:
    """Count the categories of training rows by port; return None for rows without any."""
    return CategoryRarity(layout, rows["cat"]) if _places(layout) else None


def _places(layout: Layout) -> list[int]:
    """Return the categories that are neither tokens nor bins of a number, which are equally frequent."""
    return [place for place in rest_places(layout) if not layout.categories[place].bins]


def _costs(codes: Codes, size: int) -> NDArray[np.float64]:
    """Return the negative log-likelihood of each code, (size,)."""
    counts = np.bincount(codes.astype(np.int64), minlength=size) + _PSEUDO_COUNT
    found: NDArray[np.float64] = -np.log(counts / counts.sum())
    return found
