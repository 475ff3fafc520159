"""Denoising presets: noisy rows in, clean rows out."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from aepipe.config.job import Model as Section
from aepipe.config.job import Train
from aepipe.errors import OptionInvalid
from aepipe.layout import Layout, Number
from aepipe.models.base import Batch, Model, StepContext
from aepipe.models.families import PRESETS, build, find, plan
from aepipe.models.layers.corruption import Corruption, CorruptionOptions
from aepipe.training.loop import Arrays, fit
from tests.support.layouts import CATEGORIES, GREY, MIXED, random_rows

DENOISING = sorted(PRESETS)
every_preset = pytest.mark.parametrize("preset", DENOISING)


def section(**keys: object) -> Section:
    return Section.model_validate(keys)


def digits() -> tuple[Arrays, Arrays, Arrays]:
    """Return training, dev and held-out images."""
    images = load_digits().images.astype(np.uint8)[np.random.default_rng(0).permutation(1_797)][:, None]
    return {"image": images[:1_200]}, {"image": images[1_200:1_400]}, {"image": images[1_400:]}


def factors(rows: int, seed: int) -> Arrays:
    """Generate twelve columns of unit variance from three hidden factors."""
    loadings = np.random.default_rng(0).standard_normal((3, 12))
    loadings /= np.linalg.norm(loadings, axis=0)
    generator = np.random.default_rng(seed)
    values = np.tanh(generator.standard_normal((rows, 3))) @ loadings
    return {"num": (values + 0.05 * generator.standard_normal(values.shape)).astype(np.float32)}


FACTORS = Layout(
    columns=tuple("abcdefghijkl"),
    numbers=tuple(Number(name=name, column=at, std=0.63) for at, name in enumerate("abcdefghijkl")),
)


@torch.no_grad()
def error(model: Model, arrays: Arrays, kind: str, seed: int = 9) -> float:
    """Return the mean squared difference between clean rows and reconstructions of corrupted ones."""
    row = model.preprocessing({name: torch.from_numpy(array) for name, array in arrays.items()})
    noise = Corruption(CorruptionOptions.model_validate({"corruption": kind}))
    seen = noise(row, torch.Generator().manual_seed(seed))
    return float(model.likelihood.residual(model.reconstruct(seen).params, row).square().mean())


def trained(layout: Layout, train: Arrays, dev: Arrays, epochs: int, **keys: object) -> Model:
    model = build(layout, section(**keys), 0)
    fit(model, train, dev, Train(epochs=epochs))
    return model


def of_digits(**keys: object) -> Model:
    train, dev, _ = digits()
    return trained(GREY, train, dev, 15, trunk="mlp", hidden=[64], latent=16, **keys)


def of_factors(**keys: object) -> Model:
    return trained(FACTORS, factors(1_000, 1), factors(200, 2), 25, hidden=[32], latent=6, **keys)


@pytest.fixture(scope="module")
def plain_of_digits() -> Model:
    return of_digits(family="ae")


@pytest.fixture(scope="module")
def plain_of_factors() -> Model:
    return of_factors(family="ae")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gaussian", "masking", "swap", "salt_and_pepper"])
def test_a_denoising_autoencoder_restores_noisy_digits_better_than_a_plain_one(
    plain_of_digits: Model, kind: str
) -> None:
    _, _, held_out = digits()

    denoising = of_digits(family="denoising_ae", corruption=kind)

    assert error(denoising, held_out, kind) < 0.95 * error(plain_of_digits, held_out, kind)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gaussian", "masking", "swap", "salt_and_pepper"])
@every_preset
def test_a_denoising_model_restores_noisy_columns_better_than_a_plain_one(
    plain_of_factors: Model, preset: str, kind: str
) -> None:
    held_out = factors(600, 3)

    denoising = of_factors(family=preset, corruption=kind)

    assert error(denoising, held_out, kind) < 0.8 * error(plain_of_factors, held_out, kind)


@every_preset
def test_the_loss_is_against_the_clean_row(preset: str) -> None:
    model = build(MIXED, section(family=preset), 0).double().eval()
    clean = model.preprocessing({name: torch.from_numpy(array) for name, array in random_rows(MIXED, 64).items()})
    seen = Corruption(CorruptionOptions(corruption="masking"))(clean, torch.Generator().manual_seed(0))

    loss = model.objectives()[0].loss(Batch(seen, clean), StepContext(1.0, torch.Generator().manual_seed(1)))

    noise = torch.Generator().manual_seed(1)
    posterior = model.posterior(seen)
    z = posterior.mean
    if posterior.log_var is not None:
        drawn = torch.randn(z.shape, generator=noise, dtype=z.dtype)
        z = z + drawn * (0.5 * posterior.log_var).exp()
    nll = model.likelihood.nll(model.decode(z, clean.given), clean).sum(1).mean()
    assert loss.terms["nll"].item() == pytest.approx(nll.item())


@every_preset
def test_a_preset_is_a_family_with_gaussian_noise_unless_the_job_says_otherwise(preset: str) -> None:
    assert find(preset).name == preset.removeprefix("denoising_")
    assert plan(MIXED, section(family=preset)).corruption.corruption == "gaussian"
    assert plan(MIXED, section(family=preset, corruption="swap")).resolved["corruption"] == "swap"
    assert plan(MIXED, section(family=preset)).resolved["family"] == preset


def test_gaussian_noise_on_nothing_but_categories_is_refused_before_training() -> None:
    with pytest.raises(OptionInvalid, match="every column is a category: use masking or swap"):
        plan(CATEGORIES, section(family="denoising_ae"))

    assert plan(CATEGORIES, section(family="denoising_ae", corruption="swap"))


def test_outputs_of_a_trained_model_are_deterministic() -> None:
    model = build(MIXED, section(family="denoising_ae", corruption="masking"), 0).eval()
    row = model.preprocessing({name: torch.from_numpy(array) for name, array in random_rows(MIXED, 20).items()})

    assert torch.equal(model.reconstruct(row).params, model.reconstruct(row).params)
