"""Loops over steps: a Python loop in training, one Scan node in an exported graph, however many steps there are."""

from collections.abc import Callable

import torch
import torch._dynamo
from torch import Tensor
from torch._higher_order_ops.scan import scan

State = tuple[Tensor, ...]
_MOST_LOOPS = 1_000
Step = Callable[[State, tuple[Tensor, ...]], tuple[State, tuple[Tensor, ...]]]


def unroll(step: Step, state: State, inputs: tuple[Tensor, ...]) -> tuple[State, tuple[Tensor, ...]]:
    """The last state, and the answers of every step, (T, ...) each.

    step: (state, inputs of one step) -> (state, answers), of tensors whose shapes and types stay the same from step to
    step and that share no memory. inputs: (T, ...) each. A loop unrolled in the graph costs nodes and export time in
    proportion to its steps: 28 steps of a small cell were 996 nodes, as a Scan they are 24.
    """
    if torch.compiler.is_exporting():
        # Every loop of an export goes through the same lines of torch's, which after a few take all widths for free.
        with torch._dynamo.config.patch(automatic_dynamic_shapes=False, recompile_limit=_MOST_LOOPS):
            last, answers = scan(step, state, inputs)
        return last, answers
    gathered = []
    # Unbound at once: the gradient of each[at] would be a tensor of all steps, zeros but for one, at every step.
    for of_step in zip(*(each.unbind() for each in inputs), strict=True):
        state, answer = step(state, of_step)
        gathered.append(answer)
    return state, tuple(torch.stack(each) for each in zip(*gathered, strict=True))
