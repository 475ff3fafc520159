"""Loops over steps: a Python loop in training, a single Scan node in an exported graph."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
import torch._dynamo
from torch import Tensor
from torch._higher_order_ops.scan import scan

State = tuple[Tensor, ...]
_MOST_LOOPS = 1_000
_refused: ContextVar[bool] = ContextVar("refused", default=False)
Step = Callable[[State, tuple[Tensor, ...]], tuple[State, tuple[Tensor, ...]]]


class LoopFound(Exception):
    """A loop over steps was met where only straight sequences of operators are understood."""


@contextmanager
def refuse_loops() -> Iterator[None]:
    """Let `unroll` raise `LoopFound` instead of making a Scan."""
    token = _refused.set(True)
    try:
        yield
    finally:
        _refused.reset(token)


def unroll(step: Step, state: State, inputs: tuple[Tensor, ...]) -> tuple[State, tuple[Tensor, ...]]:
    """Run `step` over the T inputs and return the last state and the stacked outputs.

    Args:
        step: Function (state, inputs of one step) -> (state, outputs). Shapes and dtypes stay the same from step to
            step, and the tensors share no memory.
        state: Initial state.
        inputs: Tensors of shape (T, ...).

    Returns:
        The last state, and the outputs of all steps, (T, ...) each.

    Raises:
        LoopFound: Inside of `refuse_loops`, in an export.
    """
    # An unrolled loop costs nodes and export time in proportion to T: 28 steps of a small cell took 996 nodes instead
    # of the 24 of a Scan.
    if torch.compiler.is_exporting():
        if _refused.get():
            raise LoopFound("a loop over steps becomes a Scan")
        # All loops of an export share one compiled function of torch, which after a few would make all widths dynamic.
        with torch._dynamo.config.patch(automatic_dynamic_shapes=False, recompile_limit=_MOST_LOOPS):
            last, outputs = scan(step, state, inputs)
        return last, outputs
    gathered = []
    # unbind, as the gradient of an index each[at] would be a mostly zero tensor of all steps, at every step.
    for of_step in zip(*(each.unbind() for each in inputs), strict=True):
        state, output = step(state, of_step)
        gathered.append(output)
    return state, tuple(torch.stack(each) for each in zip(*gathered, strict=True))
