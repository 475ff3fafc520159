"""Measures of the model zoo on known results."""

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.stats import bernoulli, multivariate_normal
from sklearn.decomposition import PCA

from aepipe.quality.frechet import frechet_distance
from benchmarks.zoo_measures import (
    Gaussians,
    active_units,
    bernoulli_nll,
    code_moments,
    correlated,
    from_position_marginals,
    greatest_difference,
    mutual_information_gap,
    near_zero_share,
    perplexity,
    through_principal_components,
    total_correlation,
    unigram_nats,
)


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def full_factorial(*sizes: int) -> np.ndarray:
    return np.stack([axis.ravel() for axis in np.meshgrid(*map(np.arange, sizes), indexing="ij")], axis=1)


def test_principal_components_rebuild_as_scikit_learn_does(generator: np.random.Generator) -> None:
    rows = generator.standard_normal((300, 6)) @ generator.standard_normal((6, 6))
    pca = PCA(2).fit(rows[:200])

    rebuilt = through_principal_components(rows[:200], rows[200:], 2)

    np.testing.assert_allclose(rebuilt, pca.inverse_transform(pca.transform(rows[200:])))


def test_bernoulli_nll_of_black_and_white_is_that_of_scipy(generator: np.random.Generator) -> None:
    pixels = generator.integers(0, 2, (5, 9)).astype(float)
    means = generator.uniform(0.05, 0.95, (5, 9))

    nll = bernoulli_nll(pixels, means)

    np.testing.assert_allclose(nll, -bernoulli.logpmf(pixels, means).sum(1))


def test_kl_to_the_prior_is_the_mean_log_ratio(generator: np.random.Generator) -> None:
    posterior = Gaussians(np.asarray([[0.5, -1.0]]), np.asarray([[-1.0, 0.3]]))
    z = posterior.mean + generator.standard_normal((200_000, 2)) * np.exp(0.5 * posterior.log_var)
    own = multivariate_normal(posterior.mean[0], np.diag(np.exp(posterior.log_var[0])))
    ratio = own.logpdf(z) - multivariate_normal(np.zeros(2)).logpdf(z)

    assert posterior.kl().sum() == pytest.approx(ratio.mean(), abs=0.01)


def test_frechet_distance_of_rows_to_themselves_is_zero(generator: np.random.Generator) -> None:
    rows = generator.standard_normal((500, 4))

    assert frechet_distance(rows, rows) == pytest.approx(0, abs=1e-9)


def test_frechet_distance_of_a_shift_is_its_square(generator: np.random.Generator) -> None:
    rows = generator.standard_normal((500, 3))

    assert frechet_distance(rows, rows + np.asarray([3.0, 0.0, 4.0])) == pytest.approx(25)


def test_frechet_distance_agrees_with_the_matrix_square_root(generator: np.random.Generator) -> None:
    first = generator.standard_normal((400, 5)) @ generator.standard_normal((5, 5))
    second = generator.standard_normal((300, 5)) @ generator.standard_normal((5, 5)) + 1
    covariances = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    crossed = sqrtm(covariances[0] @ covariances[1]).real

    distance = frechet_distance(first, second)

    shift = np.square(first.mean(0) - second.mean(0)).sum()
    assert distance == pytest.approx(shift + np.trace(covariances[0] + covariances[1] - 2 * crossed))


def test_frechet_distance_is_defined_with_a_feature_that_never_changes(generator: np.random.Generator) -> None:
    first, second = generator.standard_normal((2, 300, 3))
    first[:, 1] = second[:, 1] = 0.0

    assert 0 <= frechet_distance(first, second) < 0.1


@pytest.mark.parametrize("correlation", [0.0, 0.6, 0.9])
def test_total_correlation_is_the_closed_form_of_a_gaussian_aggregate(correlation: float) -> None:
    noise = 0.5
    covariance = (1 - noise) * np.asarray([[1, correlation], [correlation, 1]])
    means = correlated(2_000, covariance, seed=1)
    posteriors = Gaussians(means, np.full_like(means, np.log(noise)))
    aggregate = covariance + noise * np.eye(2)
    closed = -0.5 * np.log(np.linalg.det(aggregate) / np.prod(np.diag(aggregate)))

    measured = total_correlation(posteriors, draws=2_000, seed=2)

    assert measured == pytest.approx(closed, abs=0.03)


def test_total_correlation_of_three_latents_counts_every_pair() -> None:
    covariance = np.asarray([[1.0, 0.7, 0.5], [0.7, 1.0, 0.6], [0.5, 0.6, 1.0]])
    means = correlated(2_000, 0.6 * covariance, seed=3)
    posteriors = Gaussians(means, np.full_like(means, np.log(0.4)))
    aggregate = 0.6 * covariance + 0.4 * np.eye(3)
    closed = -0.5 * np.log(np.linalg.det(aggregate))

    measured = total_correlation(posteriors, draws=2_000, seed=4)

    assert measured == pytest.approx(closed, abs=0.03)


def test_total_correlation_ignores_a_constant_latent() -> None:
    means = correlated(1_000, 0.5 * np.asarray([[1, 0.8], [0.8, 1]]), seed=5)
    log_var = np.full_like(means, np.log(0.5))
    dead = np.zeros((len(means), 1))

    without = total_correlation(Gaussians(means, log_var), draws=1_500, seed=6)
    with_dead = total_correlation(Gaussians(np.hstack([means, dead]), np.hstack([log_var, dead])), draws=1_500, seed=6)

    assert with_dead == pytest.approx(without, abs=0.05)


def test_the_gap_is_one_where_each_latent_is_one_factor() -> None:
    factors = full_factorial(3, 4)
    means = factors.astype(float)
    posteriors = Gaussians(means, np.full_like(means, np.log(1e-4)))

    assert mutual_information_gap(posteriors, factors, draws=4, seed=0) == pytest.approx(1, abs=1e-6)


def test_the_gap_is_zero_where_two_latents_say_the_same() -> None:
    factors = full_factorial(3, 4)
    means = np.hstack([factors, factors]).astype(float)
    posteriors = Gaussians(means, np.full_like(means, np.log(1e-4)))

    assert mutual_information_gap(posteriors, factors, draws=4, seed=0) == pytest.approx(0, abs=1e-6)


def test_the_gap_is_zero_where_latents_know_nothing() -> None:
    factors = full_factorial(3, 4)
    posteriors = Gaussians(np.zeros((12, 3)), np.zeros((12, 3)))

    assert mutual_information_gap(posteriors, factors, draws=4, seed=0) == pytest.approx(0, abs=1e-6)


def test_the_gap_of_a_noisy_bit_is_the_information_of_its_channel() -> None:
    """The information about a bit in Gaussian noise is log 2 less the equivocation; the other latent is constant."""
    factors = full_factorial(2)
    means = np.asarray([[-1.0, 0.0], [1.0, 0.0]])
    grid = np.linspace(-8, 8, 8_001)
    density = np.exp(-0.5 * np.square(grid - 1)) / np.sqrt(2 * np.pi)
    other = np.exp(-0.5 * np.square(grid + 1)) / np.sqrt(2 * np.pi)
    known = np.trapezoid(density * np.log(2 * density / (density + other)), grid)

    gap = mutual_information_gap(Gaussians(means, np.zeros((2, 2))), factors, draws=20_000, seed=0)

    assert gap == pytest.approx(known / np.log(2), abs=0.01)


def test_active_units_are_those_whose_mean_varies(generator: np.random.Generator) -> None:
    means = generator.standard_normal((500, 3)) * np.asarray([1.0, 0.05, 0.5])

    assert active_units(Gaussians(means, None)) == 2


def test_perplexity_is_the_number_of_codes_used_alike() -> None:
    assert perplexity(np.repeat(np.arange(7), 5), 256) == pytest.approx(7)


def test_unigram_nats_of_codes_used_alike_are_the_logarithm_of_their_number() -> None:
    codes = np.tile(np.arange(8), (1_000, 1))

    assert unigram_nats(codes, codes, 8) == pytest.approx(np.log(8))


def test_codes_of_position_marginals_keep_each_position_and_lose_what_binds_them() -> None:
    codes = np.stack([np.arange(1_000) % 2, 2 + np.arange(1_000) % 2], axis=1)

    drawn = from_position_marginals(codes, 4_000, seed=0)

    assert set(np.unique(drawn[:, 0])) == {0, 1}
    assert set(np.unique(drawn[:, 1])) == {2, 3}
    assert abs(np.corrcoef(drawn, rowvar=False)[0, 1]) < 0.05


def test_moments_name_the_worst_dimension_and_pair() -> None:
    covariance = np.asarray([[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 4.0]])
    codes = correlated(200_000, covariance, seed=0) + np.asarray([0.0, -0.5, 0.0])

    moments = code_moments(codes)

    assert moments == pytest.approx((0.5, 1.0, 2.0, 0.9), abs=0.02)


def test_near_zero_is_relative_to_a_dimension() -> None:
    codes = np.asarray([[0.0, 100.0], [0.001, 1.0], [1.0, 50.0], [0.5, 0.0]])

    assert near_zero_share(codes) == 0.5


def test_features_of_a_fixed_map_do_not_differ_and_those_of_a_drawing_one_do(generator: np.random.Generator) -> None:
    rows = generator.standard_normal((40, 3)).astype(np.float32)

    def fixed(begin: int, end: int) -> np.ndarray:
        return 2 * rows[begin:end]

    def drawing(begin: int, end: int) -> np.ndarray:
        return rows[begin:end] + generator.standard_normal((end - begin, 3))

    assert greatest_difference(fixed, 40, (1, 7)) == 0
    assert greatest_difference(drawing, 40, (1, 7)) > 1e4
