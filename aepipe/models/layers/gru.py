"""Gated recurrent units: a torch GRU in training, one Scan in the exported graph, with the same outputs."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aepipe.models.layers.scan import State, unroll


class Gru(nn.Module):
    """Map steps (T, B, width) and a state (B, S) to the state after each step, (T, B, S). Cho et al. 2014."""

    def __init__(self, width: int, state: int) -> None:
        super().__init__()
        self.cells = nn.GRU(width, state)

    def forward(self, steps: Tensor, state: Tensor) -> Tensor:
        if not torch.compiler.is_exporting():
            states: Tensor = self.cells(steps, state.unsqueeze(0).to(steps.dtype).contiguous())[0]
            return states
        of_inputs, of_state, bias_of_inputs, bias_of_state = self.cells.all_weights[0]
        gates = F.linear(steps, of_inputs, bias_of_inputs)

        def step(state: State, inputs: tuple[Tensor, ...]) -> tuple[State, tuple[Tensor, ...]]:
            recurrent = F.linear(state[0], of_state, bias_of_state)
            after = gated(inputs[0], recurrent, state[0])
            return (after,), (after.clone(),)

        _, (states,) = unroll(step, (state,), (gates,))
        return states


def gated(inputs: Tensor, recurrent: Tensor, state: Tensor) -> Tensor:
    """Return the next state (B, S) from the gates (B, 3S) of the step and of the state: reset, update, candidate."""
    reset, update, candidate = inputs.chunk(3, 1)
    of_reset, of_update, of_candidate = recurrent.chunk(3, 1)
    fresh = torch.tanh(candidate + torch.sigmoid(reset + of_reset) * of_candidate)
    return fresh + torch.sigmoid(update + of_update) * (state - fresh)
