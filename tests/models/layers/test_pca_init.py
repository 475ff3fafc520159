import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.decomposition import PCA

from aepipe.config.job import Model
from aepipe.layout import MANY_CODES, Layout, Number
from aepipe.models.base import Batch
from aepipe.models.families import build
from aepipe.models.layers.preprocessing import Preprocessing, Row
from tests.support.layouts import CATEGORIES, MIXED, random_rows


@pytest.fixture
def cells() -> tuple[Layout, Row]:
    numbers = load_breast_cancer().data.astype(np.float32)
    moments = zip(numbers.mean(0), numbers.std(0), strict=True)
    layout = Layout(
        columns=tuple(f"c{j}" for j in range(30)),
        numbers=tuple(
            Number(name=f"c{j}", column=j, mean=float(mean), std=float(std)) for j, (mean, std) in enumerate(moments)
        ),
    )
    return layout, Preprocessing(layout)({"num": torch.from_numpy(numbers)})


@pytest.mark.parametrize("family", ["ae", "vae"])
def test_a_network_starts_at_the_principal_components(cells: tuple[Layout, Row], family: str) -> None:
    layout, row = cells
    model = build(layout, Model(family=family, latent=5), 0)
    pca = PCA(5).fit(row.dense)

    model.prepare(Batch(row, row))

    codes = model.posterior(row).mean.detach()
    torch.testing.assert_close(codes.std(0, correction=0), torch.ones(5), rtol=1e-3, atol=1e-3)
    oracle = pca.inverse_transform(pca.transform(row.dense))
    np.testing.assert_allclose(model.decode(codes, row.given).detach().numpy(), oracle, atol=2e-3)


def test_a_vae_starts_with_the_variances_of_probabilistic_pca(cells: tuple[Layout, Row]) -> None:
    layout, row = cells
    model = build(layout, Model(family="vae", latent=5), 0)
    variances = PCA().fit(row.dense.double()).explained_variance_ * 568 / 569

    model.prepare(Batch(row, row))

    log_var = model.posterior(row).log_var
    assert log_var is not None
    oracle = np.log(variances[5:].sum() / 30 / variances[:5])
    np.testing.assert_allclose(log_var[0].detach().numpy(), oracle, rtol=1e-3)


@pytest.mark.parametrize("layout", [CATEGORIES, MIXED], ids=["categories", "mixed"])
def test_categories_start_at_their_frequencies(layout: Layout) -> None:
    arrays = random_rows(layout, 400)
    row = Preprocessing(layout)({name: torch.from_numpy(array) for name, array in arrays.items()})
    model = build(layout, Model(family="ae", latent=1), 0)

    model.prepare(Batch(row, row))

    nll = model.likelihood.nll(model.decode(torch.zeros(400, 1), row.given), row)
    # columns of two levels begin with the frequencies of classes and of members, not of pairs
    for column in [at for at, category in enumerate(layout.categories) if category.size <= MANY_CODES]:
        codes = arrays["cat"][:, column]
        shares = np.bincount(codes)[codes] / 400
        own = nll[:, len(layout.numbers) + column].detach().numpy()
        assert own.mean() == pytest.approx(-np.log(shares).mean(), abs=0.2)


def test_fewer_rows_than_latents_leave_the_random_start(cells: tuple[Layout, Row]) -> None:
    layout, row = cells
    model = build(layout, Model(family="ae", latent=5), 0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    few = Row(*(part[:3] for part in row))
    model.prepare(Batch(few, few))

    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
