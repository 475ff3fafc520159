"""ReLU with dropout: which units it leaves out, and its gradient."""

import torch
from torch import Tensor

from aepipe.models.layers.autoregressive_columns import AutoregressiveColumns
from aepipe.models.layers.thinned_relu import thinned_relu


def units(columns: int = 3, rows: int = 50, width: int = 40) -> Tensor:
    found = torch.randn(columns, rows, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return found.requires_grad_()


def test_values_and_gradients_are_those_of_a_relu_and_a_mask() -> None:
    own, reference = units(), units()

    thinned = thinned_relu(own, 0.3, torch.Generator().manual_seed(1))
    weights = torch.randn(thinned.shape, dtype=torch.float64)
    torch.autograd.backward((thinned * weights).sum())

    masked = torch.relu(reference) * (thinned > 0).any(0)
    torch.autograd.backward((masked * weights).sum())
    torch.testing.assert_close(thinned, masked)
    torch.testing.assert_close(own.grad, reference.grad)


def test_the_share_of_units_left_out_is_the_given_one() -> None:
    ones = torch.ones(4, 500, 200)

    thinned = thinned_relu(ones, 0.2, torch.Generator().manual_seed(0))

    assert abs(float((thinned == 0).double().mean()) - 0.2) < 0.005
    assert set(thinned.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(thinned, thinned[:1].expand_as(thinned))


def test_the_mean_of_logits_after_dropout_is_near_those_without() -> None:
    """Units that are left out are made up for by the others."""
    torch.manual_seed(0)
    chain = AutoregressiveColumns((5, 5), 32, (0, 1), hidden=16, dropout=0.4).double()
    states = torch.rand(2, 1, 32, dtype=torch.float64).expand(2, 20_000, 32)

    kept, weights = chain._thinned(states, chain.group, torch.Generator().manual_seed(2))

    torch.testing.assert_close(
        (kept @ weights).mean(1), states[:, 0].unsqueeze(1).bmm(chain.group).squeeze(1), atol=0.01, rtol=0
    )
