"""Closed forms against torch.distributions, in float64."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Normal, kl_divergence

from aepipe.models.losses import (
    MIN_LOG_SIGMA,
    bernoulli_nll,
    categorical_nll,
    free_bits,
    gaussian_nll,
    kl_by_dimension,
    kl_to_standard_normal,
    optimal_log_sigma,
)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_gaussian_nll_is_that_of_torch_distributions() -> None:
    residual, log_sigma = draw(7, 3), draw(3, seed=1)

    nll = gaussian_nll(residual, log_sigma)

    torch.testing.assert_close(nll, -Normal(torch.zeros(3).double(), log_sigma.exp()).log_prob(residual))


def test_bernoulli_nll_is_that_of_torch_distributions() -> None:
    logits, target = 5 * draw(7, 3), (draw(7, 3, seed=1) > 0).double()

    torch.testing.assert_close(bernoulli_nll(logits, target), -Bernoulli(logits=logits).log_prob(target))


def test_bernoulli_nll_of_a_grey_pixel_is_least_where_the_probability_is_the_pixel() -> None:
    pixel = torch.tensor(0.3, dtype=torch.float64)
    logits = torch.linspace(-5, 5, 100_001, dtype=torch.float64)

    best = logits[bernoulli_nll(logits, pixel).argmin()]

    assert torch.sigmoid(best).item() == pytest.approx(0.3, abs=1e-4)


def test_bernoulli_nll_of_great_logits_is_finite() -> None:
    assert bernoulli_nll(torch.tensor([1e4, -1e4]), torch.tensor([0.0, 1.0])).tolist() == [1e4, 1e4]


def test_categorical_nll_is_that_of_torch_distributions() -> None:
    logits, codes = draw(7, 3, 5), torch.arange(21).reshape(7, 3) % 5

    torch.testing.assert_close(
        categorical_nll(logits.log_softmax(-1), codes), -Categorical(logits=logits).log_prob(codes)
    )


def test_kl_is_that_of_torch_distributions() -> None:
    mean, log_var = draw(7, 3), draw(7, 3, seed=1)
    oracle = kl_divergence(Normal(mean, (0.5 * log_var).exp()), Normal(0.0, 1.0))

    torch.testing.assert_close(kl_by_dimension(mean, log_var), oracle)
    torch.testing.assert_close(kl_to_standard_normal(mean, log_var), oracle.sum(1))


def test_kl_of_the_prior_is_nothing() -> None:
    assert kl_to_standard_normal(torch.zeros(2, 3), torch.zeros(2, 3)).tolist() == [0.0, 0.0]


def test_free_bits_charges_a_dimension_its_kl_and_at_least_the_bits() -> None:
    assert free_bits(torch.tensor([0.1, 2.0]), 0.5).tolist() == [0.5, 2.0]


def test_a_dimension_below_its_free_bits_has_no_gradient() -> None:
    kl = torch.tensor([0.1, 1.0], requires_grad=True)

    free_bits(kl, 0.5).sum().backward()

    assert kl.grad is not None
    assert kl.grad.tolist() == [0.0, 1.0]


def test_optimal_sigma_is_the_least_of_a_search() -> None:
    residual = 0.7 * draw(50)
    tried = torch.linspace(-3, 2, 50_001, dtype=torch.float64)
    nll = torch.stack([gaussian_nll(residual, log_sigma).sum() for log_sigma in tried])

    best = optimal_log_sigma(residual.square().sum(), torch.tensor(50.0, dtype=torch.float64))

    assert best.item() == pytest.approx(tried[nll.argmin()].item(), abs=1e-3)
    assert best.item() == pytest.approx(0.5 * math.log(residual.square().mean().item()))


def test_optimal_sigma_of_no_error_stays_a_hundredth() -> None:
    assert optimal_log_sigma(torch.zeros(()), torch.tensor(5.0)).item() == pytest.approx(MIN_LOG_SIGMA)
