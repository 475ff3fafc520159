"""Autoencoder: principal components, its loss by hand, and scores of extreme rows."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA

from aepipe.config.job import Model as Section
from aepipe.config.job import Train
from aepipe.layout import Image, Layout, Number
from aepipe.models.base import Batch, StepContext
from aepipe.models.families import build
from aepipe.models.layers.preprocessing import Row
from aepipe.training.loop import fit
from tests.support.layouts import MIXED, random_rows


def plain_layout(columns: int) -> Layout:
    names = tuple(f"c{j}" for j in range(columns))
    return Layout(columns=names, numbers=tuple(Number(name=name, column=j) for j, name in enumerate(names)))


def split(rows: NDArray[np.floating]) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[np.float32]]]:
    cut = len(rows) * 4 // 5
    return {"num": rows[:cut].astype(np.float32)}, {"num": rows[cut:].astype(np.float32)}


def test_a_linear_autoencoder_spans_the_principal_components() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((600, 3)) @ np.diag([1.5, 1.0, 0.7]) @ rng.standard_normal((3, 8))
    rows = (rows + 0.05 * rng.standard_normal(rows.shape)) / rows.std()
    model = build(plain_layout(8), Section.model_validate({"family": "ae", "hidden": [], "latent": 3}), 0)

    fit(model, *split(rows), Train(learning_rate=0.01, epochs=150))

    weight = model.decode(torch.eye(3), torch.zeros(3, 0)) - model.decode(torch.zeros(1, 3), torch.zeros(1, 0))
    angles = subspace_angles(weight.detach().numpy().T, PCA(3).fit(rows[:480]).components_.T)
    assert np.degrees(angles.max()) < 3


def test_one_latent_of_a_parabola_beats_the_principal_component() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1.5, 1.5, 500)
    rows = np.stack([x, x**2 + 0.05 * rng.standard_normal(500)], axis=1)
    rows = (rows - rows.mean(0)) / rows.std(0)
    train, dev = split(rows)
    model = build(plain_layout(2), Section.model_validate({"family": "ae", "latent": 1}), 0)

    fit(model, train, dev, Train(learning_rate=0.003, epochs=150))

    with torch.no_grad():
        row = model.preprocessing({"num": torch.from_numpy(dev["num"])})
        error = float((model.reconstruct(row).params - row.dense).square().mean())
    pca = PCA(1).fit(train["num"])
    of_pca = np.square(pca.inverse_transform(pca.transform(dev["num"])) - dev["num"]).mean()
    assert of_pca > 0.3
    assert error < 0.1 * of_pca


def test_the_loss_of_a_batch_is_the_mean_of_its_halves() -> None:
    model = build(MIXED, Section(family="ae"), 0).double().eval()
    arrays = random_rows(MIXED, 64)
    row = model.preprocessing({name: torch.from_numpy(array) for name, array in arrays.items()})
    halves = [Row(*(part[half] for part in row)) for half in (slice(32), slice(32, 64))]
    context = StepContext(1.0, torch.Generator())
    loss = model.objectives()[0].loss

    whole, first, second = (loss(Batch(each, each), context).total.item() for each in (row, *halves))

    assert whole == pytest.approx((first + second) / 2, rel=1e-12)


def test_the_loss_is_the_nll_and_the_decay_of_the_code() -> None:
    model = build(MIXED, Section.model_validate({"family": "ae", "code_decay": 0.5}), 0).double().eval()
    row = model.preprocessing({name: torch.from_numpy(array) for name, array in random_rows(MIXED, 64).items()})

    loss = model.objectives()[0].loss(Batch(row, row), StepContext(1.0, torch.Generator()))

    z = model.posterior(row).mean
    nll = model.likelihood.nll(model.decode(z, row.given), row).sum() / 64
    assert loss.terms["nll"].item() == pytest.approx(nll.item())
    assert loss.total.item() == pytest.approx((nll + 0.5 * z.square().sum() / 64).item())


def test_an_extreme_row_scores_high_and_finite_and_the_more_extreme_the_higher() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_t(2, (400, 2)) @ rng.standard_normal((2, 6))
    rows = (rows - rows.mean(0)) / rows.std(0)
    train, dev = split(rows)
    model = build(plain_layout(6), Section(family="ae"), 0)
    fit(model, train, dev, Train(epochs=40))
    steps = torch.tensor([0.0, 20.0, 1e3, 1e6, 1e12, 1e25])

    far = torch.zeros(6, 6)
    far[:, 2] = steps
    row = model.preprocessing({"num": far})
    nll = model.likelihood.nll(model.reconstruct(row).params, row).sum(1)

    assert nll.isfinite().all()
    assert (nll.diff() > 0).all()


@pytest.mark.parametrize("trunk", ["mlp", "conv"])
@pytest.mark.parametrize("height,width", [(1, 1), (3, 2), (5, 17), (13, 7), (28, 27)])
def test_the_reconstruction_of_an_image_has_its_shape(height: int, width: int, trunk: str) -> None:
    layout = Layout(columns=("scan",), image=Image(channels=2, height=height, width=width))
    model = build(layout, Section.model_validate({"family": "ae", "trunk": trunk, "latent": 2}), 0).eval()
    row = model.preprocessing({"image": torch.from_numpy(random_rows(layout, 3)["image"])})

    params = model.reconstruct(row).params

    (rebuilt,) = model.likelihood.expected(params)
    assert rebuilt.shape == (3, 2, height, width)
    assert model.likelihood.nll(params, row).isfinite().all()
