"""Rarity of each column by itself, which distances miss if most columns of a row are typical."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from aepipe.heads.base import Head, ScoringInputs
from aepipe.heads.distance_space import Matrix

_NODES = 20
_PSEUDO_COUNT = 0.5
_LEAST_WIDTH = 1e-2  # between nodes, in standard deviations: of a column with one value, all others are far


class Marginals(Head):
    """Negative log-likelihood of the columns of a row, summed, (B,) in nats: numbers by histograms, and categories.

    Goldstein & Dengel 2012 (HBOS), as frequency polygons (Scott 1985): the cost is interpolated between two nodes, so
    that rounding across a bin edge changes nothing. Outside the known range it rises within one step to the cost of
    half a row.
    """

    least: Tensor
    per_width: Tensor
    costs: Tensor
    first: Tensor

    def __init__(self, least: Matrix, width: Matrix, costs: Matrix, *, has_categories: bool) -> None:
        """Store the polygons.

        Args:
            least: Position of the first node of each number, (W,).
            width: Distance between nodes, (W,).
            costs: Negative log-likelihood at the nodes, (W, nodes + 2).
            has_categories: Rows have categories, whose costs are added.
        """
        super().__init__()
        self.has_numbers, self.has_categories = len(costs) > 0, has_categories
        self.register_buffer("least", torch.tensor(least, dtype=torch.float32))
        self.register_buffer("per_width", torch.tensor(1 / width, dtype=torch.float32))
        self.register_buffer("costs", torch.tensor(costs.reshape(-1, 1), dtype=torch.float32))
        self.register_buffer("first", torch.arange(len(costs)) * costs.shape[1])

    def forward(self, evidence: ScoringInputs) -> Tensor:
        if not self.has_numbers:
            return evidence.rarity.sum(1)
        of_numbers = self._of_numbers(evidence.row)
        return of_numbers + evidence.rarity.sum(1) if self.has_categories else of_numbers

    def _of_numbers(self, row: Tensor) -> Tensor:
        place = ((row - self.least) * self.per_width + 1).clamp(0, _NODES + 1)
        before = place.floor().clamp(max=_NODES)
        share, index = place - before, before.long() + self.first
        low, high = (F.embedding(at, self.costs).squeeze(2) for at in (index, index + 1))
        return (low + share * (high - low)).sum(1)


def marginals(rows: ScoringInputs) -> Marginals:
    """Fit the frequency polygons of these rows."""
    values = rows.row.double().numpy()
    has_categories = rows.rarity.shape[1] > 0
    least = values.min(axis=0)
    width = np.maximum((values.max(axis=0) - least) / (_NODES - 1), _LEAST_WIDTH)
    place = (values - least) / width
    before = np.clip(np.floor(place), 0, _NODES - 2).astype(np.int64)
    share = place - before
    costs = []
    for column in range(values.shape[1]):
        mass = np.bincount(before[:, column] + 1, 1 - share[:, column], _NODES + 2)
        mass += np.bincount(before[:, column] + 2, share[:, column], _NODES + 2)
        costs.append(-np.log((mass + _PSEUDO_COUNT) / (len(values) + _PSEUDO_COUNT * (_NODES + 2))))
    return Marginals(least, width, np.reshape(costs, (values.shape[1], _NODES + 2)), has_categories=has_categories)
