"""RAE: the slope of the decoder by its Jacobian, and both regularisers by hand."""

import pytest
import torch

from aepipe.models.base import Batch
from tests.support.family_models import context, make_model


def test_the_slope_is_the_squared_norm_of_the_jacobian_on_average() -> None:
    model, row = make_model("rae", rows=4)
    z = model.posterior(row).mean.detach()
    jacobians = [torch.func.jacrev(lambda at: model.decode(at[None], row.given[:1])[0])(each) for each in z]
    exact = torch.stack([jacobian.square().sum() for jacobian in jacobians]).mean().item()

    found = torch.stack([model.squared_slope(z, row.given, context(seed).generator) for seed in range(2_000)])

    assert found.mean().item() == pytest.approx(exact, abs=4 * found.std().item() / 2_000**0.5)


@pytest.mark.parametrize("regulariser", ["gradient", "weights"])
def test_the_loss_adds_the_code_and_the_decoder(regulariser: str) -> None:
    model, row = make_model("rae", regulariser=regulariser, smooth=0.5, code_decay=0.2)

    loss = model.objectives()[0].loss(Batch(row, row), context())

    posterior, params = model.reconstruct(row)
    nll = model.likelihood.nll(params, row).sum(1).mean()
    decay = 0.1 * posterior.mean.square().sum(1).mean()
    if regulariser == "weights":
        penalty = sum(weights.square().sum() for weights in model.decoder.parameters())
    else:
        penalty = model.squared_slope(posterior.mean.detach(), row.given, context().generator)
    assert loss.total.item() == pytest.approx((nll + decay + 0.5 * penalty).item())


def test_the_penalty_reaches_encoder_and_decoder() -> None:
    model, row = make_model("rae", smooth=1e6, code_decay=0.0, hidden=[4])

    model.objectives()[0].loss(Batch(row, row), context()).total.backward()

    assert all(weights.grad is not None and weights.grad.isfinite().all() for weights in model.parameters())
