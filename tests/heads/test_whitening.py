import numpy as np
import pytest
from sklearn.covariance import LedoitWolf

from aepipe.heads.whitening import LEAST_EIGENVALUE, mahalanobis_squared, shrunk_covariance, whitening_projection


def _points(rows: int, width: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.normal(size=(rows, width)) @ generator.normal(size=(width, width)) + generator.normal(size=width)


@pytest.mark.parametrize(("rows", "width"), [(400, 6), (50, 20), (10, 30), (3, 2)])
def test_the_shrunk_covariance_is_that_of_ledoit_and_wolf(rows: int, width: int) -> None:
    points = _points(rows, width)

    mean, covariance = shrunk_covariance(points)

    oracle = LedoitWolf().fit(points)
    np.testing.assert_allclose(mean, oracle.location_, rtol=1e-10)
    np.testing.assert_allclose(covariance, oracle.covariance_, rtol=1e-8, atol=1e-10)


def test_the_covariance_of_one_row_is_not_nan() -> None:
    mean, covariance = shrunk_covariance(np.ones((1, 3)))

    np.testing.assert_array_equal(mean, 1)
    assert np.isfinite(covariance).all()


def test_the_projection_is_a_root_of_the_inverse() -> None:
    covariance = np.cov(_points(300, 5), rowvar=False)

    projection = whitening_projection(covariance)

    np.testing.assert_allclose(projection @ projection.T, np.linalg.inv(covariance), rtol=1e-8)


def test_a_singular_covariance_is_inverted_with_its_least_eigenvalues_raised() -> None:
    covariance = np.diag([2.0, 1.0, 0.0])

    projection = whitening_projection(covariance)

    np.testing.assert_allclose(np.sort((projection**2).sum(axis=0)), [0.5, 1.0, 1 / LEAST_EIGENVALUE])


def test_distances_are_quadratic_forms_of_the_inverse() -> None:
    points = _points(100, 4)
    mean, covariance = points.mean(axis=0), np.cov(points, rowvar=False)

    found = mahalanobis_squared(points, mean, covariance)

    centred = points - mean
    np.testing.assert_allclose(found, np.einsum("bi,ij,bj->b", centred, np.linalg.inv(covariance), centred), rtol=1e-8)
