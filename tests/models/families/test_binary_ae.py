"""Binary autoencoder: probabilities of all codes, gradient estimates against exact ones, and its prior."""

import itertools

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from aepipe.config.job import Model as Section
from aepipe.config.job import Train
from aepipe.errors import OptionInvalid
from aepipe.export.export import export_parts
from aepipe.models.base import Model
from aepipe.models.export_parts import latent_tensors
from aepipe.models.families import build, plan
from aepipe.models.families.binary_ae import harden, straight_through
from aepipe.models.latent_priors import fit_priors
from aepipe.models.layers.autoregressive_bits import AutoregressiveBits
from aepipe.models.layers.preprocessing import Row
from aepipe.training.loop import Arrays, fit, measure
from tests.support.layouts import GREY, MIXED, random_rows

KINDS = {"bits": {"latent": 12}, "one_hot": {"codes": "one_hot", "latent": 4, "choices": 5}}
every_kind = pytest.mark.parametrize("keys", list(KINDS.values()), ids=list(KINDS))


def make(**keys: object) -> Model:
    return build(GREY, Section.model_validate({"family": "binary_ae", "trunk": "mlp", "hidden": [32], **keys}), 0)


def digits() -> tuple[Arrays, Arrays]:
    images = load_digits().images.astype(np.uint8)[np.random.default_rng(0).permutation(1_797)][:, None]
    return {"image": images[:1_400]}, {"image": images[1_400:]}


def rows_of(model: Model, arrays: Arrays) -> Row:
    row: Row = model.preprocessing({name: torch.from_numpy(array) for name, array in arrays.items()})
    return row


@pytest.fixture(scope="module", params=list(KINDS.values()), ids=list(KINDS))
def trained(request: pytest.FixtureRequest) -> Model:
    model = make(**request.param)
    fit(model, *digits(), Train(epochs=12))
    return model


def random_prior(groups: int, choices: int) -> AutoregressiveBits:
    prior = AutoregressiveBits(groups, choices).double().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return prior


def all_codes(groups: int, choices: int) -> torch.Tensor:
    if choices == 1:
        return torch.tensor(list(itertools.product((0.0, 1.0), repeat=groups)), dtype=torch.float64)
    indices = torch.tensor(list(itertools.product(range(choices), repeat=groups)))
    return torch.nn.functional.one_hot(indices, choices).double().flatten(1)


@pytest.mark.parametrize("groups,choices", [(5, 1), (3, 4)])
def test_the_probabilities_of_all_codes_add_up_to_one(groups: int, choices: int) -> None:
    prior, codes = random_prior(groups, choices), all_codes(groups, choices)

    assert float(torch.exp(-prior.nll(codes).sum(1)).sum()) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("groups,choices", [(5, 1), (3, 4)])
def test_codes_are_drawn_as_often_as_they_are_probable(groups: int, choices: int) -> None:
    prior, codes = random_prior(groups, choices), all_codes(groups, choices)
    u = torch.rand(100_000, groups, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    drawn = prior(u)

    wanted = torch.exp(-prior.nll(codes).sum(1))
    found = torch.stack([(drawn == code).all(1).double().mean() for code in codes])
    torch.testing.assert_close(found, wanted, rtol=0, atol=6e-3)


def test_noise_at_its_ends_still_draws_one_choice_a_group() -> None:
    prior = AutoregressiveBits(3, 4)

    for end in (torch.zeros(2, 3), torch.full((2, 3), np.nextafter(np.float32(1), np.float32(0)))):
        assert prior.requires_grad_(False)(end).unflatten(1, (3, 4)).sum(2).tolist() == [[1, 1, 1]] * 2


@every_kind
def test_features_are_exactly_0_and_1_and_each_group_has_one_1(keys: dict[str, object]) -> None:
    model = make(**keys).eval()

    (z,) = latent_tensors(model, model.posterior(rows_of(model, random_rows(GREY, 50))))

    assert z.dtype == torch.int8
    assert set(z.unique().tolist()) == {0, 1}
    assert z.shape == (50, len(model.latent.names))
    if keys.get("codes") == "one_hot":
        assert (z.unflatten(1, (4, 5)).sum(2) == 1).all()


@every_kind
def test_features_do_not_change_from_call_to_call_or_with_the_batch(keys: dict[str, object]) -> None:
    model = make(**keys).eval()
    row = rows_of(model, random_rows(GREY, 20))

    whole = model.posterior(row).mean

    assert torch.equal(whole, model.posterior(row).mean)
    singles = [model.posterior(Row(*(part[at : at + 1] for part in row))).mean for at in range(20)]
    assert torch.equal(whole, torch.cat(singles))


@pytest.mark.parametrize("choices", [1, 4])
def test_draws_are_as_often_as_the_logits_say(choices: int) -> None:
    logits = torch.tensor([[0.5, -1.0, 2.0, 0.0]])
    generator = torch.Generator().manual_seed(0)

    drawn = straight_through(logits.expand(50_000, 4), choices, temperature=0.5, generator=generator)

    wanted = torch.sigmoid(logits) if choices == 1 else logits.softmax(1)
    torch.testing.assert_close(drawn.mean(0, keepdim=True), wanted, rtol=0, atol=0.01)


def test_a_straight_through_bit_has_the_gradient_of_its_probability() -> None:
    logits = torch.tensor([[0.3, -2.0]], requires_grad=True)

    z = straight_through(logits, 1, temperature=1.0, generator=None)
    z.sum().backward()

    p = torch.sigmoid(logits.detach())
    assert z.tolist() == [[1.0, 0.0]]
    torch.testing.assert_close(logits.grad, p * (1 - p))


@pytest.mark.parametrize("choices", [1, 3])
def test_the_gradient_estimate_climbs_the_exact_expectation(choices: int) -> None:
    """The loss is linear in the code, so that its expectation has a closed form."""
    logits = torch.tensor([[0.4, -0.7, 0.2]], dtype=torch.float64)
    worth = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)

    of_estimate = logits.expand(40_000, 3).clone().requires_grad_()
    generator = torch.Generator().manual_seed(0)
    drawn = straight_through(of_estimate, choices, temperature=1.0, generator=generator)
    (drawn * worth).sum().backward()

    exact = logits.clone().requires_grad_()
    p = torch.sigmoid(exact) if choices == 1 else exact.softmax(1)
    (p * worth).sum().backward()
    assert of_estimate.grad is not None
    estimate = of_estimate.grad.mean(0, keepdim=True)
    cosine = torch.nn.functional.cosine_similarity(estimate, exact.grad)
    assert cosine.item() > 0.95


def test_hardened_groups_are_the_likeliest_choice() -> None:
    assert harden(torch.tensor([[1.0, 3.0, 2.0, 9.0, 0.0, 1.0]]), 3).tolist() == [[0, 1, 0, 1, 0, 0]]
    assert harden(torch.tensor([[1.0, -3.0]]), 1).tolist() == [[1, 0]]


def test_training_rebuilds_digits_and_knows_which_codes_go_together(trained: Model) -> None:
    _, held_out = digits()

    metrics = measure(trained, held_out, seed=0)

    assert metrics["mse"] < 0.6 * float((held_out["image"] / 16.0).var(axis=0).mean())
    assert metrics["code_nats"] < metrics["code_nats_if_independent"]


def test_codes_drawn_from_the_prior_have_the_frequencies_of_the_rows(trained: Model) -> None:
    train, _ = digits()
    (part,) = fit_priors(trained, train, components=3)
    u = torch.rand(4_000, *part.inputs[0].row_shape, generator=torch.Generator().manual_seed(0))

    with torch.no_grad():
        drawn = part.module(u)
        often = trained.posterior(rows_of(trained, train)).mean.mean(0)

    assert part.name == "prior"
    assert [(port.name, port.dtype) for port in part.outputs] == [("z", "int8")]
    assert float((drawn.double().mean(0) - often).abs().mean()) < 0.05


@pytest.mark.slow
@pytest.mark.slow
def test_exported_codes_are_those_of_torch(trained: Model) -> None:
    train, _ = digits()

    exported = export_parts((*trained.parts(), *fit_priors(trained, train, components=3)), train)

    parity = {each.part: each.info.parity for each in exported}
    for rows in ("1", "7", "512"):
        for part in ("encoder", "prior"):
            assert parity[part][rows]["z"]["differ"] <= 0.001


@pytest.mark.parametrize(
    "keys,sentence",
    [
        ({"choices": 4}, "choices belongs to codes = 'one_hot': omit it, or set these codes"),
        ({"codes": "one_hot", "choices": 1}, "choices = 1: Input should be greater than or equal to 2"),
        (
            {"codes": "one_hot", "latent": 1_000},
            "the code is too wide: expected at most 4096, got 8000; lower latent or choices",
        ),
        ({"temperature": 0}, "temperature = 0: Input should be greater than 0"),
    ],
)
def test_a_bad_option_is_refused_in_a_sentence(keys: dict[str, object], sentence: str) -> None:
    with pytest.raises(OptionInvalid) as refused:
        plan(MIXED, Section.model_validate({"family": "binary_ae", **keys}))

    assert sentence in str(refused.value)


def test_what_was_resolved_plans_the_same_model_again() -> None:
    first = plan(MIXED, Section(family="binary_ae"))

    assert plan(MIXED, Section.model_validate(first.resolved)).resolved == first.resolved
