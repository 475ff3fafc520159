"""Spread of errors: ridge regression without a number's own features, limits, and broken relations in easy rows."""

import numpy as np
import pytest
import torch

from aepipe.heads.cell_predictor import CellRows
from aepipe.heads.cell_scores import CellInputs, fit_on_inputs
from aepipe.heads.error_spread import LIMIT, MOST_LOG, MOST_NUMBERS, ErrorSpread, fit_log_spread
from aepipe.layout import Layout, Number


def rows_and_errors(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return three numbers of rows, and errors whose spread depends on the others."""
    generator = np.random.default_rng(seed)
    dense = generator.normal(size=(rows, 3))
    logs = np.stack([0.6 * dense[:, 1], -0.4 * np.abs(dense[:, 2]), np.zeros(rows)], 1)
    return dense, np.exp(logs) * np.abs(generator.normal(size=(rows, 3)))


def test_the_weights_are_those_of_a_ridge_regression_without_the_features_of_the_number() -> None:
    dense, errors = rows_and_errors(400)
    clipped = np.clip(dense, -LIMIT, LIMIT)
    features = np.concatenate([clipped, np.abs(clipped)], 1)

    weight, bias = fit_log_spread(dense, errors)

    for column in range(3):
        others = [at for at in range(6) if at % 3 != column]
        own = errors[:, column]
        logs = np.log(np.maximum(own, 0.1 * np.median(own)))
        x, y = features[:, others] - features[:, others].mean(0), logs - logs.mean()
        expected = np.linalg.solve(x.T @ x + 100 * np.eye(4), x.T @ y)
        np.testing.assert_allclose(weight[others, column], expected, atol=1e-9)
        assert not weight[[column, column + 3], column].any()
    np.testing.assert_allclose((features @ weight + bias).mean(0), 0, atol=1e-9)


def test_spreads_are_found_again() -> None:
    dense, errors = rows_and_errors(20_000)
    spread = ErrorSpread(3)

    spread.learn(torch.from_numpy(dense), torch.from_numpy(errors))

    expected = np.zeros((6, 3))
    expected[1, 0], expected[5, 1] = 0.6, -0.4
    np.testing.assert_allclose(spread.weight, expected, atol=0.05)
    found = spread(torch.from_numpy(dense).float()).numpy()
    ratio = (errors * found).std(0) / errors.std(0)
    assert ratio[0] < 0.9
    assert ratio[2] == pytest.approx(1, abs=0.02)


def test_missing_errors_count_as_typical_and_far_numbers_have_a_limited_spread() -> None:
    dense, errors = rows_and_errors(500)
    errors[:, 2] = np.nan
    errors[250:, 0] = np.nan
    spread = ErrorSpread(3)

    spread.learn(torch.from_numpy(dense), torch.from_numpy(errors))

    assert not spread.weight[:, 2].any()
    assert float(spread.weight[1, 0]) == pytest.approx(0.6 * 250 / (500 + 100), abs=0.05)
    spread.weight *= 100
    far = spread(torch.full((1, 3), 1e6))
    assert 1e-9 < float(far.min()) == pytest.approx(np.exp(-MOST_LOG), rel=1e-4)


def layout(numbers: int) -> Layout:
    names = tuple(f"c{at}" for at in range(numbers))
    return Layout(
        columns=names,
        numbers=tuple(Number(name=name, column=at, mean=0, std=1, low=-9, high=9) for at, name in enumerate(names)),
    )


def firms(rows: int, seed: int) -> CellInputs:
    """Return rows with two copies of a number, which differ by more the greater the third number is."""
    generator = torch.Generator().manual_seed(seed)
    size, first, noise = torch.randn(3, rows, generator=generator)
    dense = torch.stack([size, first, first + 0.05 * (1.5 * size).exp() * noise], 1)
    return CellInputs(
        CellRows(dense, torch.ones(rows, 3), torch.zeros(rows, 0, dtype=torch.int64)), torch.zeros(rows, 3)
    )


@torch.no_grad()
def test_a_small_break_of_a_relation_in_an_easy_row_scores_above_usual_errors_of_hard_rows() -> None:
    scores = fit_on_inputs(layout(3), firms(700, 0), firms(150, 1), seed=0, alpha=0.01)
    fresh, easy = firms(2_000, 2), firms(2_000, 3)
    easy = easy.at(easy.rows.dense[:, 0] < -0.5)
    easy.rows.dense[:, 2] += 0.5  # ten times the noise of such rows, or more; hard rows have such errors

    usual, broken = (scores(each.rows, each.attributions, torch.zeros(1)).score[:, 0] for each in (fresh, easy))

    assert float((broken > usual.quantile(0.995)).float().mean()) > 0.85


def test_very_many_numbers_have_one_unit_per_column() -> None:
    generator = torch.Generator().manual_seed(0)
    numbers = MOST_NUMBERS + 1
    dense = torch.randn(60, numbers, generator=generator)
    rows = CellRows(dense, torch.ones_like(dense), torch.zeros(60, 0, dtype=torch.int64))

    scores = fit_on_inputs(layout(numbers), CellInputs(rows, torch.zeros_like(dense)), None, seed=0, alpha=0.01)

    assert scores.spread is None
    torch.testing.assert_close(scores.errors(rows)[0], scores.predictor(rows.dense, rows.codes))
