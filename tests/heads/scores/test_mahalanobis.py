import numpy as np
import torch
from sklearn.covariance import EmpiricalCovariance, LedoitWolf

from aepipe.heads.base import HeadStats
from aepipe.heads.distance_space import coordinates, standard_scaling
from aepipe.heads.scores.mahalanobis import HEAD
from tests.support.head_models import scoring_inputs


def test_the_score_is_the_root_mean_mahalanobis_distance_of_scikit_learn() -> None:
    train, dev, rows = scoring_inputs(800), scoring_inputs(200, seed=1), scoring_inputs(100, seed=2)

    found = HEAD.fit(HeadStats(train, dev))(rows)

    center, scale = standard_scaling(train, dev)
    oracle = LedoitWolf().fit((coordinates(train) - center) / scale)
    wanted = np.sqrt(oracle.mahalanobis((coordinates(rows) - center) / scale) / 9)
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-5)


def test_with_many_rows_scaling_and_shrinkage_change_nothing() -> None:
    train, rows = scoring_inputs(20_000), scoring_inputs(100, seed=2)

    found = HEAD.fit(HeadStats(train, train))(rows)

    wanted = EmpiricalCovariance().fit(coordinates(train)).mahalanobis(coordinates(rows))
    np.testing.assert_allclose(found.numpy(), np.sqrt(wanted / 9), rtol=0.02)


def test_float32_keeps_the_digits_of_float64_on_nearly_collinear_residuals() -> None:
    def collinear(rows: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        residual = scoring_inputs(rows, residuals=40, latents=5, seed=seed).residual
        noise = torch.randn(residual.shape, generator=torch.Generator().manual_seed(seed))
        return residual[:, :1] + 1e-3 * noise, noise[:, :5]

    parts = [scoring_inputs(rows, residuals=40, latents=5, seed=rows) for rows in (2_000, 300, 200)]
    made = [collinear(rows, seed) for seed, rows in enumerate((2_000, 300, 200))]
    train, dev, rows = (part._replace(residual=r, z=z) for part, (r, z) in zip(parts, made, strict=True))
    head = HEAD.fit(HeadStats(train, dev))

    single = head(rows).double()
    double = head.double()(rows._replace(residual=rows.residual.double(), z=rows.z.double()))

    torch.testing.assert_close(single, double, rtol=1e-5, atol=0)
