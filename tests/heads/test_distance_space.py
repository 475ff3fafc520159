import numpy as np
import pytest
import torch

from aepipe.heads.distance_space import FLOOR, LEAST_SHARE, Space, coordinates, robust_scaling, standard_scaling
from tests.support.head_models import scoring_inputs


def test_a_row_is_its_residual_and_its_latents_side_by_side() -> None:
    rows = scoring_inputs(4)

    points = coordinates(rows)

    assert points.dtype == np.float64
    np.testing.assert_array_equal(points[:, :6], rows.residual.numpy())
    np.testing.assert_array_equal(points[:, 6:], rows.z.numpy())


def test_the_graph_scales_as_numpy_does() -> None:
    train, dev, rows = scoring_inputs(100), scoring_inputs(50, seed=1), scoring_inputs(20, seed=2)
    center, scale = scaling = standard_scaling(train, dev)

    points = Space(scaling)(rows)

    np.testing.assert_allclose(points.numpy(), (coordinates(rows) - center) / scale, rtol=1e-5, atol=1e-6)


def test_the_scale_is_the_greater_spread_of_training_and_dev_rows() -> None:
    train, dev = scoring_inputs(500), scoring_inputs(500, seed=1)
    wider = dev._replace(residual=3 * dev.residual)

    np.testing.assert_allclose(standard_scaling(train, wider).scale[:6], 3 * dev.residual.double().std(0, correction=0))
    np.testing.assert_allclose(standard_scaling(wider, train).scale[:6], 3 * dev.residual.double().std(0, correction=0))


def test_a_column_that_hardly_varies_is_not_blown_up() -> None:
    rows = scoring_inputs(500)
    residual = rows.residual.clone()
    residual[:, 0] *= 1e-9
    flat = rows._replace(residual=residual)

    for scaling in (standard_scaling(flat, flat), robust_scaling(flat, flat)):
        assert scaling.scale[0] > 0.1 * FLOOR * scaling.scale[1:6].max()


def test_a_tenth_of_outliers_has_bounded_influence_on_robust_scaling() -> None:
    clean = scoring_inputs(1_000)
    residual = clean.residual.clone()
    residual[:100] = 1e6
    spoilt = clean._replace(residual=residual)
    farther = clean._replace(residual=torch.where(residual == 1e6, 1e9, residual))

    scale, moved, again = (robust_scaling(rows, rows).scale for rows in (clean, spoilt, farther))

    assert np.median(moved / scale) < 1.3
    assert (moved / scale).max() < 5
    np.testing.assert_allclose(again, moved, rtol=1e-6)


def test_a_coordinate_that_hardly_ever_changes_has_a_robust_spread_of_its_changes() -> None:
    rows = scoring_inputs(1_000)
    residual = rows.residual.clone()
    residual[:, 0] = torch.where(torch.arange(1_000) % 50 == 0, 2.0, 0.0)
    rare = rows._replace(residual=residual)

    scale = robust_scaling(rare, rare).scale[0]

    assert scale == pytest.approx(LEAST_SHARE * 2 * np.sqrt(0.02 * 0.98), rel=1e-3)
