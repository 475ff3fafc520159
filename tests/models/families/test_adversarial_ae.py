"""Adversarial autoencoder: its penalty in closed form, and codes that look like N(0, I)."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Normal, kl_divergence

from aepipe.models.base import Batch
from aepipe.models.families.adversarial_ae import slope_penalty
from tests.support.family_models import context, make_model, train_on_skewed_rows


def test_the_penalty_of_a_linear_critic_is_its_squared_slope_everywhere() -> None:
    critic = nn.Sequential(nn.Linear(3, 1), nn.Flatten(0)).double()
    slope = critic[0].weight

    penalty = slope_penalty(critic, torch.randn(7, 3).double())

    assert penalty.item() == pytest.approx(slope.square().sum().item())
    penalty.backward()
    torch.testing.assert_close(slope.grad, 2 * slope.detach())


def test_the_penalty_is_the_mean_squared_slope_by_differences() -> None:
    model, _ = make_model("adversarial_ae")
    z = torch.randn(50, 2, generator=torch.Generator().manual_seed(0)).double()
    steps = 1e-6 * torch.eye(2).double()

    penalty = slope_penalty(model.critic, z)

    slopes = torch.stack([(model.critic(z + step) - model.critic(z - step)) / 2e-6 for step in steps])
    assert penalty.item() == pytest.approx(slopes.square().sum(0).mean().item(), rel=1e-4)


def test_the_critic_is_trained_on_which_latents_were_drawn_and_penalised_there() -> None:
    model, row = make_model("adversarial_ae", r1=3.0)
    drawn = torch.randn(32, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    loss = model.objectives()[1].loss(Batch(row, row), context())

    logits = torch.cat([model.critic(drawn), model.critic(model.posterior(row).mean[:32])])
    is_drawn = torch.cat([torch.ones(32), torch.zeros(32)]).double()
    cross_entropy = F.binary_cross_entropy_with_logits(logits, is_drawn)
    assert loss.total.item() == pytest.approx((cross_entropy + 1.5 * slope_penalty(model.critic, drawn)).item())


def test_the_encoder_loss_has_the_terms_of_the_critic_and_of_the_moments() -> None:
    model, row = make_model("adversarial_ae", sigma=1.0, match=2.0)

    loss = model.objectives()[0].loss(Batch(row, row), context())

    posterior, params = model.reconstruct(row)
    nll = model.likelihood.nll(params, row).sum(1).mean()
    found_out = -torch.sigmoid(model.critic(posterior.mean)).log().mean()
    assert loss.terms["nll"].item() == pytest.approx(nll.item())
    moments = Normal(posterior.mean.mean(0), posterior.mean.std(0, correction=0))
    apart = kl_divergence(moments, Normal(torch.zeros(2), 1.0)).sum()
    assert loss.total.item() == pytest.approx((nll + 2.0 * (found_out + apart)).item())


def test_facts_are_the_moments_of_codes_and_the_share_that_the_critic_gets_right() -> None:
    model, row = make_model("adversarial_ae", rows=500)
    with torch.no_grad():
        z = model.posterior(row).mean.numpy()

        metrics = model.card_metrics(Batch(row, row), torch.Generator().manual_seed(3))

    drawn = torch.randn(500, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    right = (model.critic(torch.from_numpy(z)) < 0).sum() + (model.critic(drawn) > 0).sum()
    assert metrics["greatest_mean"] == pytest.approx(np.abs(z.mean(0)).max(), abs=1e-12)
    assert metrics["least_std"] == pytest.approx(z.std(0).min())
    assert metrics["greatest_std"] == pytest.approx(z.std(0).max())
    assert metrics["greatest_correlation"] == pytest.approx(abs(np.corrcoef(z.T)[0, 1]))
    assert metrics["critic_accuracy"] == pytest.approx(right.item() / 1_000)


@pytest.mark.slow
def test_codes_of_skewed_rows_look_like_n01() -> None:
    """Moments are not enough: codes with mean 0 and variance 1 may be as skewed as the rows."""
    before, after, metrics = train_on_skewed_rows("adversarial_ae")

    assert before > 0.1
    assert after < 0.6 * before
    assert metrics["greatest_mean"] < 0.15
    assert 0.85 < metrics["least_std"] <= metrics["greatest_std"] < 1.15
    assert metrics["greatest_correlation"] < 0.15
    assert metrics["critic_accuracy"] < 0.9
