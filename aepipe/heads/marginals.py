"""How rare the numbers of a row are, each by itself: what distances miss where most columns are as usual."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from aepipe.head import Evidence, Head
from aepipe.heads.space import Matrix

_BINS = 20
_PSEUDO_COUNT = 0.5


class Marginals(Head):
    """Negative log-likelihood of the row's numbers under a histogram of each, summed, (B,) in nats.

    Goldstein & Dengel 2012 (HBOS): bins of equal width between the least and the greatest known value; what lies
    outside counts as half a row.
    """

    edges: Tensor
    costs: Tensor
    first: Tensor

    def __init__(self, edges: Matrix, costs: Matrix) -> None:
        """edges: (W, bins + 1), ascending. costs: (W, bins + 2), those below and above among them."""
        super().__init__()
        self.register_buffer("edges", torch.tensor(edges, dtype=torch.float32))
        self.register_buffer("costs", torch.tensor(costs.reshape(-1, 1), dtype=torch.float32))
        self.register_buffer("first", torch.arange(len(costs)) * costs.shape[1])

    def forward(self, evidence: Evidence) -> Tensor:
        bins = (evidence.row.unsqueeze(2) >= self.edges).sum(2)
        return F.embedding(bins + self.first, self.costs).sum((1, 2))


def marginals(rows: Evidence) -> Marginals:
    """The histograms of these rows."""
    values = rows.row.float().numpy()
    edges, costs = [], []
    for column in values.T:
        # The last bin holds the greatest value too.
        ends = np.linspace(column.min(), np.nextafter(column.max(), np.float32(np.inf)), _BINS + 1, dtype=np.float32)
        counts = np.bincount((column[:, None] >= ends).sum(axis=1), minlength=_BINS + 2)[: _BINS + 2]
        edges.append(ends)
        costs.append(-np.log((counts + _PSEUDO_COUNT) / (len(column) + _PSEUDO_COUNT * (_BINS + 2))))
    width = values.shape[1]
    return Marginals(np.reshape(edges, (width, _BINS + 1)), np.reshape(costs, (width, _BINS + 2)))
