import numpy as np
import torch

from aepipe.heads.space import FLOOR, Space, coordinates, robust_scaling, standard_scaling
from tests.heads.models import evidence


def test_a_row_is_its_residual_and_its_latents_side_by_side() -> None:
    rows = evidence(4)

    points = coordinates(rows)

    assert points.dtype == np.float64
    np.testing.assert_array_equal(points[:, :6], rows.residual.numpy())
    np.testing.assert_array_equal(points[:, 6:], rows.z.numpy())


def test_the_graph_scales_as_numpy_does() -> None:
    train, dev, rows = evidence(100), evidence(50, seed=1), evidence(20, seed=2)
    center, scale = scaling = standard_scaling(train, dev)

    points = Space(scaling)(rows)

    np.testing.assert_allclose(points.numpy(), (coordinates(rows) - center) / scale, rtol=1e-5, atol=1e-6)


def test_the_scale_is_the_greater_spread_of_training_and_dev_rows() -> None:
    train, dev = evidence(500), evidence(500, seed=1)
    wider = dev._replace(residual=3 * dev.residual)

    np.testing.assert_allclose(standard_scaling(train, wider).scale[:6], 3 * dev.residual.double().std(0, correction=0))
    np.testing.assert_allclose(standard_scaling(wider, train).scale[:6], 3 * dev.residual.double().std(0, correction=0))


def test_a_column_that_hardly_varies_is_not_blown_up() -> None:
    rows = evidence(500)
    residual = rows.residual.clone()
    residual[:, 0] *= 1e-9
    flat = rows._replace(residual=residual)

    for scaling in (standard_scaling(flat, flat), robust_scaling(flat, flat)):
        assert scaling.scale[0] > 0.1 * FLOOR * scaling.scale[1:6].max()


def test_robust_scaling_hardly_moves_for_a_tenth_of_outliers() -> None:
    clean = evidence(1_000)
    residual = clean.residual.clone()
    residual[:100] = 1e6
    spoilt = clean._replace(residual=residual)

    moved = robust_scaling(spoilt, spoilt).scale / robust_scaling(clean, clean).scale

    assert moved.max() < 1.3
    assert torch.isfinite(torch.from_numpy(moved)).all()
