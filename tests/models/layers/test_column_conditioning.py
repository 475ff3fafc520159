"""Conditioning on columns: the vector of the given columns, and the density of latents given it."""

import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from aepipe.layout import Category
from aepipe.models.layers.column_conditioning import CodeSum, GivenLatents, PartialEncoder

CATEGORIES = tuple(Category(name=str(size), column=at, size=size) for at, size in enumerate((4, 30, 6)))


def codes(rows: int = 50) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.stack([torch.randint(0, each.size, (rows,), generator=generator) for each in CATEGORIES], 1)


def test_sums_are_the_same_in_training_and_in_evaluation() -> None:
    summed, counts = CodeSum(CATEGORIES, 8, spread=1.0), (torch.rand(50, 3) < 0.5).float()

    in_training = summed.train()(codes(), counts), summed(codes())
    afterwards = summed.eval()(codes(), counts), summed(codes())

    for one, other in zip(in_training, afterwards, strict=True):
        torch.testing.assert_close(one, other)


def test_columns_that_are_not_given_have_no_influence() -> None:
    given = PartialEncoder(CATEGORIES, 8).eval()
    is_given = torch.tensor([[1.0, 0.0, 0.0]]).expand(50, 3)
    other = codes()
    other[:, 1:] = -1

    assert torch.equal(given(codes(), is_given), given(other, is_given))
    assert torch.equal(given(codes(), torch.zeros(50, 3)), torch.zeros(50, 8))


def test_the_density_of_latents_is_a_mixture_and_draws_follow_it() -> None:
    torch.manual_seed(1)
    density = GivenLatents(8, 2, components=3).double()
    vector, draws = torch.randn(1, 8, dtype=torch.float64), 100_000
    weights, mean, log_var = (each[0].detach() for each in density._mixture(vector))
    spread = Independent(Normal(mean, (0.5 * log_var).exp()), 1)
    expected = MixtureSameFamily(Categorical(logits=weights), spread)
    z = torch.randn(20, 2, dtype=torch.float64)

    found = density.draw(
        vector.expand(draws, -1), torch.randn(draws, 2).double(), torch.rand(draws, 1).double()
    ).detach()

    torch.testing.assert_close(density.nll(z, vector.expand(20, -1)), -expected.log_prob(z))
    torch.testing.assert_close(found.mean(0), expected.mean, atol=0.02, rtol=0)
    torch.testing.assert_close(found.var(0), expected.variance, atol=0.05, rtol=0.02)
