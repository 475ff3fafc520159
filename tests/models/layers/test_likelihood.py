import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.distributions import Bernoulli, Categorical, Normal
from torch.optim import LBFGS

from aepipe.layout import FIRST_VALUE, MANY_CODES, MISSING, UNSEEN, Layout, Number
from aepipe.models.layers.likelihood import Likelihood, LikelihoodOptions, Residual, Sigma, make_likelihood
from aepipe.models.layers.preprocessing import Preprocessing, Row
from tests.support.layouts import CATEGORIES, COLOUR, GREY, LAYOUTS, MIXED, NUMBERS, random_rows


def options(**keys: object) -> LikelihoodOptions:
    return LikelihoodOptions.model_validate(keys)


def row_of(layout: Layout, rows: int = 20, seed: int = 0) -> Row:
    arrays = random_rows(layout, rows, seed)
    row: Row = Preprocessing(layout).double()({name: torch.from_numpy(array) for name, array in arrays.items()})
    return row


def params_of(likelihood: Likelihood, rows: int = 20, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, likelihood.width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_loss_of_numbers_is_that_of_a_gaussian() -> None:
    likelihood, row = make_likelihood(NUMBERS, options(sigma=0.3)).double(), row_of(NUMBERS)
    mean = params_of(likelihood)

    oracle = -Normal(mean, likelihood.sigma().exp()).log_prob(row.dense)

    assert likelihood.sigma().exp().item() == pytest.approx(0.3)
    torch.testing.assert_close(likelihood.nll(mean, row), oracle)


def test_the_loss_of_a_mixed_row_covers_numbers_flags_and_codes() -> None:
    likelihood, row = make_likelihood(MIXED, options(sigma=2.0)).double(), row_of(MIXED, 200)
    params = params_of(likelihood, 200)
    missing = 1 - row.observed[:, 0]
    kind, paid = params[:, 12:21], params[:, 4:9]  # after 2 means and 2 flags: the block of 8 codes, then that of 12

    nll = likelihood.nll(params, row)

    gaussian = -Normal(params[:, :2], likelihood.sigma().exp()).log_prob(row.dense)
    flag = -Bernoulli(logits=params[:, 2]).log_prob(missing)
    assert missing.sum() > 5
    torch.testing.assert_close(nll[:, 0], torch.where(missing == 1, flag, gaussian[:, 0] + flag))
    torch.testing.assert_close(nll[:, 1], gaussian[:, 1])
    torch.testing.assert_close(nll[:, 2], -Categorical(logits=kind).log_prob(row.codes[:, 0]))
    torch.testing.assert_close(nll[:, 3], -Categorical(logits=paid).log_prob(row.codes[:, 1]))


@pytest.mark.parametrize("layout", [GREY, COLOUR], ids=["grey", "colour"])
def test_the_loss_of_pixels_is_that_of_their_distribution(layout: Layout) -> None:
    row = row_of(layout)
    flat = row.dense.flatten(1)
    gaussian = make_likelihood(layout, options(sigma=0.2)).double()
    bernoulli = make_likelihood(layout, options(pixels="bernoulli")).double()
    params = params_of(gaussian)

    torch.testing.assert_close(gaussian.nll(params, row), -Normal(params, gaussian.sigma().exp()).log_prob(flat))
    oracle = torch.nn.functional.binary_cross_entropy_with_logits(params, flat, reduction="none")
    torch.testing.assert_close(bernoulli.nll(params, row), oracle)


@pytest.mark.parametrize("name", LAYOUTS)
def test_expected_rows_have_the_types_and_shapes_of_the_ports(name: str) -> None:
    layout = LAYOUTS[name]
    likelihood = make_likelihood(layout, options())
    noise = [torch.rand(9, *port.row_shape) for port in likelihood.noise]

    for answer in (likelihood.expected(params_of(likelihood, 9)), likelihood.draw(params_of(likelihood, 9), *noise)):
        assert len(answer) == len(layout.ports)
        for tensor, port in zip(answer, layout.ports, strict=True):
            assert tensor.shape == (9, *port.row_shape)
            assert tensor.numpy().dtype == port.dtype


@pytest.mark.parametrize("name", [name for name, layout in LAYOUTS.items() if not layout.texts])  # texts have a context
def test_parameters_of_a_row_expect_that_row(name: str) -> None:
    layout = LAYOUTS[name]
    arrays = random_rows(layout, 30, seed=3)
    if layout.categories:
        arrays["cat"] = np.maximum(arrays["cat"], FIRST_VALUE)
    row = Preprocessing(layout)({key: torch.from_numpy(array) for key, array in arrays.items()})
    likelihood = make_likelihood(layout, options())

    expected = likelihood.expected(likelihood.params_of(likelihood.targets(row)))

    wide = [category.size > MANY_CODES for category in layout.categories]  # the class is given, the member is not
    for tensor, port in zip(expected, layout.ports, strict=True):
        observed = ~np.isnan(arrays[port.name])
        if port.name == "cat":
            observed[:, wide] = False
        np.testing.assert_allclose(tensor.numpy()[observed], arrays[port.name][observed], rtol=1e-4, atol=1e-4)


def test_drawn_numbers_have_the_mean_and_sigma_of_their_gaussian() -> None:
    likelihood = make_likelihood(Layout(columns=("a",), numbers=(Number(name="a", column=0),)), options(sigma=0.5))
    eps = torch.randn(50_000, 1, generator=torch.Generator().manual_seed(0))

    (num,) = likelihood.draw(torch.full((50_000, 1), 2.0), eps)

    assert num.mean().item() == pytest.approx(2.0, abs=0.01)
    assert num.std().item() == pytest.approx(0.5, abs=0.01)


def test_drawn_rows_have_missing_values_like_the_training_rows() -> None:
    likelihood = make_likelihood(MIXED, options())
    params = torch.zeros(20_000, likelihood.width)
    params[:, 2:4] = math.log(0.25 / 0.75)
    generator = torch.Generator().manual_seed(0)
    eps, u = torch.randn(20_000, 2, generator=generator), torch.rand(20_000, 4, generator=generator)

    num, cat = likelihood.draw(params, eps, u)

    assert torch.isnan(num[:, 0]).double().mean().item() == pytest.approx(0.25, abs=0.02)
    assert not torch.isnan(num[:, 1]).any()  # never missing in training
    assert (cat == MISSING).any()
    assert not (cat == UNSEEN).any()


def test_residuals_are_signed_and_of_a_category_one_minus_p() -> None:
    likelihood, row = make_likelihood(MIXED, options()).double(), row_of(MIXED)
    params = params_of(likelihood)

    residual = likelihood.residual(params, row)

    torch.testing.assert_close(residual[:, :2], (row.dense - params[:, :2]) * row.observed)
    torch.testing.assert_close(residual[:, 2:], 1 - torch.exp(-likelihood.nll(params, row)[:, 2:]))


def test_an_unseen_code_is_unlikely_and_finite() -> None:
    likelihood = make_likelihood(CATEGORIES, options())
    codes = torch.tensor([[UNSEEN, UNSEEN, UNSEEN]])

    nll = likelihood.nll(
        100 * torch.randn(1, likelihood.width), Row(torch.zeros(1, 0), torch.zeros(1, 0), codes, torch.zeros(1, 0))
    )

    assert torch.isfinite(nll).all()


def test_a_full_step_reaches_the_optimum_of_a_search() -> None:
    likelihood, row = make_likelihood(NUMBERS, options()).double(), row_of(NUMBERS, 100)
    mean = params_of(likelihood, 100)

    likelihood.sigma.follow(likelihood.misfit(mean, row), 1.0)

    log_sigma = torch.zeros((), dtype=torch.float64, requires_grad=True)
    search = LBFGS([log_sigma], max_iter=50, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        search.zero_grad()
        nll = -Normal(mean, log_sigma.exp()).log_prob(row.dense).sum()
        nll.backward()
        return nll

    search.step(loss)
    assert likelihood.sigma().item() == pytest.approx(log_sigma.item(), abs=1e-6)


def test_sigma_counts_observed_numbers_only() -> None:
    sigma, row = make_likelihood(MIXED, options()).double(), row_of(MIXED, 300)
    params = torch.zeros(300, sigma.width, dtype=torch.float64)

    misfit = sigma.misfit(params, row)

    assert misfit.counts.tolist() == row.observed.sum(0).tolist()
    torch.testing.assert_close(misfit.squares, (row.dense.square() * row.observed).sum(0))


def test_the_regret_is_the_loss_above_that_of_the_best_sigma() -> None:
    likelihood, row = make_likelihood(NUMBERS, options()).double(), row_of(NUMBERS, 100)
    mean = params_of(likelihood, 100)
    misfit = likelihood.misfit(mean, row)
    before = likelihood.nll(mean, row).sum()

    regret = likelihood.sigma.regret(misfit)
    likelihood.sigma.follow(misfit, 1.0)

    torch.testing.assert_close(before - regret, likelihood.nll(mean, row).sum())
    assert regret > 1


def test_learned_sigmas_settle_at_the_optimum_of_each_column() -> None:
    sigma = Sigma("learned", 3).double()

    sigma.settle(Residual(torch.tensor([4.0, 1.0, 0.0]).double(), torch.tensor([100.0, 4.0, 9.0]).double()))

    np.testing.assert_allclose(sigma().exp().detach().numpy(), [0.2, 0.5, 0.01], rtol=2e-3)


def test_a_fixed_sigma_does_not_change() -> None:
    sigma = Sigma(0.25, 3)

    sigma.settle(Residual(torch.ones(3), torch.ones(3)))

    assert sigma().exp().item() == pytest.approx(0.25)
    assert sigma.regret(Residual(torch.ones(3), torch.ones(3))).item() == 0


def test_a_zero_sigma_is_refused() -> None:
    with pytest.raises(ValidationError):
        options(sigma=0.0)
