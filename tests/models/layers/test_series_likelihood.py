import numpy as np
import pytest
import torch
from torch.distributions import Categorical, Normal

from aepipe.layout import Layout, Number, Series
from aepipe.models.layers.likelihood import LikelihoodOptions, make_likelihood
from aepipe.models.layers.loss_pooling import RESIDUAL_WIDTH, reason_names, reason_pooling, residual_pooling
from aepipe.models.layers.preprocessing import Preprocessing, Row
from tests.support.layouts import SERIES, random_rows

EVEN = Layout(
    columns=("x",), series=Series(steps=4, shortest=4, longest=4, numbers=(Number(name="x", column=0, mean=5.0),))
)


def long_series(steps: int, channels: int, shortest: int = 1) -> Layout:
    numbers = tuple(Number(name=f"x[{channel}]", column=0) for channel in range(channels))
    return Layout(columns=("x",), series=Series(steps=steps, shortest=shortest, longest=steps, numbers=numbers))


def row_of(layout: Layout, rows: int = 50) -> Row:
    arrays = random_rows(layout, rows)
    row: Row = Preprocessing(layout).double()({name: torch.from_numpy(array) for name, array in arrays.items()})
    return row


def params_of(width: int, rows: int = 50) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("sigma", ["optimal", "learned", 0.3])
def test_the_loss_of_present_values_is_gaussian_and_missing_ones_cost_nothing(sigma: object) -> None:
    row, options = row_of(SERIES), LikelihoodOptions.model_validate({"sigma": sigma})
    likelihood = make_likelihood(SERIES, options).double()
    if sigma == "learned":
        torch.nn.init.normal_(likelihood.sigma.log_sigma)
    params = params_of(likelihood.width)
    mean = params[:, :18].reshape(50, 9, 2)

    nll = likelihood.nll(params, row)

    gaussian = -Normal(mean, likelihood.sigma().exp().expand(2)).log_prob(row.dense)
    steps = torch.where(row.observed == 1, gaussian, 0.0)
    length = -Categorical(logits=params[:, 18:]).log_prob(row.codes[:, 0])
    torch.testing.assert_close(nll, torch.cat([steps.flatten(1), length[:, None]], 1))


def test_a_row_is_standardised_up_to_its_end_and_zero_beyond() -> None:
    arrays = random_rows(SERIES, 50)

    row = row_of(SERIES)

    values = (arrays["steps"] - [3.0, -1.0]) / [2.0, 0.5]
    np.testing.assert_allclose(row.dense.numpy(), np.nan_to_num(values), rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(row.observed.numpy(), ~np.isnan(arrays["steps"]))
    np.testing.assert_array_equal(row.codes[:, 0].numpy(), arrays["length"] - 1)


def test_steps_beyond_the_end_of_a_window_have_no_influence() -> None:
    arrays = random_rows(SERIES, 20)
    filled = arrays | {"steps": np.where(np.arange(9)[:, None] >= arrays["length"][:, None, None], 7, arrays["steps"])}
    preprocessing = Preprocessing(SERIES)

    one, other = (preprocessing({k: torch.from_numpy(v) for k, v in each.items()}) for each in (arrays, filled))

    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_best_sigma_is_the_root_mean_square_of_present_residuals() -> None:
    row, likelihood = row_of(SERIES), make_likelihood(SERIES, LikelihoodOptions()).double()
    params = params_of(likelihood.width)

    likelihood.sigma.settle(likelihood.misfit(params, row))

    present = row.observed == 1
    residual = (row.dense - params[:, :18].reshape(50, 9, 2))[present]
    torch.testing.assert_close(likelihood.sigma().exp(), residual.square().mean().sqrt())


def test_drawn_windows_have_means_spreads_and_lengths_of_the_parameters() -> None:
    likelihood = make_likelihood(SERIES, LikelihoodOptions.model_validate({"sigma": 0.5})).double()
    params = params_of(likelihood.width, 1).repeat(20_000, 1)
    generator = torch.Generator().manual_seed(1)
    eps = torch.randn(20_000, 9, 2, generator=generator, dtype=torch.float64)
    u = torch.rand(20_000, 1, generator=generator, dtype=torch.float64)

    steps, length = likelihood.draw(params, eps, u)

    scale = torch.tensor([2.0, 0.5])
    mean = params[0, :18].reshape(9, 2) * scale + torch.tensor([3.0, -1.0])
    torch.testing.assert_close(steps.double().mean(0), mean, atol=0.05, rtol=0)
    torch.testing.assert_close(steps.std(0), (0.5 * scale).expand(9, 2), atol=0.02, rtol=0)
    shares = torch.bincount(length.long() - 1, minlength=9) / 20_000
    torch.testing.assert_close(shares.double(), params[0, 18:].softmax(0), atol=0.015, rtol=0)
    assert length.dtype == torch.int32


def test_windows_of_equal_length_have_no_length_parameter() -> None:
    likelihood = make_likelihood(EVEN, LikelihoodOptions())
    row = Preprocessing(EVEN)({"steps": torch.full((3, 4, 1), 5.0), "length": torch.full((3,), 4, dtype=torch.int32)})

    steps, length = likelihood.expected(torch.ones(3, 4))

    assert (likelihood.width, EVEN.features) == (4, 4)
    assert likelihood.nll(torch.zeros(3, 4), row).shape == (3, 4)
    assert length.tolist() == [4, 4, 4]
    torch.testing.assert_close(steps, torch.full((3, 4, 1), 6.0))


def test_targets_become_parameters_whose_likeliest_row_is_the_row() -> None:
    row, likelihood = row_of(SERIES), make_likelihood(SERIES, LikelihoodOptions()).double()

    steps, length = likelihood.expected(likelihood.params_of(likelihood.targets(row)))

    assert torch.equal(length.long() - 1, row.codes[:, 0])
    values = (steps.double() - torch.tensor([3.0, -1.0])) / torch.tensor([2.0, 0.5])
    torch.testing.assert_close(values * row.observed, row.dense, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("layout", [SERIES, EVEN, long_series(50, 2), long_series(7, 20), long_series(900, 1)])
def test_spans_cover_every_value_once_and_have_names(layout: Layout) -> None:
    losses = torch.rand(3, layout.features)

    pooled = reason_pooling(layout)(losses)

    names = reason_names(layout)
    assert pooled.shape == (3, len(names))
    assert len(set(names)) == len(names)
    torch.testing.assert_close(pooled.sum(1), losses.sum(1))


@pytest.mark.parametrize(
    "layout,at,name",
    [
        (SERIES, 2 * 4 + 1, "step 4 of pulse[1]"),
        (SERIES, 18, "length"),
        (EVEN, 3, "step 3"),
        (long_series(50, 2), 2 * 49 + 1, "steps 48-49 of x[1]"),
        (long_series(7, 20), 20 * 2 + 19, "step 2"),
    ],
)
def test_a_span_is_named_by_its_steps_and_channel(layout: Layout, at: int, name: str) -> None:
    losses = torch.zeros(1, layout.features)
    losses[0, at] = 1

    assert reason_names(layout)[int(reason_pooling(layout)(losses).argmax())] == name


@pytest.mark.parametrize("layout", [SERIES, long_series(900, 1), long_series(100, 7)])
def test_residuals_of_long_windows_are_pooled_to_a_bounded_width(layout: Layout) -> None:
    residual = torch.full((2, layout.features), -1.0)

    pooled = residual_pooling(layout)(residual)

    assert pooled.shape[1] <= RESIDUAL_WIDTH
    assert (pooled[:, 0].abs() == 1).all()
