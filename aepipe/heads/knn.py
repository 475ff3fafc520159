"""How far a row lies from the training rows that are most like it."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from aepipe.head import Evidence, Head, HeadSpec, HeadStats
from aepipe.heads.space import Matrix, Scaling, Space, coordinates, standard_scaling

NEIGHBOURS = 5
BANK_ROWS = 1_000

SOFTENING = 0.02
"""In standard deviations a coordinate: what a row scores that is in the bank itself.

Without it such a row would score the rounding of float32, which the size of a batch changes.
"""


class NearestNeighbours(Head):
    """Mean distance of [residual, latent] to the nearest rows of a bank, by the root mean square of the coordinates.

    The neighbours are found by the least |b|^2 / 2 - x.b, one product; such differences cancel for close rows, so that
    the distances to the few found are measured again, coordinate by coordinate.
    """

    bank: Tensor
    bias: Tensor

    def __init__(self, scaling: Scaling, bank: Matrix) -> None:
        super().__init__()
        self.space = Space(scaling)
        self.neighbours = min(NEIGHBOURS, len(bank))
        self.register_buffer("bank", torch.tensor(bank, dtype=torch.float32))
        self.register_buffer("bias", torch.tensor(-(bank**2).sum(axis=1) / 2, dtype=torch.float32))

    def forward(self, evidence: Evidence) -> Tensor:
        points = self.space(evidence)
        closeness = F.linear(points, self.bank, self.bias)
        nearest = F.embedding(closeness.topk(self.neighbours, dim=1).indices, self.bank)
        squares = (points.unsqueeze(1) - nearest).square().mean(2)
        score: Tensor = (squares + SOFTENING**2).sqrt().mean(1)
        return score


def _fit(stats: HeadStats) -> Head:
    scaling = standard_scaling(stats.train, stats.dev)
    points = (coordinates(stats.train) - scaling.center) / scaling.scale
    chosen = np.random.default_rng(stats.seed).permutation(len(points))[:BANK_ROWS]
    return NearestNeighbours(scaling, points[np.sort(chosen)])


HEAD = HeadSpec("knn", f"mean distance of [residual, latent] to the {NEIGHBOURS} nearest training rows", _fit)
