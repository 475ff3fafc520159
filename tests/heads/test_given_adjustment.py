"""Numbers relative to their conditions, against scikit-learn's ridge regression and known means and spreads."""

import numpy as np
import torch
from sklearn.linear_model import Ridge

from aepipe.heads.given_adjustment import LEAST_SPREAD, MEAN_ROWS, GivenAdjustment
from aepipe.models.layers.preprocessing import GIVEN_SCALE

ROWS = 4_000


def days(rows: int, seed: int) -> torch.Tensor:
    """Draw one-hot weekdays, scaled as conditions."""
    drawn = np.random.default_rng(seed).integers(0, 7, rows)
    return torch.from_numpy(GIVEN_SCALE * np.eye(7, dtype=np.float32)[drawn])


def test_the_mean_is_that_of_ridge_regression() -> None:
    given, rng = days(ROWS, 0), np.random.default_rng(1)
    level = given.argmax(1).numpy()[:, None] * np.array([1.0, -0.5])
    # uniform errors are less than 3 standard deviations: none is clipped
    values = torch.from_numpy(level + rng.uniform(-1, 1, (ROWS, 2))).float()
    found = GivenAdjustment(values, torch.ones_like(values), given)

    known = Ridge(alpha=MEAN_ROWS).fit(given.numpy() / GIVEN_SCALE, values.numpy())

    at_each = torch.eye(7) * GIVEN_SCALE
    mean = at_each @ found.slopes.T + found.center
    np.testing.assert_allclose(mean, known.predict(np.eye(7)), atol=2e-3)


def test_each_condition_has_unit_spread_and_no_mean() -> None:
    given, rng = days(ROWS, 0), np.random.default_rng(1)
    day = given.argmax(1).numpy()
    values = torch.from_numpy(np.where(day == 6, 0.1, 1.0) * rng.normal(size=ROWS) - 3.0 * (day == 6))[:, None].float()

    adjusted = GivenAdjustment(values, torch.ones_like(values), given)(values, torch.ones_like(values), given)

    for each in range(7):
        rows = adjusted[day == each]
        assert abs(float(rows.mean())) < 0.15
        assert 0.85 < float(rows.std()) < 1.15


def test_a_tenth_of_wrong_rows_hardly_moves_the_means() -> None:
    given, rng = days(ROWS, 0), np.random.default_rng(1)
    right = 0.2 * rng.normal(size=(ROWS, 1))
    wrong = np.where(rng.random((ROWS, 1)) < 0.1, 20.0, right)
    pair = [GivenAdjustment(torch.from_numpy(each).float(), torch.ones(ROWS, 1), given) for each in (right, wrong)]

    of_right, of_wrong = (each.center + GIVEN_SCALE * each.slopes[:, 0] for each in pair)

    assert float((of_right - of_wrong).abs().max()) < 1.0  # the plain means move by 2


def test_missing_numbers_stay_zero_and_do_not_count() -> None:
    given, rng = days(ROWS, 0), np.random.default_rng(1)
    observed = torch.from_numpy((rng.random((ROWS, 1)) < 0.5).astype(np.float32))
    values = (2.0 + torch.from_numpy(rng.normal(size=(ROWS, 1))).float()) * observed

    found = GivenAdjustment(values, observed, given)
    adjusted = found(values, observed, given)

    assert float(adjusted[observed == 0].abs().max()) == 0
    assert abs(float((found.center + GIVEN_SCALE * found.slopes[:, 0]).mean()) - 2.0) < 0.2


def test_a_constant_column_stays_finite() -> None:
    given, values = days(ROWS, 0), torch.zeros(ROWS, 1)

    adjusted = GivenAdjustment(values, torch.ones_like(values), given)(values + 1, torch.ones_like(values), given)

    assert torch.allclose(adjusted, torch.full_like(values, 1 / LEAST_SPREAD))
