"""Distribution of rows with a set of items: that of a table, and a multinomial over the catalogue.

Liang et al. 2018, Variational Autoencoders for Collaborative Filtering.
"""

import torch
from torch import Tensor

from aepipe.layout import END, Layout, Port
from aepipe.models.layers.likelihood import Likelihood, LikelihoodOptions, Residual, TableLikelihood
from aepipe.models.layers.preprocessing import Row
from aepipe.models.layers.tokens import in_layout_order, rest_codes, rest_of, tokens_of
from aepipe.models.layers.two_level_softmax import IMPOSSIBLE

MOST_RANKED = 100
"""Items that are ranked for a row."""
_LEAST_UNIFORM = 1e-7


class ItemsLikelihood(Likelihood):
    """Likelihood with the parameters of the table without its items, then a logit per item of the catalogue.

    The loss of an item is -log p of the item under the softmax. A row of n items is drawn as n draws without
    replacement; n is a number of the table.
    """

    def __init__(self, layout: Layout, options: LikelihoodOptions) -> None:
        super().__init__()
        (self.items,) = layout.texts
        self.layout = layout
        self.rest = TableLikelihood(rest_of(layout), options)
        self.sigma = self.rest.sigma
        self.linear = self.rest.linear
        self.catalogue = self.items.size - END - 1
        self.width = self.rest.width + self.catalogue
        self.noise = (*self.rest.noise, Port("u_item", "float32", (self.catalogue,), "uniform"))

    @property
    def ranked_ports(self) -> tuple[Port, ...]:
        """Ports of the outputs of `rank`."""
        shape = (min(MOST_RANKED, self.catalogue),)
        return Port("item", "int32", shape), Port("item_z", "float32", shape)

    def nll(self, params: Tensor, row: Row) -> Tensor:
        nll = self.rest.nll(params[:, : self.rest.width], self._rest(row))
        return self._joined(nll, self._losses(params, row))

    def residual(self, params: Tensor, row: Row) -> Tensor:
        residual = self.rest.residual(params[:, : self.rest.width], self._rest(row))
        return self._joined(residual, -torch.expm1(-self._losses(params, row)))

    def expected(self, params: Tensor) -> tuple[Tensor, ...]:
        rest = self.rest.expected(params[:, : self.rest.width])
        return self._row(rest, self._logits(params))

    def draw(self, params: Tensor, *noise: Tensor) -> tuple[Tensor, ...]:
        rest = self.rest.draw(params[:, : self.rest.width], *noise[:-1])
        uniform = noise[-1].to(params.dtype).clamp(_LEAST_UNIFORM, 1 - _LEAST_UNIFORM)
        gumbel = -torch.log(-torch.log(uniform))  # its greatest keys are draws without replacement
        return self._row(rest, self._logits(params) + gumbel)

    def rank(self, params: Tensor, row: Row) -> tuple[Tensor, Tensor]:
        """Return the likeliest items that a row does not have: codes (B, R) int32, and log-probabilities (B, R)."""
        codes = tokens_of(self.items, row.codes)
        has = torch.zeros((codes.shape[0], self.items.size), dtype=params.dtype, device=params.device)
        has = has.scatter(1, codes, 1.0)[:, END + 1 :]
        found = (self._logits(params).log_softmax(1) + IMPOSSIBLE * has).topk(min(MOST_RANKED, self.catalogue), dim=1)
        return (found.indices + END + 1).to(torch.int32), found.values

    @torch.no_grad()
    def misfit(self, params: Tensor, row: Row) -> Residual:
        return self.rest.misfit(params[:, : self.rest.width], row)

    def targets(self, row: Row) -> Tensor:
        has = torch.zeros((len(row.codes), self.items.size), dtype=row.dense.dtype, device=row.dense.device)
        has = has.scatter(1, tokens_of(self.items, row.codes), 1.0)[:, END + 1 :]
        return torch.cat([self.rest.targets(self._rest(row)), has], 1)

    def params_of(self, targets: Tensor) -> Tensor:
        rest = self.rest.params_of(targets[:, : self.rest.width])
        shares = targets[:, self.rest.width :].clamp(min=1 / self.catalogue)
        return torch.cat([rest, shares.log()], 1)

    def _rest(self, row: Row) -> Row:
        return row._replace(codes=rest_codes(self.layout, row.codes))

    def _logits(self, params: Tensor) -> Tensor:
        return params[:, self.rest.width :].to(self.rest.may_be_missing.dtype)  # autocast ends here

    def _losses(self, params: Tensor, row: Row) -> Tensor:
        """Return -log p of each item, (B, T); 0 where a row has none."""
        codes = tokens_of(self.items, row.codes)
        log_p = self._logits(params).log_softmax(1)
        chosen = log_p.gather(1, (codes - END - 1).clamp(min=0))
        return -chosen * (codes > END).to(chosen.dtype)

    def _joined(self, rest: Tensor, items: Tensor) -> Tensor:
        numbers = len(self.layout.numbers)
        return torch.cat([rest[:, :numbers], in_layout_order(self.layout, rest[:, numbers:], [items])], 1)

    def _row(self, rest: tuple[Tensor, ...], keys: Tensor) -> tuple[Tensor, ...]:
        """Join the tensors of the table without items and the items with the greatest keys (B, I), in falling order."""
        items = (keys.topk(self.items.length, dim=1).indices + END + 1).int()
        cat = rest[1] if len(rest) > 1 else items[:, :0]
        return rest[0], in_layout_order(self.layout, cat, [items])
