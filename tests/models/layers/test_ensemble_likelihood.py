import pytest
import torch
from torch import Tensor

from aepipe.models.layers.ensemble_likelihood import EnsembleLikelihood
from aepipe.models.layers.likelihood import Likelihood, LikelihoodOptions, make_likelihood
from aepipe.models.layers.preprocessing import Preprocessing, Row
from tests.support.layouts import GREY, MIXED, NUMBERS, random_rows


def made(layout_name: str, members: int) -> tuple[Likelihood, EnsembleLikelihood, Row, Tensor]:
    """Return a likelihood, its ensemble, rows, and parameters of each member (M, B, width)."""
    layout = {"numbers": NUMBERS, "mixed": MIXED, "grey": GREY}[layout_name]
    one = make_likelihood(layout, LikelihoodOptions()).double()
    row = Preprocessing(layout).double()(
        {key: torch.from_numpy(array) for key, array in random_rows(layout, 20).items()}
    )
    params = torch.randn(members, 20, one.width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return one, EnsembleLikelihood(one, members), row, params


every_layout = pytest.mark.parametrize("name", ["numbers", "mixed", "grey"])


@every_layout
def test_the_loss_is_the_members_mean_and_the_residual_is_that_of_the_mean_member(name: str) -> None:
    one, joint, row, params = made(name, 3)

    flat = torch.cat(list(params), 1)

    torch.testing.assert_close(joint.nll(flat, row), sum(one.nll(each, row) for each in params) / 3)
    torch.testing.assert_close(joint.residual(flat, row), one.residual(params.mean(0), row))
    for found, oracle in zip(joint.expected(flat), one.expected(params.mean(0)), strict=True):
        assert torch.equal(found, oracle)
    squares = sum(one.misfit(each, row).squares for each in params) / 3
    torch.testing.assert_close(joint.misfit(flat, row).squares, squares)
    torch.testing.assert_close(joint.misfit(flat, row).counts, one.misfit(params[0], row).counts)


def test_the_loss_of_gaussians_is_that_of_their_mean_plus_their_variance() -> None:
    one, joint, row, params = made("numbers", 5)
    one.sigma.log_sigma.fill_(-0.7)

    nll = joint.nll(torch.cat(list(params), 1), row)

    variance = params.var(0, correction=0) / (2 * torch.exp(torch.tensor(-1.4)))
    torch.testing.assert_close(nll, one.nll(params.mean(0), row) + variance)


@every_layout
def test_one_member_is_the_likelihood_itself(name: str) -> None:
    one, joint, row, params = made(name, 1)

    assert torch.equal(joint.nll(params[0], row), one.nll(params[0], row))
    assert torch.equal(joint.params_of(joint.targets(row)), one.params_of(one.targets(row)))
