"""Factor-VAE: its losses by hand, and the parameters that each of them reaches."""

import pytest
import torch
from torch import nn

from aepipe.config.job import Model as Section
from aepipe.errors import OptionInvalid
from aepipe.models.base import Batch, Model, StepContext
from aepipe.models.families import build
from aepipe.models.layers.preprocessing import Row
from tests.support.layouts import NUMBERS, random_rows


def make(rows: int = 64, **keys: object) -> tuple[Model, Row]:
    model = build(NUMBERS, Section.model_validate({"family": "factor_vae", "latent": 2, **keys}), 0).double().eval()
    row = model.preprocessing({name: torch.from_numpy(array) for name, array in random_rows(NUMBERS, rows).items()})
    model.prepare(Batch(row, row))
    return model, row


def context(progress: float = 1.0) -> StepContext:
    return StepContext(progress, torch.Generator().manual_seed(0))


def critic_of(model: Model) -> nn.Module:
    return model.get_submodule("critic")


def draws(model: Model, row: Row) -> torch.Tensor:
    posterior = model.posterior(row)
    assert posterior.log_var is not None
    eps = torch.randn(posterior.mean.shape, generator=context().generator, dtype=torch.float64)
    return posterior.mean + eps * (0.5 * posterior.log_var).exp()


def test_the_loss_is_the_likelihood_beta_kls_and_gamma_times_the_critic_s_mean_logit() -> None:
    model, row = make(beta=2.0, gamma=6.0)

    loss = model.objectives()[0].loss(Batch(row, row), context())

    terms = {name: term.item() for name, term in loss.terms.items()}
    assert terms["tc"] == pytest.approx(critic_of(model)(draws(model, row)).mean().item())
    assert terms["kl"] == pytest.approx(model.posterior(row).kl.sum(1).mean().item())
    assert loss.total.item() == pytest.approx(terms["nll"] + 2.0 * terms["kl"] + 6.0 * terms["tc"])


def test_the_critic_s_loss_never_reaches_encoder_or_decoder() -> None:
    model, row = make()

    model.objectives()[1].loss(Batch(row, row), context()).total.backward()

    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == name.startswith("critic."), name


def test_the_total_correlation_reaches_the_encoder_through_the_critic() -> None:
    grads = []
    for gamma in (0.0, 20.0):
        model, row = make(gamma=gamma)
        model.objectives()[0].loss(Batch(row, row), context()).total.backward()
        grads.append(torch.cat([p.grad.flatten() for p in model.get_submodule("encoder").parameters()
                                if p.grad is not None]))  # fmt: skip

    assert not torch.allclose(*grads)


def test_the_critic_has_its_own_objective_and_momentum() -> None:
    model, _ = make()

    vae, critic = model.objectives()

    assert critic.betas == (0.5, 0.9)
    assert {id(p) for p in critic.parameters} == {id(p) for p in critic_of(model).parameters()}
    assert not {id(p) for p in vae.parameters} & {id(p) for p in critic.parameters}


def test_the_critic_looks_at_half_of_the_rows_as_they_are_and_at_the_others_shuffled() -> None:
    model, row = make()
    seen: list[torch.Tensor] = []
    critic_of(model).register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))

    model.objectives()[1].loss(Batch(row, row), context())

    z = draws(model, row)
    assert torch.equal(seen[0], z[:32])
    assert torch.equal(seen[1].sort(0).values, z[32:].sort(0).values)
    assert not torch.equal(seen[1], z[32:])


def test_the_critic_s_accuracy_is_that_of_its_logits() -> None:
    model, row = make(rows=4_000)

    untrained = model.objectives()[1].loss(Batch(row, row), context()).terms["accuracy"].item()

    assert untrained == pytest.approx(0.5, abs=0.05)


def test_a_critic_of_one_row_has_a_finite_loss() -> None:
    model, row = make(rows=1)

    assert model.objectives()[1].loss(Batch(row, row), context()).total.isfinite()


def test_the_weights_warm_up_from_nothing() -> None:
    model, row = make(beta=1.0, warm_up=0.2)

    for progress, weight in {0.0: 0.0, 0.1: 0.5, 0.2: 1.0, 0.9: 1.0}.items():
        loss = model.objectives()[0].loss(Batch(row, row), context(progress))
        terms = {name: term.item() for name, term in loss.terms.items()}
        assert loss.total.item() == pytest.approx(terms["nll"] + weight * (terms["kl"] + 10.0 * terms["tc"]))


@torch.no_grad()
def test_the_model_card_has_the_total_correlation() -> None:
    model, row = make()

    assert model.card_metrics(Batch(row, row), torch.Generator().manual_seed(0))["total_correlation"] >= -0.05


@pytest.mark.parametrize(("keys", "what"), [
    ({"gamma": -1}, "gamma = -1"), ({"beta": -1}, "beta = -1"),
    ({"critic_rate": 0}, "critic_rate = 0"), ({"critic_hidden": [0]}, "critic_hidden"),
    ({"latent": 5_000}, "latent = 5000 is too wide: expected at most 4096"),
])  # fmt: skip
def test_bad_options_are_refused_before_training(keys: dict[str, object], what: str) -> None:
    with pytest.raises(OptionInvalid, match=what):
        build(NUMBERS, Section.model_validate({"family": "factor_vae", **keys}), 0)
