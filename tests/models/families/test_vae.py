"""VAE: the bound, the KL in closed form, free bits, and the posterior of a linear Gaussian model."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from aepipe.config.job import Model as Section
from aepipe.models.base import Batch, Model, StepContext
from aepipe.models.families import build
from aepipe.models.layers.preprocessing import Row
from tests.support.layouts import MIXED, NUMBERS, TEXT, random_rows


def make(rows: int = 64, **keys: object) -> tuple[Model, Row]:
    model = build(NUMBERS, Section.model_validate({"family": "vae", "latent": 2, **keys}), 0).double().eval()
    row = model.preprocessing({name: torch.from_numpy(array) for name, array in random_rows(NUMBERS, rows).items()})
    model.prepare(Batch(row, row))
    return model, row


def loss_of(model: Model, row: Row, progress: float = 1.0, seed: int = 0) -> tuple[float, dict[str, float]]:
    context = StepContext(progress, torch.Generator().manual_seed(seed))
    loss = model.objectives()[0].loss(Batch(row, row), context)
    return loss.total.item(), {name: term.item() for name, term in loss.terms.items()}


def test_the_loss_is_the_negative_evidence_lower_bound() -> None:
    model, row = make(sigma=0.7)
    posterior = model.posterior(row)
    assert posterior.log_var is not None
    spread = (0.5 * posterior.log_var).exp()
    eps = torch.randn(64, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    total, terms = loss_of(model, row)

    mean = model.decode(posterior.mean + spread * eps, row.given)
    nll = -Normal(mean, 0.7).log_prob(row.dense).sum(1).mean().item()
    kl = kl_divergence(Normal(posterior.mean, spread), Normal(0.0, 1.0)).sum(1).mean().item()
    assert terms == pytest.approx({"nll": nll, "kl": kl})
    assert total == pytest.approx(nll + kl)


def test_the_kl_of_a_row_is_exact() -> None:
    model, row = make()
    posterior = model.posterior(row)
    assert posterior.log_var is not None

    oracle = kl_divergence(Normal(posterior.mean, (0.5 * posterior.log_var).exp()), Normal(0.0, 1.0)).sum(1)

    torch.testing.assert_close(posterior.kl.sum(1), oracle)


def test_the_loss_of_a_batch_is_the_mean_of_its_parts() -> None:
    model, row = make()
    context = StepContext(1.0, torch.Generator().manual_seed(0))
    loss = model.objectives()[0].loss
    # torch draws noise in groups of 16: quarters of 16 rows draw, one after another, what the whole draws at once
    parts = [Row(*(part[begin : begin + 16] for part in row)) for begin in range(0, 64, 16)]

    totals = [loss(Batch(part, part), context).total.item() for part in parts]

    assert loss_of(model, row)[0] == pytest.approx(sum(totals) / 4, rel=1e-9)


def test_the_kl_warms_up_from_nothing() -> None:
    model, row = make(warm_up=0.2)

    totals = {progress: loss_of(model, row, progress) for progress in (0.0, 0.1, 0.2, 0.9)}

    for progress, weight in {0.0: 0.0, 0.1: 0.5, 0.2: 1.0, 0.9: 1.0}.items():
        total, terms = totals[progress]
        assert total == pytest.approx(terms["nll"] + weight * terms["kl"])


def test_without_warm_up_the_kl_weighs_in_full_at_once() -> None:
    model, row = make(warm_up=0)

    total, terms = loss_of(model, row, progress=0.0)

    assert total == pytest.approx(terms["nll"] + terms["kl"])


def test_free_bits_are_paid_where_a_dimension_has_less() -> None:
    model, row = make(free_bits=100.0)

    total, terms = loss_of(model, row)

    assert total == pytest.approx(terms["nll"] + 2 * 100.0)


def test_with_texts_the_kl_rises_slowly_and_has_free_bits_unless_options_say_otherwise() -> None:
    inputs = {name: torch.from_numpy(array) for name, array in random_rows(TEXT, 64).items()}
    plain, own = (
        build(TEXT, Section.model_validate({"family": "vae", **keys}), 0).eval()
        for keys in ({}, {"warm_up": 0.0, "free_bits": 0.0})
    )
    row = plain.preprocessing(inputs)

    totals = {progress: loss_of(plain, row, progress) for progress in (0.0, 0.25, 1.0)}
    kl = plain.posterior(row).kl.mean(0)

    paid = kl.clamp(min=0.25).sum().item()
    for progress, weight in {0.0: 0.0, 0.25: 0.5, 1.0: 1.0}.items():
        total, terms = totals[progress]
        assert total == pytest.approx(terms["nll"] + weight * paid, rel=1e-5)
    total, terms = loss_of(own, row, 0.0)
    assert total == pytest.approx(terms["nll"] + terms["kl"], rel=1e-5)


def test_the_card_of_texts_separates_information_and_free_bits() -> None:
    model = build(TEXT, Section(family="vae"), 0).eval()
    row = model.preprocessing({name: torch.from_numpy(array) for name, array in random_rows(TEXT, 64).items()})
    head = model.encoder.head
    for weight in (head.weight, *(reader.shortcut.weight for reader in model.encoder.readers)):
        torch.nn.init.zeros_(weight)  # all rows have one posterior, whose KL is not 0
    torch.nn.init.constant_(head.bias, 1.0)

    with torch.no_grad():
        metrics = model.card_metrics(Batch(row, row), torch.Generator().manual_seed(0))

    assert metrics["kl"] > 6
    assert metrics["mutual_information"] == pytest.approx(0, abs=1e-5)
    assert metrics["active_latents"] == 0


def test_the_posterior_is_that_of_a_linear_gaussian_model_at_the_start() -> None:
    model, row = make(rows=2_000)
    posterior = model.posterior(row)
    assert posterior.log_var is not None

    aggregate = posterior.mean.var(0, correction=0) + posterior.log_var.exp().mean(0)

    assert (aggregate > 0.99).all()
    assert (posterior.log_var < 0).all()


def test_the_noise_comes_from_the_generator_alone() -> None:
    model, row = make()
    torch.manual_seed(1)
    first = loss_of(model, row, seed=3)
    torch.manual_seed(2)

    assert loss_of(model, row, seed=3) == first
    assert loss_of(model, row, seed=4) != first


def test_a_row_is_encoded_to_its_posterior_mean() -> None:
    model = build(MIXED, Section(family="vae"), 0).eval()
    tensors = tuple(torch.from_numpy(array) for array in random_rows(MIXED, 9).values())
    encoder = model.parts()[0].module

    row = model.preprocessing(dict(zip(("num", "cat"), tensors, strict=True)))

    assert torch.equal(encoder(*tensors)[0], model.posterior(row).mean)
