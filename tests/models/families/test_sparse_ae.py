"""Sparse autoencoder: penalties by hand, zeros by weight, and a recovered dictionary."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch.distributions import Bernoulli, kl_divergence

from aepipe.config.job import Model as Section
from aepipe.config.job import Train
from aepipe.errors import OptionInvalid
from aepipe.layout import Layout, Number
from aepipe.models.base import Batch, Model, StepContext
from aepipe.models.families import build, plan
from aepipe.models.families.sparse_ae import activity_kl
from aepipe.models.layers.preprocessing import Row
from aepipe.training.loop import Arrays, fit, measure
from tests.support.layouts import GREY, MIXED, random_rows

ATOMS, COLUMNS = 36, 24


def digits() -> tuple[Arrays, Arrays]:
    images = load_digits().images.astype(np.uint8)[np.random.default_rng(0).permutation(1_797)][:, None]
    return {"image": images[:1_200]}, {"image": images[1_200:]}


def make(**keys: object) -> Model:
    section = {"family": "sparse_ae", "trunk": "mlp", "hidden": [32], "latent": 48, **keys}
    return build(GREY, Section.model_validate(section), 0)


def see(model: Model, arrays: Arrays) -> Row:
    row: Row = model.preprocessing({name: torch.from_numpy(array) for name, array in arrays.items()})
    return row


def loss_of(model: Model, row: Row, progress: float = 1.0) -> tuple[float, dict[str, float]]:
    context = StepContext(progress, torch.Generator().manual_seed(0))
    with torch.no_grad():
        loss = model.objectives()[0].loss(Batch(row, row), context)
    return loss.total.item(), {name: term.item() for name, term in loss.terms.items()}


def atoms() -> NDArray[np.float64]:
    """Draw more random directions than there are columns, (36, 24) of unit length."""
    drawn = np.random.default_rng(0).standard_normal((ATOMS, COLUMNS))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def mixtures(rows: int, seed: int) -> Arrays:
    """Draw sparse sums of atoms: each has a chance of 1/20 and a weight from 0.5 to 1.5; plus noise of 0.01."""
    generator = np.random.default_rng(seed)
    amounts = (generator.random((rows, ATOMS)) < 0.05) * generator.uniform(0.5, 1.5, (rows, ATOMS))
    values = amounts @ atoms()
    return {"num": (values + 0.01 * generator.standard_normal(values.shape)).astype(np.float32)}


def mixtures_layout() -> Layout:
    names = tuple(f"c{at}" for at in range(COLUMNS))
    return Layout(columns=names, numbers=tuple(Number(name=name, column=at) for at, name in enumerate(names)))


def test_the_loss_is_the_nll_and_the_size_of_the_code() -> None:
    model = make(sparsity=0.7).eval()
    row = see(model, random_rows(GREY, 40))

    total, terms = loss_of(model, row)

    z = model.posterior(row).mean
    nll = model.likelihood.nll(model.decode(z, row.given), row).sum(1).mean().item()
    assert terms == pytest.approx({"nll": nll, "penalty": z.abs().sum(1).mean().item()}, rel=1e-5)
    assert total == pytest.approx(nll + 0.7 * terms["penalty"], rel=1e-5)


def test_the_activity_penalty_is_the_kl_of_coins() -> None:
    means = torch.tensor([0.01, 0.05, 0.3, 0.9], dtype=torch.float64)

    oracle = kl_divergence(Bernoulli(torch.tensor(0.05, dtype=torch.float64)), Bernoulli(means))

    torch.testing.assert_close(activity_kl(means, 0.05), oracle)


def test_the_penalty_warms_up() -> None:
    model = make(warm_up=0.4).eval()
    row = see(model, random_rows(GREY, 40))

    for progress, weight in {0.0: 0.0, 0.2: 0.5, 0.4: 1.0, 0.9: 1.0}.items():
        total, terms = loss_of(model, row, progress)
        assert total == pytest.approx(terms["nll"] + weight * terms["penalty"], rel=1e-5)


@pytest.mark.parametrize("penalty,top", [("l1", np.inf), ("kl", 1.0)])
def test_codes_are_not_negative_and_those_of_an_activity_are_below_one(penalty: str, top: float) -> None:
    model = make(penalty=penalty).eval()
    row = see(model, random_rows(GREY, 40))
    model.prepare(Batch(row, row))

    z = model.posterior(row).mean

    assert (z >= 0).all()
    assert (z <= top).all()
    assert torch.equal(z, model.posterior(row).mean)


def test_a_latent_is_active_in_half_of_the_rows_at_the_start() -> None:
    model = make().eval()
    train, _ = digits()
    row = see(model, train)

    model.prepare(Batch(row, row))

    active = (model.posterior(row).mean > 0).double().mean(0)
    assert active.min() > 0.3
    assert active.max() < 0.7


@pytest.mark.slow
def test_the_share_of_zeros_rises_with_the_weight() -> None:
    train, dev = digits()
    shares = []
    for sparsity in (0.0, 1.0, 4.0):
        model = make(sparsity=sparsity)
        fit(model, train, dev, Train(epochs=12))
        shares.append(measure(model, dev, seed=0)["near_zero_share"])

    assert shares == sorted(shares)
    assert shares[2] > shares[0] + 0.2


@pytest.mark.slow
def test_an_activity_is_drawn_to_its_target() -> None:
    train, dev = digits()
    activities = {}
    for target in (0.05, 0.3):
        model = make(penalty="kl", sparsity=30.0, activity=target, warm_up=0)
        fit(model, train, dev, Train(epochs=12))
        activities[target] = measure(model, dev, seed=0)["mean_activation"]

    assert activities == pytest.approx({0.05: 0.05, 0.3: 0.3}, rel=0.4)


@pytest.fixture(scope="module")
def dictionary() -> Model:
    keys = {"family": "sparse_ae", "hidden": [], "latent": ATOMS, "sparsity": 10.0}
    model = build(mixtures_layout(), Section.model_validate(keys), 0)
    fit(model, mixtures(4_000, 1), mixtures(500, 2), Train(epochs=40, learning_rate=0.01))
    return model


@pytest.mark.slow
def test_most_atoms_of_an_over_complete_dictionary_are_found(dictionary: Model) -> None:
    with torch.no_grad():
        none = torch.zeros(1, 0)
        found = dictionary.decode(torch.eye(ATOMS), none.expand(ATOMS, 0))
        found = (found - dictionary.decode(torch.zeros(1, ATOMS), none)).numpy()
    found = found / np.linalg.norm(found, axis=1, keepdims=True)

    nearest = (atoms() @ found.T).max(axis=1)

    assert np.mean(nearest > 0.9) > 0.75
    assert nearest.mean() > 0.9


@pytest.mark.slow
def test_small_codes_and_large_decoder_weights_do_not_pay(dictionary: Model) -> None:
    row = see(dictionary, mixtures(1_000, 3))
    before = dictionary.reconstruct(row).params.detach().clone()
    dictionary.train()
    honest, of_honest = loss_of(dictionary, row)
    encoder, decoder = dictionary.get_submodule("encoder"), dictionary.get_submodule("decoder.layers")

    with torch.no_grad():
        encoder.get_buffer("gain").div_(10)
        dictionary.get_parameter("decoder.input_projection.weight").mul_(10)
    cheating, of_cheating = loss_of(dictionary, row)
    dictionary.eval()
    after = dictionary.reconstruct(row).params
    with torch.no_grad():
        encoder.get_buffer("gain").mul_(10)
        dictionary.get_parameter("decoder.input_projection.weight").div_(10)

    assert len(decoder) == 0  # it is linear: the two changes cancel out
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-3)
    assert of_cheating["penalty"] == pytest.approx(of_honest["penalty"] / 10, rel=1e-3)
    assert cheating > honest + 10


def test_an_over_complete_code_is_allowed_and_the_default_on_tables() -> None:
    model = build(MIXED, Section(family="sparse_ae"), 0)

    assert len(model.latent.names) == 8 > MIXED.features


@pytest.mark.parametrize(
    "keys,sentence",
    [
        ({"latent": 5_000}, "latent = 5000 is too wide: expected at most 4096"),
        ({"activity": 0.1}, "activity belongs to penalty = 'kl': omit it, or set that penalty"),
        ({"penalty": "kl", "activity": 1.0}, "activity = 1.0: Input should be less than 1"),
        ({"sparsity": -1}, "sparsity = -1: Input should be greater than or equal to 0"),
    ],
)
def test_a_bad_option_is_refused_in_a_sentence(keys: dict[str, object], sentence: str) -> None:
    with pytest.raises(OptionInvalid) as refused:
        plan(MIXED, Section.model_validate({"family": "sparse_ae", **keys}))

    assert sentence in str(refused.value)


def test_what_was_resolved_plans_the_same_model_again() -> None:
    first = plan(MIXED, Section(family="sparse_ae"))

    assert plan(MIXED, Section.model_validate(first.resolved)).resolved == first.resolved
