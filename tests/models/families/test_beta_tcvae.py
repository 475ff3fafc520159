"""Beta-TC-VAE: its loss; test_total_correlation tests the estimates against closed forms."""

import pytest
import torch
from torch.distributions import Normal

from aepipe.config.job import Model as Section
from aepipe.config.job import Train
from aepipe.errors import OptionInvalid
from aepipe.models.base import Batch, Model, StepContext
from aepipe.models.families import build
from aepipe.models.layers.preprocessing import Row
from aepipe.training.loop import fit
from tests.support.layouts import NUMBERS, random_rows

ROWS = 64


def make(rows: int = ROWS, **keys: object) -> tuple[Model, Row]:
    model = build(NUMBERS, Section.model_validate({"family": "beta_tcvae", "latent": 2, **keys}), 0).double().eval()
    row = model.preprocessing({name: torch.from_numpy(array) for name, array in random_rows(NUMBERS, rows).items()})
    model.prepare(Batch(row, row))
    return model, row


def loss_of(model: Model, row: Row, progress: float = 1.0) -> tuple[float, dict[str, float]]:
    context = StepContext(progress, torch.Generator().manual_seed(0))
    loss = model.objectives()[0].loss(Batch(row, row), context)
    return loss.total.item(), {name: term.item() for name, term in loss.terms.items()}


def oracle(model: Model, row: Row, rows: int) -> tuple[float, float]:
    """Compute total correlation and mutual information of the same draws, pair by pair."""
    posterior = model.posterior(row)
    assert posterior.log_var is not None
    eps = torch.randn(ROWS, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z = posterior.mean + eps * (0.5 * posterior.log_var).exp()
    correlation, information = 0.0, 0.0
    for i in range(ROWS):
        density = Normal(posterior.mean, (0.5 * posterior.log_var).exp()).log_prob(z[i]).exp()  # (rows, Z)
        weight = torch.full((ROWS,), (1 - 1 / rows) / (ROWS - 1), dtype=torch.float64)
        weight[i] = 1 / rows
        joint = (weight * density.prod(1)).sum().log()
        correlation += (joint - (weight.unsqueeze(1) * density).sum(0).log().sum()).item() / ROWS
        information += (density[i].log().sum() - joint).item() / ROWS
    return correlation, information


@pytest.mark.parametrize("rows", [ROWS, 5_000])
def test_dependence_is_estimated_of_as_many_rows_as_training_has(rows: int) -> None:
    model, row = make()
    model.training_rows = rows

    _, terms = loss_of(model, row)

    assert (terms["tc"], terms["mi"]) == pytest.approx(oracle(model, row, rows), rel=1e-5)


def test_training_sets_the_number_of_rows_of_the_model() -> None:
    model = build(NUMBERS, Section(family="beta_tcvae", latent=2), 0)

    fit(model, random_rows(NUMBERS, 300), random_rows(NUMBERS, 40), Train(epochs=1))

    assert model.training_rows == 300


def test_each_part_of_the_kl_has_its_own_weight() -> None:
    model, row = make(alpha=0.5, beta=7.0, gamma=2.0)
    model.training_rows = 5_000

    total, terms = loss_of(model, row)

    own = terms["kl"] - terms["tc"] - terms["mi"]
    assert total == pytest.approx(terms["nll"] + 0.5 * terms["mi"] + 7.0 * terms["tc"] + 2.0 * own)


def test_with_weights_of_one_the_loss_is_that_of_the_plain_vae() -> None:
    model, row = make(beta=1.0)

    total, terms = loss_of(model, row)

    assert total == pytest.approx(terms["nll"] + terms["kl"])


def test_the_weights_warm_up_from_nothing() -> None:
    model, row = make(warm_up=0.2)
    whole, terms = loss_of(model, row)

    for progress, weight in {0.0: 0.0, 0.1: 0.5, 0.2: 1.0, 0.9: 1.0}.items():
        total, _ = loss_of(model, row, progress)
        assert total == pytest.approx(terms["nll"] + weight * (whole - terms["nll"]))


def test_many_rows_are_compared_in_groups() -> None:
    model, row = make(rows=1_100)
    model.training_rows = 20_000

    _, terms = loss_of(model, row)

    posterior = model.posterior(row)
    assert posterior.log_var is not None
    assert torch.isfinite(torch.tensor(list(terms.values()))).all()
    assert terms["mi"] < posterior.kl.sum(1).mean().item() + 0.5


def test_a_batch_of_one_row_has_a_finite_loss() -> None:
    model, row = make(rows=1)
    model.training_rows = 10

    total, _ = loss_of(model, row)

    assert torch.isfinite(torch.tensor(total))


@torch.no_grad()
def test_the_model_card_has_the_total_correlation() -> None:
    model, row = make()

    assert model.card_metrics(Batch(row, row), torch.Generator().manual_seed(0))["total_correlation"] >= -0.05


@pytest.mark.parametrize(("keys", "what"), [
    ({"alpha": -1}, "alpha = -1"), ({"beta": -1}, "beta = -1"), ({"gamma": -1}, "gamma = -1"),
    ({"latent": 300}, "latent = 300 is too wide: expected at most 256"),
])  # fmt: skip
def test_bad_options_are_refused_before_training(keys: dict[str, object], what: str) -> None:
    with pytest.raises(OptionInvalid, match=what):
        build(NUMBERS, Section.model_validate({"family": "beta_tcvae", **keys}), 0)
