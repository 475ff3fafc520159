"""Conditional VAE: the bound given the conditions, and draws with the means of a condition."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression
from torch.distributions import Normal, kl_divergence

from aepipe.config.job import Model as Section
from aepipe.config.job import Train
from aepipe.errors import OptionInvalid
from aepipe.layout import FIRST_VALUE, Category, Layout, Number
from aepipe.models.base import Batch, Model, StepContext
from aepipe.models.families import build
from aepipe.models.layers.preprocessing import Row
from aepipe.training.loop import fit
from tests.support.layouts import COLOUR, MIXED, NUMBERS, Arrays, random_rows, with_conditions

GIVEN = with_conditions(NUMBERS)
KINDS = 3


def make(layout: Layout = GIVEN, rows: int = 64, **keys: object) -> tuple[Model, Row]:
    model = build(layout, Section.model_validate({"family": "cvae", "latent": 2, **keys}), 0).double().eval()
    row = model.preprocessing({name: torch.from_numpy(array) for name, array in random_rows(layout, rows).items()})
    model.prepare(Batch(row, row))
    return model, row


def kinds_and_numbers(rows: int, seed: int = 0) -> tuple[Layout, Arrays]:
    """Generate three numbers whose means depend on a kind, and which are correlated within each kind."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, KINDS, rows)
    centers = np.array([[-3.0, 0.0, 2.0], [0.0, 3.0, -2.0], [3.0, -3.0, 0.0]])
    num = centers[kind] + rng.standard_normal((rows, 1)) + 0.3 * rng.standard_normal((rows, 3))
    layout = Layout(
        columns=("a", "b", "c"),
        numbers=tuple(Number(name=name, column=at, std=float(num[:, at].std())) for at, name in enumerate("abc")),
        conditions=("kind",),
        given_categories=(Category(name="kind", column=0, size=FIRST_VALUE + KINDS),),
    )
    return layout, {"num": num.astype(np.float32), "given_cat": (FIRST_VALUE + kind)[:, None].astype(np.int32)}


def test_the_loss_is_the_negative_bound_given_the_conditions() -> None:
    model, row = make(sigma=0.7)
    posterior = model.posterior(row)
    assert posterior.log_var is not None
    spread = (0.5 * posterior.log_var).exp()
    eps = torch.randn(64, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    loss = model.objectives()[0].loss(Batch(row, row), StepContext(1.0, torch.Generator().manual_seed(0)))

    mean = model.decode(posterior.mean + spread * eps, row.given)
    nll = -Normal(mean, 0.7).log_prob(row.dense).sum(1).mean().item()
    kl = kl_divergence(Normal(posterior.mean, spread), Normal(0.0, 1.0)).sum(1).mean().item()
    assert loss.total.item() == pytest.approx(nll + kl)


@pytest.mark.parametrize(
    ("layout", "trunk", "shortcut"),
    [(MIXED, "mlp", {}), (MIXED, "mlp", {"shortcut": False}), (COLOUR, "mlp", {}), (COLOUR, "conv", {})],
)
def test_the_conditions_reach_encoder_and_decoder(layout: Layout, trunk: str, shortcut: dict[str, object]) -> None:
    model = build(
        with_conditions(layout), Section.model_validate({"family": "cvae", "trunk": trunk, "latent": 2, **shortcut}), 0
    ).eval()
    arrays = random_rows(with_conditions(layout), 8)
    row = model.preprocessing({name: torch.from_numpy(array) for name, array in arrays.items()})

    other = row._replace(given=row.given + 1)

    z = model.posterior(row).mean
    assert (z != model.posterior(other).mean).any(1).all()
    assert (model.decode(z, row.given) != model.decode(z, other.given)).any(1).all()


def test_a_cvae_starts_at_the_components_given_the_conditions() -> None:
    layout, arrays = kinds_and_numbers(2_000)
    model = build(layout, Section.model_validate({"family": "cvae", "latent": 1}), 0).double()
    row = model.preprocessing({name: torch.from_numpy(array) for name, array in arrays.items()})

    model.prepare(Batch(row, row))

    codes = model.posterior(row).mean.detach().numpy()
    dense, given = row.dense.numpy(), row.given.numpy()
    rest = dense - LinearRegression().fit(given, dense).predict(given)
    direction = np.linalg.svd(rest - rest.mean(0), full_matrices=False)[2][0]
    oracle = rest @ direction
    assert abs(np.corrcoef(codes[:, 0], oracle)[0, 1]) == pytest.approx(1, abs=1e-6)
    assert codes.std() == pytest.approx(1, abs=1e-3)
    both = np.column_stack([codes, given])
    best = LinearRegression().fit(both, dense).predict(both)
    np.testing.assert_allclose(model.decode(torch.from_numpy(codes), row.given).detach().numpy(), best, atol=2e-3)


def test_rows_drawn_at_a_condition_have_its_means_and_latents_do_not_repeat_it() -> None:
    layout, arrays = kinds_and_numbers(2_000)
    model = build(layout, Section.model_validate({"family": "cvae", "latent": 1}), 0)

    fit(model, arrays, kinds_and_numbers(300, seed=1)[1], Train(epochs=15))

    row = model.preprocessing({name: torch.from_numpy(array) for name, array in arrays.items()})
    kind = arrays["given_cat"][:, 0] - FIRST_VALUE
    z = torch.randn(2_000, 1, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        codes = model.posterior(row).mean.numpy()
        drawn = model.preprocessing.restore(model.decode(z, row.given)).numpy()
    for value in range(KINDS):
        np.testing.assert_allclose(drawn[kind == value].mean(0), arrays["num"][kind == value].mean(0), atol=0.3)
        assert abs(codes[kind == value].mean()) < 0.25


def test_a_layout_without_conditions_is_refused() -> None:
    with pytest.raises(OptionInvalid, match='no column is one: set a column to "condition"'):
        build(NUMBERS, Section(family="cvae"), 0)


def test_other_families_refuse_conditions_and_name_this_one() -> None:
    with pytest.raises(
        OptionInvalid, match=r"family 'ae' has no conditions, but 'weight', 'grade' .*use .*cvae or vae"
    ):
        build(GIVEN, Section(family="ae"), 0)
