import numpy as np
import pytest
import torch
from scipy.stats import chi2
from sklearn.covariance import EmpiricalCovariance, MinCovDet
from sklearn.metrics import roc_auc_score

from aepipe.heads.base import HeadStats, ScoringInputs
from aepipe.heads.robust_starts import starting_distances
from aepipe.heads.scores import find
from aepipe.heads.scores.robust_mahalanobis import _concentrated, chi_squared_median, concentrate
from aepipe.heads.whitening import mahalanobis_squared
from tests.support.head_models import scoring_inputs


def _polluted(rows: int, share: float) -> tuple[ScoringInputs, np.ndarray]:
    """Return scoring inputs with a share of outliers in a tight cluster, and a mask of the outliers."""
    clean = scoring_inputs(rows)
    is_outlier = np.arange(rows) < share * rows
    residual, z = clean.residual.clone(), clean.z.clone()
    residual[is_outlier] = 0.3 * residual[is_outlier] + 8 * clean.residual.std(0)
    z[is_outlier] = 0.3 * z[is_outlier] - 8 * clean.z.std(0)
    return clean._replace(residual=residual, z=z), is_outlier


def _auroc(name: str, share: float) -> float:
    """Return the AUROC of a head on polluted rows, by comparing every pair."""
    rows, is_outlier = _polluted(1_000, share)
    score = find(name).fit(HeadStats(rows, scoring_inputs(200, seed=5)))(rows).numpy()
    return float((score[is_outlier][:, None] > score[~is_outlier][None]).mean())


def test_a_tenth_of_planted_outliers_misleads_the_plain_head_but_not_the_robust_one() -> None:
    assert _auroc("robust_mahalanobis", 0.1) > 0.999
    assert _auroc("mahalanobis", 0.1) < 0.99


@pytest.mark.parametrize("share", [0.2, 0.3])
def test_up_to_three_tenths_of_outliers_do_not_mislead_the_robust_head(share: float) -> None:
    assert _auroc("robust_mahalanobis", share) > 0.99


def test_its_center_and_distances_are_close_to_those_of_the_minimum_covariance_determinant() -> None:
    generator = np.random.default_rng(0)
    points = generator.normal(size=(1_000, 4)) @ np.array([[1, 0.8, 0, 0], [0, 0.6, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    points[:100] += 10

    mean, covariance = concentrate(points)

    oracle = MinCovDet(random_state=0).fit(points)
    np.testing.assert_allclose(mean, oracle.location_, atol=0.1)
    np.testing.assert_allclose(covariance, oracle.covariance_, atol=0.2)


def test_on_gaussian_rows_its_covariance_is_the_plain_one_in_shape_and_size() -> None:
    points = np.random.default_rng(0).normal(size=(20_000, 5)) * [1, 2, 3, 4, 5]

    _, covariance = concentrate(points / [1, 2, 3, 4, 5])

    plain = EmpiricalCovariance().fit(points / [1, 2, 3, 4, 5]).covariance_
    np.testing.assert_allclose(covariance, plain, atol=0.1)


def test_a_typical_row_scores_about_one() -> None:
    rows = scoring_inputs(4_000)

    score = find("robust_mahalanobis").fit(HeadStats(rows, rows))(rows)

    assert 0.9 < float(torch.median(score)) < 1.1


@pytest.mark.parametrize("degrees", [2, 5, 30, 200])
def test_the_median_of_chi_squared_is_that_of_scipy(degrees: int) -> None:
    assert chi_squared_median(degrees) == pytest.approx(chi2.median(degrees), rel=0.02)


def _correlated_with_outliers(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return correlated points, three tenths of them outliers across the correlation, and a mask of the outliers.

    Most of the rows closest to the origin are outliers, so that concentration steps from there do not leave them out.
    """
    generator = np.random.default_rng(0)
    is_outlier = np.arange(rows) < 0.3 * rows
    along, across = generator.normal(size=(2, rows, 4))
    points = np.concatenate([along, along + 0.05 * across], axis=1)
    points[is_outlier, 4:] = -along[is_outlier] + 0.05 * across[is_outlier]
    points[is_outlier] *= 0.3
    return points, is_outlier


def test_several_starts_find_the_bulk_where_the_rows_closest_to_the_origin_mislead() -> None:
    points, is_outlier = _correlated_with_outliers(1_000)

    several = mahalanobis_squared(points, *concentrate(points))
    origin = _concentrated(points, (points**2).sum(axis=1))
    one = mahalanobis_squared(points, origin.mean, origin.covariance)

    assert roc_auc_score(is_outlier, one) < 0.9
    assert roc_auc_score(is_outlier, several) > 0.95


def test_points_of_one_coordinate_and_constant_coordinates_have_finite_starts() -> None:
    points = np.random.default_rng(0).normal(size=(50, 3)) * [1, 0, 1]

    assert all(np.isfinite(distances).all() for distances in starting_distances(points))
    assert len(list(starting_distances(points[:, :1]))) == 1
