"""Likelihood of an ensemble of decoders: the mean of the members' losses, which includes their disagreement."""

import torch
from torch import Tensor

from aepipe.models.layers.likelihood import Likelihood, Residual
from aepipe.models.layers.preprocessing import Row


class EnsembleLikelihood(Likelihood):
    """Likelihood over the parameters of all members, (B, M * width of one), members in sequence.

    The mean of Gaussian members' losses is the loss of their mean plus their variance around it (Krogh & Vedelsby 1995,
    equation 6), so that a row on which they disagree costs more. Residuals, expected rows and drawn rows use the mean
    parameters.
    """

    def __init__(self, one: Likelihood, members: int) -> None:
        super().__init__()
        self.one, self.members = one, members
        self.width = members * one.width
        self.linear = 0
        self.noise = one.noise
        self.sigma = one.sigma

    def nll(self, params: Tensor, row: Row) -> Tensor:
        return self.nll_of_each(params, row).mean(0)

    def nll_of_each(self, params: Tensor, row: Row) -> Tensor:
        """Return -log p of every feature by each member, (M, B, F) in nats."""
        nll = self.one.nll(self._each(params).flatten(0, 1), self._stacked(row))
        return nll.reshape(self.members, -1, nll.shape[1])

    def residual(self, params: Tensor, row: Row) -> Tensor:
        return self.one.residual(self.mean(params), row)

    def expected(self, params: Tensor) -> tuple[Tensor, ...]:
        return self.one.expected(self.mean(params))

    def draw(self, params: Tensor, *noise: Tensor) -> tuple[Tensor, ...]:
        return self.one.draw(self.mean(params), *noise)

    def misfit(self, params: Tensor, row: Row) -> Residual:
        of_all = self.one.misfit(self._each(params).flatten(0, 1), self._stacked(row))
        return Residual(of_all.squares / self.members, of_all.counts / self.members)

    def targets(self, row: Row) -> Tensor:
        return self.one.targets(row).repeat(1, self.members)

    def params_of(self, targets: Tensor) -> Tensor:
        return torch.cat([self.one.params_of(each) for each in targets.chunk(self.members, 1)], 1)

    def mean(self, params: Tensor) -> Tensor:
        """Return the mean of the members' parameters, (B, width of one)."""
        return self._each(params).mean(0)

    def _each(self, params: Tensor) -> Tensor:
        return torch.stack(params.chunk(self.members, 1))

    def _stacked(self, row: Row) -> Row:
        """Repeat the rows for each member, (M * B)."""
        return Row(*(torch.cat([part] * self.members) for part in row))
