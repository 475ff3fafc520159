"""WAE: its loss by hand, and codes that look like N(0, I) by the measures of the adversarial family."""

import pytest
import torch

from aepipe.models.base import Batch
from aepipe.models.layers.mmd import squared_mmd
from tests.support.family_models import context, make_model, train_on_skewed_rows


def test_the_loss_is_the_likelihood_and_the_weighted_mmd_to_normal_draws() -> None:
    model, row = make_model("wae", match=7.0)
    drawn = torch.randn(256, 2, generator=torch.Generator().manual_seed(0)).double()

    loss = model.objectives()[0].loss(Batch(row, row), context())

    posterior, params = model.reconstruct(row)
    nll = model.likelihood.nll(params, row).sum(1).mean()
    assert loss.total.item() == pytest.approx((nll + 7 * squared_mmd(posterior.mean, drawn)).item())


def test_training_also_matches_the_running_moments_of_the_latents() -> None:
    model, row = make_model("wae", match=7.0)
    batch, loss = Batch(row, row), model.objectives()[0].loss
    z = model.posterior(row).mean
    first, second = torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64)

    for _ in range(3):
        alone = model.eval() and loss(batch, context()).total
        found = model.train() and loss(batch, context()).total
        first, second = 0.95 * first + 0.05 * z.mean(0), 0.95 * second + 0.05 * z.T @ z / len(z)
        apart = first.square().sum() + (second - torch.eye(2)).square().sum()
        assert (found - alone).item() == pytest.approx(7 * 0.1 * (apart / 0.05).item())


@pytest.mark.slow
def test_codes_of_skewed_rows_look_like_n01() -> None:
    before, after, metrics = train_on_skewed_rows("wae")

    assert before > 0.1
    assert after < 0.6 * before
    assert metrics["greatest_mean"] < 0.15
    assert 0.85 < metrics["least_std"] <= metrics["greatest_std"] < 1.15
    assert metrics["greatest_correlation"] < 0.15
