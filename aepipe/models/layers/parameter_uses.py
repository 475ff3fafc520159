"""Norms of the gradients of single rows, without these gradients: a row uses a weight once, as an outer product.

Goodfellow 2015 (arXiv 1510.01799); clipping by such norms as in Li et al. 2022 (arXiv 2110.05679), "ghost clipping".
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from aepipe.errors import OptionInvalid
from aepipe.models.layers.column_conditioning import CodeSum


class _Use(NamedTuple):
    parameters: tuple[nn.Parameter, ...]
    squares: Tensor | float
    """(..., B), squared norm of the derivative of each output of a row by the parameters"""
    outputs: Tensor
    """(..., B, K)"""


class ParameterUses:
    """Record of where the rows of a batch use parameters; rows are the last axis but one.

    Each parameter has one place, where a row uses each of its values at most once; `refuse_others` refuses the others.
    """

    def __init__(self) -> None:
        self._uses: list[_Use] = []

    @contextmanager
    def of_modules(self, model: nn.Module) -> Iterator[None]:
        """Record the linear layers and code sums that a model runs within this context."""
        recorded = [module for module in model.modules() if isinstance(module, (nn.Linear, CodeSum))]
        handles = [module.register_forward_hook(self.record) for module in recorded]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @torch.no_grad()
    def add_product(
        self,
        outputs: Tensor,
        units: Tensor,
        weight: nn.Parameter,
        bias: nn.Parameter | None = None,
        *,
        factor: float = 1.0,
    ) -> None:
        """Record outputs (..., B, K) of `factor` * units (..., B, H) times a weight (..., H, K), plus a bias."""
        squares = factor**2 * units.square().sum(-1)
        self._uses.append(_Use((weight,), squares, outputs))
        if bias is not None:
            self.add_terms(outputs, bias)

    def add_terms(self, outputs: Tensor, parameter: nn.Parameter) -> None:
        """Record outputs (..., B, K) that a row adds values of a parameter to, or looks up in it."""
        self._uses.append(_Use((parameter,), 1.0, outputs))

    def row_norms(self, losses: Tensor) -> Tensor:
        """Return the norm of the gradient of each loss (B,) by all recorded parameters, (B,); keep the graph."""
        slopes = torch.autograd.grad(losses.sum(), [use.outputs for use in self._uses], retain_graph=True)
        squares = torch.zeros_like(losses)
        for use, slope in zip(self._uses, slopes, strict=True):
            squares += (use.squares * slope.square().sum(-1)).reshape(-1, len(losses)).sum(0)
        return squares.sqrt()

    def refuse_others(self, used: Mapping[str, nn.Parameter]) -> None:
        """Raise OptionInvalid unless each of these parameters, by name, is recorded once."""
        places = Counter(id(parameter) for use in self._uses for parameter in use.parameters)
        wrong = [name for name, parameter in used.items() if places[id(parameter)] != 1]
        if wrong:
            raise OptionInvalid(
                "[train] epsilon cannot bound the gradients of single rows: expected one known use of each parameter, "
                f"got another number for {', '.join(wrong)}. Choose family 'tabular_vae', or omit epsilon."
            )

    @torch.no_grad()
    def record(self, module: nn.Module, inputs: tuple[Tensor, ...], outputs: Tensor) -> None:
        """Record the outputs (B, K) of a linear layer or code sum: a forward hook."""
        assert outputs.dim() == 2, "a layer of rows with more axes"
        if isinstance(module, nn.Linear):
            squares = inputs[0].square().sum(1) + (module.bias is not None)
        else:  # each column has codes of its own, so that no row looks one up twice
            squares = (inputs[1] if len(inputs) > 1 else torch.ones_like(inputs[0])).square().sum(1)
        self._uses.append(_Use(tuple(module.parameters()), squares, outputs))
