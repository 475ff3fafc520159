"""Total correlation against torch.distributions and closed forms, in float64."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from aepipe.models.total_correlation import (
    Densities,
    aggregated,
    mutual_information,
    permuted,
    stratified,
    stratified_log_weights,
    total_correlation,
)

ROWS, BATCH, BATCHES = 10_000, 256, 30


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def posteriors(rows: int, latents: int, *, correlation: float, std: float) -> tuple[Tensor, Tensor]:
    """Generate Gaussians with equally correlated means, whose aggregate is close to N(0, 1) per latent."""
    covariance = correlation + (1 - correlation) * torch.eye(latents, dtype=torch.float64)
    mean = normal(rows, latents, seed=0) @ torch.linalg.cholesky(covariance).T * math.sqrt(1 - std**2)
    return mean, torch.full_like(mean, 2 * math.log(std))


def oracle(z: Tensor, mean: Tensor, log_var: Tensor) -> Densities:
    """Compute the densities of the mixture by torch.distributions."""
    alike, each = torch.ones(len(mean), dtype=torch.float64), Normal(mean, (0.5 * log_var).exp())
    joint = MixtureSameFamily(Categorical(alike), Independent(each, 1)).log_prob(z)
    by_latent = MixtureSameFamily(Categorical(alike.expand(mean.shape[1], -1)), Normal(each.mean.T, each.stddev.T))
    return Densities(joint, by_latent.log_prob(z))


def drawn(mean: Tensor, log_var: Tensor, seed: int) -> Tensor:
    return mean + normal(*mean.shape, seed=seed) * (0.5 * log_var).exp()


def in_batches(mean: Tensor, log_var: Tensor, log_weights: Tensor) -> float:
    """Return the mean estimate over batches of 256 rows, with these weights."""
    total = 0.0
    for seed in range(BATCHES):
        chosen = torch.randperm(len(mean), generator=seeded(seed))[:BATCH]
        z = drawn(mean[chosen], log_var[chosen], 100 + seed)
        total += aggregated(z, mean[chosen], log_var[chosen], log_weights).total_correlation.item()
    return total / BATCHES


def column_0(batch: int, rows: int) -> Tensor:
    """Compute the weights of public implementations: a stride one too short puts 1/N into the first column."""
    others = batch - 1
    weights = torch.full((batch, batch), 1 / others, dtype=torch.float64)
    weights.view(-1)[::batch] = 1 / rows
    weights.view(-1)[1::batch] = (rows - others) / (rows * others)
    weights[others - 1, 0] = (rows - others) / (rows * others)
    return weights.log()


def test_the_densities_are_those_of_torch_distributions() -> None:
    mean, log_var = 3 * normal(40, 3, seed=1), normal(40, 3, seed=2) - 2
    z = drawn(mean, log_var, seed=3)[:9]

    densities = aggregated(z, mean, log_var, torch.full((40,), -math.log(40), dtype=torch.float64))

    torch.testing.assert_close(densities, oracle(z, mean, log_var))


def test_narrow_gaussians_far_from_the_origin_keep_their_densities_in_float32() -> None:
    mean, log_var = 5 + normal(20, 2, seed=1), torch.full((20, 2), -13.0, dtype=torch.float64)
    z = drawn(mean.float(), log_var.float(), seed=2).float()

    densities = aggregated(z, mean.float(), log_var.float(), torch.full((20,), -math.log(20)))

    expected = oracle(z.double(), mean.float().double(), log_var)
    torch.testing.assert_close(densities.joint.double(), expected.joint, rtol=1e-4, atol=1e-4)


def test_a_batch_that_is_all_there_is_has_the_exact_aggregate() -> None:
    mean, log_var = normal(60, 4, seed=1), normal(60, 4, seed=2) - 2
    z = drawn(mean, log_var, seed=3)

    torch.testing.assert_close(stratified(z, mean, log_var, rows=60), oracle(z, mean, log_var), rtol=1e-6, atol=1e-6)


def test_a_row_s_own_gaussian_weighs_one_in_all_rows_on_the_diagonal() -> None:
    weights = stratified_log_weights(5, 1_000).exp()

    assert weights.diagonal().tolist() == pytest.approx([1e-3] * 5)
    assert weights.sum(1).tolist() == pytest.approx([1.0] * 5)
    assert weights[0, 1:].tolist() == pytest.approx([(1 - 1e-3) / 4] * 4)


def test_the_estimated_density_is_right_on_average_over_the_batches() -> None:
    mean, log_var = normal(6, 2, seed=1), normal(6, 2, seed=2)
    z = drawn(mean, log_var, seed=3)
    # every batch of row 0 and two others
    batches = [[0, i, k] for i in range(1, 6) for k in range(i + 1, 6)]

    estimates = [stratified(z[rows], mean[rows], log_var[rows], rows=6).joint[0].exp() for rows in batches]

    assert torch.stack(estimates).mean().item() == pytest.approx(oracle(z, mean, log_var).joint[0].exp().item())


@pytest.mark.slow
def test_ten_thousand_gaussians_have_about_their_total_correlation_in_batches_and_not_with_column_0() -> None:
    mean, log_var = posteriors(ROWS, 10, correlation=0.5, std=0.3)
    some = torch.randperm(ROWS, generator=seeded(0))[:600]
    exact = oracle(drawn(mean[some], log_var[some], 1), mean, log_var).total_correlation.item()

    ours = in_batches(mean, log_var, stratified_log_weights(BATCH, ROWS).double())
    theirs = in_batches(mean, log_var, column_0(BATCH, ROWS))
    naive = in_batches(mean, log_var, torch.full((BATCH,), -math.log(BATCH), dtype=torch.float64))

    assert exact == pytest.approx(3.6, abs=0.15)
    assert ours == pytest.approx(exact, abs=0.7)
    assert theirs > exact + 2
    assert theirs == pytest.approx(naive, abs=0.1)


def test_total_correlation_of_correlated_gaussians_is_the_closed_form() -> None:
    mean, log_var = posteriors(8_000, 2, correlation=0.9, std=0.3)
    covariance = torch.cov(mean.T) + 0.09 * torch.eye(2, dtype=torch.float64)
    closed = -0.5 * math.log(1 - covariance[0, 1] ** 2 / (covariance[0, 0] * covariance[1, 1]))

    found = total_correlation(mean, log_var, seeded(3), draws=4_000)

    assert found == pytest.approx(closed, abs=0.04)


def test_total_correlation_of_far_clusters_on_a_diagonal_is_the_log_of_their_number() -> None:
    places = torch.tensor([0.0, 20.0, 40.0, 60.0]).repeat(10).unsqueeze(1)
    mean = places.expand(40, 3)

    found = total_correlation(mean, torch.zeros(40, 3), seeded(0), draws=50)

    assert found == pytest.approx(2 * math.log(4))  # log 4 for each of three latents, less log 4 for all


def test_total_correlation_of_a_product_is_nothing() -> None:
    mean = torch.cartesian_prod(torch.arange(5.0), torch.tensor([0.0, 1.0, 7.0]))

    assert total_correlation(mean, torch.zeros(15, 2), seeded(0)) == pytest.approx(0.0, abs=1e-9)


def test_permuted_latents_are_the_same_numbers_in_orders_of_their_own() -> None:
    z = normal(500, 1, seed=0).expand(500, 3)

    shuffled = permuted(z, seeded(1))

    assert torch.equal(shuffled.sort(0).values, z.sort(0).values)
    assert torch.corrcoef(shuffled.T).fill_diagonal_(0.0).abs().max() < 0.15


def test_information_of_a_gaussian_channel_is_shannons() -> None:
    mean = normal(4_000, 2, seed=1)

    found = mutual_information(mean, torch.full_like(mean, math.log(0.5)), seeded(0), rows=4_000)

    assert found == pytest.approx(math.log(1 + 1 / 0.5), abs=0.1)  # 1/2 log(1 + signal / noise) per latent


def test_latents_that_are_alike_in_all_rows_have_no_information_and_exact_ones_the_log_of_the_rows() -> None:
    log_var = torch.full((200, 3), -1.0, dtype=torch.float64)

    assert mutual_information(torch.ones_like(log_var), log_var, seeded(0)) == pytest.approx(0, abs=1e-9)
    exact = mutual_information(1e4 * normal(200, 3, seed=1), log_var, seeded(0), rows=100)
    assert exact == pytest.approx(math.log(100), abs=1e-6)
