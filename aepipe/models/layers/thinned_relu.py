"""ReLU with dropout in one pass over the units in each direction: large layers wait for memory, not for products."""

from typing import Any

import torch
from torch import Tensor


def thinned_relu(units: Tensor, left_out: float, generator: torch.Generator) -> Tensor:
    """Return relu(units) (C, B, H) without a share of the units, the same ones in all C.

    The caller scales what depends on them by 1 / (1 - left_out); a scale here would be one more pass.

    Args:
        units: (C, B, H).
        left_out: probability of each unit of a row to be left out.
        generator: noise, C times less than one mask per unit.
    """
    uniform = torch.rand(units.shape[1:], generator=generator, device=units.device, dtype=torch.float32)
    limits = torch.where(uniform < left_out, 0.0, torch.inf).to(units.dtype)
    limited: Tensor = _LimitedRelu.apply(units, limits)  # type: ignore[no-untyped-call]
    return limited


class _LimitedRelu(torch.autograd.Function):
    """Clamp units to [0, limits], with a gradient of 1 where the answer is above 0, for limits of 0 or infinity."""

    @staticmethod
    def forward(units: Tensor, limits: Tensor) -> Tensor:
        return torch.clamp(units, limits.new_zeros(()), limits)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (answer,), (grad,) = ctx.saved_tensors, grads
        return torch.ops.aten.threshold_backward(grad, answer, 0), None
