"""Closed forms of traversals, attribute vectors and clusters."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.spatial.distance import mahalanobis
from sklearn.mixture import GaussianMixture

from aepipe import latent_math as latent

ENDS = arrays.arrays(np.float64, (2, 3, 5), elements=st.floats(-100, 100))
T = latent.shares(9)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


@given(ENDS)
def test_both_ways_begin_and_end_exactly_at_their_ends(ends: np.ndarray) -> None:
    for how in ("lerp", "slerp"):
        path = latent.path(ends[0], ends[1], steps=7, how=how)  # type: ignore[arg-type]

        np.testing.assert_array_equal(path[:, 0], ends[0])
        np.testing.assert_array_equal(path[:, -1], ends[1])
        assert np.isfinite(path).all()


def test_the_straight_way_is_the_weighted_mean() -> None:
    a, b = normal(4, 6), normal(4, 6, seed=1)

    path = latent.lerp(a, b, [0.25])

    np.testing.assert_allclose(path[:, 0], 0.75 * a + 0.25 * b)


def test_between_equal_norms_the_arc_keeps_the_norm_and_is_shoemakes_formula() -> None:
    a, b = (z / np.linalg.norm(z, axis=1, keepdims=True) * 3 for z in (normal(20, 8), normal(20, 8, seed=1)))

    path = latent.slerp(a, b, T)

    angle = np.arccos((a * b).sum(1) / 9)[:, None, None]
    t = T[None, :, None]
    wanted = (np.sin((1 - t) * angle) * a[:, None] + np.sin(t * angle) * b[:, None]) / np.sin(angle)
    np.testing.assert_allclose(np.linalg.norm(path, axis=2), 3, rtol=1e-12)
    np.testing.assert_allclose(path, wanted, rtol=1e-9, atol=1e-12)


def test_between_unequal_norms_the_norm_changes_evenly() -> None:
    path = latent.slerp([[2.0, 0.0]], [[0.0, 6.0]], [0.25, 0.5])

    np.testing.assert_allclose(np.linalg.norm(path[0], axis=1), [3, 4])
    np.testing.assert_allclose(np.arctan2(path[0, :, 1], path[0, :, 0]), [np.pi / 8, np.pi / 4])


def test_every_step_of_the_arc_turns_by_the_same_angle() -> None:
    path = latent.slerp(normal(5, 4), normal(5, 4, seed=1), T)

    units = path / np.linalg.norm(path, axis=2, keepdims=True)
    turns = np.arccos((units[:, 1:] * units[:, :-1]).sum(2))
    np.testing.assert_allclose(turns, np.repeat(turns[:, :1], 8, axis=1), rtol=1e-6)


@pytest.mark.parametrize("factor", [1.0, 1 + 1e-12, 4.0])
def test_the_arc_between_one_direction_is_straight(factor: float) -> None:
    a = normal(3, 5)

    np.testing.assert_allclose(latent.slerp(a, factor * a, T), latent.lerp(a, factor * a, T), rtol=1e-9)


def test_opposite_ends_are_joined_by_half_a_circle_that_keeps_its_norm() -> None:
    a = np.concatenate([normal(3, 5), np.eye(5)[:2]])

    path = latent.slerp(a, -a, T)

    norms = np.linalg.norm(a, axis=1)
    np.testing.assert_allclose(np.linalg.norm(path, axis=2), np.repeat(norms[:, None], 9, axis=1))
    np.testing.assert_allclose((path[:, 4] * a).sum(1), 0, atol=1e-9)


@pytest.mark.parametrize(("a", "b"), [([0.0, 0.0], [1.0, 2.0]), ([0.0, 0.0], [0.0, 0.0]), ([3.0], [-1.0])])
def test_where_there_is_no_angle_the_arc_is_straight(a: list[float], b: list[float]) -> None:
    np.testing.assert_allclose(latent.slerp([a], [b], T), latent.lerp([a], [b], T))


def test_a_planted_shift_is_recovered_by_the_attribute_vector() -> None:
    planted = np.array([2.0, -1.0, 0.0, 0.5])
    z, has = normal(4_000, 4), np.arange(4_000) % 4 == 0
    z[has] += planted

    found = latent.attribute_vector(z[has], z[~has])

    np.testing.assert_allclose(found, planted, atol=0.1)  # standard error .037
    np.testing.assert_allclose(latent.shifted(z[:2], found, [0, -2])[:, 1], z[:2] - 2 * found)
    np.testing.assert_array_equal(latent.shifted(z[:2], found, [0, -2])[:, 0], z[:2])


def test_a_traversal_moves_one_dimension_over_its_values_and_no_other() -> None:
    z, values = normal(3, 5), latent.spread(normal(100, 5, seed=1), steps=4)

    walk = latent.traversal(z, [4, 1], values)

    assert walk.shape == (3, 2, 4, 5)
    np.testing.assert_array_equal(walk[2, 0, :, 4], values[:, 4])
    np.testing.assert_array_equal(walk[2, 1, :, 1], values[:, 1])
    np.testing.assert_array_equal(walk[:, 0, :, :4], np.repeat(z[:, None, :4], 4, axis=1))


def test_the_spread_of_a_normal_is_its_central_95_percent() -> None:
    values = latent.spread(3 + 2 * normal(200_000, 1), steps=3)

    np.testing.assert_allclose(values[:, 0], [3 - 2 * 1.96, 3, 3 + 2 * 1.96], atol=0.05)


def test_components_are_those_that_scikit_learn_predicts_and_distances_are_mahalanobis() -> None:
    rows = np.concatenate([normal(200, 3) @ normal(3, 3, seed=at) + 2 * at for at in range(4)])
    fitted = GaussianMixture(4, random_state=0).fit(rows)
    mixture = latent.Mixture(fitted.weights_, fitted.means_, np.linalg.cholesky(fitted.covariances_))
    others = 4 * normal(500, 3, seed=9)

    component, distance = mixture.assign(others)

    np.testing.assert_array_equal(component, fitted.predict(others))
    inverses = np.linalg.inv(fitted.covariances_)
    wanted = [mahalanobis(z, fitted.means_[k], inverses[k]) for z, k in zip(others, component, strict=True)]
    np.testing.assert_allclose(distance, wanted, rtol=1e-9)
