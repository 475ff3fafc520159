"""Beta-VAE: its loss by hand, and the capacity that training ends with."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from aepipe.config.job import Model as Section
from aepipe.config.job import Train
from aepipe.errors import OptionInvalid
from aepipe.models.base import Batch, Model, StepContext
from aepipe.models.families import build
from aepipe.models.layers.preprocessing import Row
from aepipe.training.loop import fit, measure
from tests.support.layouts import NUMBERS, random_rows


def make(rows: int = 64, **keys: object) -> tuple[Model, Row]:
    model = build(NUMBERS, Section.model_validate({"family": "beta_vae", "latent": 2, **keys}), 0).double().eval()
    row = model.preprocessing({name: torch.from_numpy(array) for name, array in random_rows(NUMBERS, rows).items()})
    model.prepare(Batch(row, row))
    return model, row


def loss_of(model: Model, row: Row, progress: float = 1.0) -> tuple[float, dict[str, float]]:
    context = StepContext(progress, torch.Generator().manual_seed(0))
    loss = model.objectives()[0].loss(Batch(row, row), context)
    return loss.total.item(), {name: term.item() for name, term in loss.terms.items()}


def test_the_loss_is_the_likelihood_and_beta_times_the_kl() -> None:
    model, row = make(beta=3.5, sigma=0.7)
    posterior = model.posterior(row)
    assert posterior.log_var is not None
    own = Normal(posterior.mean, (0.5 * posterior.log_var).exp())
    eps = torch.randn(64, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    total, terms = loss_of(model, row)

    mean = model.decode(own.mean + own.stddev * eps, row.given)
    nll = -Normal(mean, 0.7).log_prob(row.dense).sum(1).mean().item()
    kl = kl_divergence(own, Normal(0.0, 1.0)).sum(1).mean().item()
    assert terms == pytest.approx({"nll": nll, "kl": kl})
    assert total == pytest.approx(nll + 3.5 * kl)


def test_beta_warms_up_from_nothing() -> None:
    model, row = make(beta=5.0, warm_up=0.2)

    for progress, weight in {0.0: 0.0, 0.1: 2.5, 0.2: 5.0, 0.9: 5.0}.items():
        total, terms = loss_of(model, row, progress)
        assert total == pytest.approx(terms["nll"] + weight * terms["kl"])


def test_a_rising_capacity_penalises_the_kl_on_both_sides() -> None:
    model, row = make(capacity=30.0, capacity_rise=0.5, gamma=7.0)

    for progress, capacity in {0.0: 0.0, 0.25: 15.0, 0.5: 30.0, 1.0: 30.0}.items():
        total, terms = loss_of(model, row, progress)
        assert total == pytest.approx(terms["nll"] + 7.0 * abs(terms["kl"] - capacity))


@pytest.mark.parametrize("capacity", [1.0, 4.0])
def test_training_ends_with_the_given_capacity(capacity: float) -> None:
    model = build(NUMBERS, Section(family="beta_vae", latent=3, capacity=capacity, hidden=[16]), 0)
    rows = random_rows(NUMBERS, 512)

    fit(model, rows, rows, Train(epochs=20, batch_rows=64))

    assert measure(model, rows, seed=0)["kl"] == pytest.approx(capacity, rel=0.1)


@torch.no_grad()
def test_the_model_card_has_the_total_correlation() -> None:
    model, row = make()

    assert model.card_metrics(Batch(row, row), torch.Generator().manual_seed(0))["total_correlation"] >= -0.05


@pytest.mark.parametrize(("keys", "what"), [
    ({"beta": -1}, "beta = -1"), ({"capacity": -2}, "capacity = -2"), ({"gamma": -1}, "gamma = -1"),
    ({"latent": 5_000}, "latent = 5000 is too wide: expected at most 4096"),
])  # fmt: skip
def test_bad_options_are_refused_before_training(keys: dict[str, object], what: str) -> None:
    with pytest.raises(OptionInvalid, match=what):
        build(NUMBERS, Section.model_validate({"family": "beta_vae", **keys}), 0)
