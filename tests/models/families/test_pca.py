import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from aepipe.config.job import Model as Section
from aepipe.config.job import Train
from aepipe.models.base import Batch, Model
from aepipe.models.families import build
from aepipe.models.layers.preprocessing import Row
from aepipe.training.loop import fit
from tests.support.layouts import GREY, MIXED, NUMBERS, random_rows


def solved(latent: int, **keys: object) -> tuple[Model, Row]:
    model = build(NUMBERS, Section.model_validate({"family": "pca", "latent": latent, **keys}), 0).double()
    row = model.preprocessing({name: torch.from_numpy(array) for name, array in random_rows(NUMBERS, 300).items()})
    model.prepare(Batch(row, row))
    return model.eval(), row


def test_latents_are_scikit_learn_s_scores_with_unit_variance() -> None:
    model, row = solved(3)
    scores = PCA(3).fit_transform(row.dense)

    z = model.posterior(row).mean.numpy()

    signs = np.sign((z * scores).sum(0))
    np.testing.assert_allclose(z, signs * scores / scores.std(0), rtol=1e-6, atol=1e-9)


def test_reconstruction_and_subspace_are_scikit_learn_s() -> None:
    model, row = solved(3)
    pca = PCA(3).fit(row.dense)

    decoded = model.reconstruct(row).params.numpy()

    np.testing.assert_allclose(decoded, pca.inverse_transform(pca.transform(row.dense)), rtol=1e-6, atol=1e-9)
    directions = (
        model.decode(torch.eye(3).double(), torch.zeros(3, 0))
        - model.decode(torch.zeros(1, 3).double(), torch.zeros(1, 0))
    ).numpy()
    assert subspace_angles(directions.T, pca.components_.T).max() < 1e-6


def test_as_many_components_as_columns_lose_nothing() -> None:
    model, row = solved(5)

    torch.testing.assert_close(model.reconstruct(row).params, row.dense)


def test_sigma_is_what_the_components_leave() -> None:
    model, row = solved(3)
    left = row.dense - model.reconstruct(row).params

    assert model.likelihood.sigma().exp().item() == pytest.approx(left.square().mean().sqrt().item())


def test_learned_sigmas_are_the_residuals_of_each_column() -> None:
    model, row = solved(3, sigma="learned")
    left = row.dense - model.reconstruct(row).params

    torch.testing.assert_close(model.likelihood.sigma().exp(), left.square().mean(0).sqrt(), rtol=2e-3, atol=2e-3)


def test_training_is_one_solution_without_epochs() -> None:
    images = load_digits().images.astype(np.uint8)[:, None]
    model = build(GREY, Section.model_validate({"family": "pca", "latent": 16}), 0)

    curve = fit(model, {"image": images[:1_000]}, {"image": images[1_000:]}, Train())

    assert curve.epochs == ()
    assert curve.stopped_because == "solved in closed form"
    flat = images.reshape(len(images), -1) / 16
    pca = PCA(16).fit(flat[:1_000])
    row = model.preprocessing({"image": torch.from_numpy(images[1_000:])})
    decoded = model.reconstruct(row).params.numpy()
    np.testing.assert_allclose(decoded, pca.inverse_transform(pca.transform(flat[1_000:])), atol=1e-3)


def test_categories_are_reconstructed_better_than_by_their_frequencies() -> None:
    arrays = random_rows(MIXED, 500)
    arrays["cat"][:, 1] = np.where(arrays["num"][:, 1] > 0, 3, 4)
    model = build(MIXED, Section.model_validate({"family": "pca", "latent": 3}), 0)
    row = model.preprocessing({name: torch.from_numpy(array) for name, array in arrays.items()})

    model.prepare(Batch(row, row))

    nll = model.likelihood.nll(model.reconstruct(row).params, row)
    assert nll[:, 3].mean().item() < 0.5 * np.log(2)


def test_a_column_that_never_changes_leaves_everything_finite() -> None:
    model = build(NUMBERS, Section.model_validate({"family": "pca", "latent": 5}), 0)
    arrays = random_rows(NUMBERS, 50)
    arrays["num"][:, 1:] = 1.0
    row = model.preprocessing({"num": torch.from_numpy(arrays["num"])})

    model.prepare(Batch(row, row))

    assert model.posterior(row).mean.isfinite().all()
