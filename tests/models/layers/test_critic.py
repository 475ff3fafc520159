"""A critic against closed forms."""

import math

import pytest
import torch
import torch.nn.functional as F

from aepipe.models.layers.critic import Critic, critic_nll
from aepipe.models.total_correlation import permuted


def test_the_loss_is_the_cross_entropy_of_the_two_distributions() -> None:
    first, second = torch.randn(5, generator=torch.Generator().manual_seed(0)), torch.tensor([0.3, -2.0])

    oracle = F.binary_cross_entropy_with_logits(torch.cat([first, second]), torch.tensor([1.0] * 5 + [0.0] * 2))

    assert critic_nll(first, second).item() == pytest.approx(oracle.item())


@pytest.mark.slow
def test_the_mean_logit_of_a_trained_critic_is_the_total_correlation() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        critic = Critic(2, (64, 64))
    generator, correlation = torch.Generator().manual_seed(1), 0.9
    factor = torch.linalg.cholesky(torch.tensor([[1.0, correlation], [correlation, 1.0]]))
    optimizer = torch.optim.Adam(critic.parameters(), lr=2e-3, betas=(0.5, 0.9))

    for _ in range(800):
        drawn, others = (torch.randn(2_048, 2, generator=generator) @ factor.T).split(1_024)
        optimizer.zero_grad()
        critic_nll(critic(drawn), critic(permuted(others, generator))).backward()
        optimizer.step()

    found = critic(torch.randn(20_000, 2, generator=generator) @ factor.T).mean().item()
    assert found == pytest.approx(-0.5 * math.log(1 - correlation**2), abs=0.12)
