import pytest
import torch
from torch.export import export

from aepipe.models.layers.gru import Gru


@pytest.mark.slow
def test_an_exported_recurrence_computes_what_torch_computes() -> None:
    gru = Gru(3, 5).requires_grad_(False)
    steps, state = torch.randn(7, 4, 3), torch.randn(4, 5)

    program = export(gru, (steps, state))

    torch.testing.assert_close(program.module()(steps, state), gru(steps, state))
    loops = [node for node in program.graph.nodes if node.target is torch.ops.higher_order.scan]
    assert len(loops) == 1
