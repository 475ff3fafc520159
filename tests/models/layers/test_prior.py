import numpy as np
import pytest
import torch
from scipy.stats import kstest
from sklearn.mixture import GaussianMixture

from aepipe.models.layers.prior import MixturePrior, affordable_components, fit_mixture, fit_normal, standard_prior


def _two_blobs(rows: int, width: int = 3) -> np.ndarray:
    generator = np.random.default_rng(0)
    blobs = generator.normal(size=(rows, width)) @ (np.eye(width) + 0.5 * np.tri(width))
    blobs[: rows // 4] = 0.3 * blobs[: rows // 4] + 8
    return blobs


def _draw(prior: MixturePrior, rows: int) -> np.ndarray:
    generator = np.random.default_rng(1)
    noise = [
        generator.standard_normal((rows, *port.row_shape)) if port.noise == "normal" else generator.random((rows, 1))
        for port in prior.noise
    ]
    return prior(
        *(torch.from_numpy(array.astype(port.dtype)) for array, port in zip(noise, prior.noise, strict=True))
    ).numpy()


def test_a_draw_is_its_component_s_mean_plus_factor_times_noise() -> None:
    generator = np.random.default_rng(0)
    weights = np.array([0.2, 0.5, 0.3])
    means, factors = generator.normal(size=(3, 4)), np.tril(generator.normal(size=(3, 4, 4)))
    eps, u = generator.normal(size=(500, 4)).astype(np.float32), generator.random((500, 1)).astype(np.float32)

    z = MixturePrior(weights, means, factors)(torch.from_numpy(eps), torch.from_numpy(u))

    component = np.searchsorted(np.cumsum(weights).astype(np.float32), u[:, 0], side="right")
    wanted = means[component] + np.einsum("bij,bj->bi", factors[component], eps)
    np.testing.assert_allclose(z.numpy(), wanted, rtol=1e-4, atol=1e-5)


def test_components_are_drawn_by_their_weights() -> None:
    weights = np.array([0.1, 0.6, 0.3])
    prior = MixturePrior(weights, np.array([[0.0], [100.0], [200.0]]), np.ones((3, 1, 1)))

    z = _draw(prior, 50_000)

    shares = np.bincount(np.round(z[:, 0] / 100).astype(int)) / len(z)
    np.testing.assert_allclose(shares, weights, atol=0.01)


def test_the_ends_of_the_uniform_range_draw_the_first_and_the_last_component() -> None:
    prior = MixturePrior(np.array([0.5, 0.5]), np.array([[1.0], [2.0]]), np.zeros((2, 1, 1)))

    z = prior(torch.zeros(2, 1), torch.tensor([[0.0], [1.0]]))

    np.testing.assert_array_equal(z, [[1], [2]])


def test_draws_have_the_moments_of_the_rows() -> None:
    rows = _two_blobs(4_000)

    drawn = _draw(fit_mixture(rows, components=10, seed=0), 40_000)

    np.testing.assert_allclose(drawn.mean(axis=0), rows.mean(axis=0), atol=0.1)
    np.testing.assert_allclose(np.cov(drawn, rowvar=False), np.cov(rows, rowvar=False), rtol=0.05, atol=0.3)


def test_draws_are_as_likely_as_the_rows_under_the_mixture_of_scikit_learn() -> None:
    rows = _two_blobs(2_000)
    oracle = GaussianMixture(4, random_state=0).fit(rows)

    drawn = _draw(fit_mixture(rows, components=4, seed=0), 2_000)

    assert kstest(oracle.score_samples(drawn), oracle.score_samples(rows)).pvalue > 0.001


def test_the_same_rows_and_seed_give_the_same_mixture() -> None:
    rows = _two_blobs(300)

    one, again = (fit_mixture(rows, components=5, seed=2).state_dict() for _ in range(2))

    assert all(torch.equal(one[name], again[name]) for name in one)


@pytest.mark.parametrize(("rows", "width", "components"), [(2_000, 4, 10), (60, 4, 4), (10, 4, 1), (1, 4, 1)])
def test_few_rows_support_few_components(rows: int, width: int, components: int) -> None:
    latents = np.random.default_rng(0).normal(size=(rows, width))

    assert affordable_components(latents, 10) == components


def test_repeated_rows_count_once() -> None:
    assert affordable_components(np.repeat(np.random.default_rng(0).random((16, 3)), 100, axis=0), 10) == 1


@pytest.mark.parametrize("rows", [1, 2, 7, 100])
@pytest.mark.parametrize("width", [1, 5])
def test_draws_are_finite_and_near_the_rows_for_any_number_of_rows(rows: int, width: int) -> None:
    latents = np.random.default_rng(0).normal(5, 1, size=(rows, width))

    drawn = _draw(fit_mixture(latents, components=10, seed=0), 1_000)

    assert np.isfinite(drawn).all()
    np.testing.assert_allclose(drawn.mean(axis=0), latents.mean(axis=0), atol=0.3)


def test_constant_latents_still_give_a_mixture() -> None:
    drawn = _draw(fit_mixture(np.full((50, 3), 2.0), components=10, seed=0), 100)

    np.testing.assert_allclose(drawn, 2, atol=0.01)


def test_the_plain_gaussian_has_the_moments_of_the_rows() -> None:
    rows = _two_blobs(500)

    drawn = _draw(fit_normal(rows), 50_000)

    np.testing.assert_allclose(drawn.mean(axis=0), rows.mean(axis=0), atol=0.05)
    np.testing.assert_allclose(drawn.std(axis=0), rows.std(axis=0), rtol=0.02)


def test_the_standard_prior_returns_the_noise() -> None:
    eps = torch.randn(5, 3)

    torch.testing.assert_close(standard_prior(3)(eps), eps)
