import numpy as np
import pytest
import torch

from aepipe.config import job as config
from aepipe.models import families
from aepipe.models.base import Batch
from aepipe.models.export_parts import latent_port
from aepipe.models.latent_priors import MIXTURE, NORMAL, draw_latents, fit_priors
from tests.support import layouts
from tests.support.head_models import cells, mixed_layout, random_rows, table_layout
from tests.support.layouts import layout_for


@pytest.mark.parametrize("family", families.names())
def test_the_priors_of_a_family_go_from_noise_to_latents(family: str) -> None:
    layout = layout_for(family)
    model = families.build(layout, config.Model(family=family), seed=0)
    rows = layouts.random_rows(layout, 200)
    row = model.preprocessing({name: torch.from_numpy(array) for name, array in rows.items()})
    model.prepare(Batch(row, row))

    parts = fit_priors(model, rows, components=10)

    has_gaussians = model.latent.kind == "real" and model.latent.is_written
    expected = (MIXTURE, NORMAL) if has_gaussians else (MIXTURE,) if model.prior() else ()
    assert tuple(part.name for part in parts) == expected
    for part in parts:
        noise = [torch.rand(9, *port.row_shape) for port in part.inputs]
        assert all(port.noise for port in part.inputs)
        assert part.outputs == (latent_port(model),)
        assert part.module(*noise).shape == (9, len(model.latent.names))


def test_a_mixture_takes_a_normal_for_each_latent_and_a_uniform() -> None:
    model = families.build(mixed_layout(), config.Model(family="vae"), seed=0)

    mixture, normal = fit_priors(model, random_rows(mixed_layout(), 200), components=10)

    width = len(model.latent.names)
    assert [(port.name, port.row_shape, port.noise) for port in mixture.inputs] == [
        ("eps", (width,), "normal"),
        ("u", (1,), "uniform"),
    ]
    assert normal.inputs == mixture.inputs[:1]


def test_a_family_with_a_prior_is_drawn_from_it_and_others_from_their_latents_moments() -> None:
    rows = {"num": cells()[0]}
    eps = torch.randn(20_000, 8)

    for family in ("vae", "pca"):
        model = families.build(table_layout(rows["num"]), config.Model(family=family), seed=0)
        row = model.preprocessing({"num": torch.from_numpy(rows["num"])})
        model.prepare(Batch(row, row))
        _, normal = fit_priors(model, rows, components=1)

        latents = draw_latents(model, rows, seed=0)
        drawn = normal.module(eps).numpy()
        mean, std = (0, 1) if family == "vae" else (latents.mean(axis=0), latents.std(axis=0))
        np.testing.assert_allclose(drawn.mean(axis=0), mean, atol=0.05)
        np.testing.assert_allclose(drawn.std(axis=0), std * np.ones(8), rtol=0.05)


def test_latents_of_a_vae_are_drawn_from_each_rows_posterior() -> None:
    rows = {"num": np.repeat(cells()[0][:2], 10_000, axis=0)}
    model = families.build(table_layout(cells()[0]), config.Model(family="vae"), seed=0)

    drawn = draw_latents(model, rows, seed=0).reshape(2, 10_000, 8)

    with torch.no_grad():
        mean, log_var = model.posterior(model.preprocessing({"num": torch.from_numpy(cells()[0][:2])}))[:2]
    assert log_var is not None
    np.testing.assert_allclose(drawn.mean(axis=1), mean, atol=0.05)
    np.testing.assert_allclose(drawn.std(axis=1), torch.exp(0.5 * log_var), rtol=0.05)


def test_rows_beyond_the_most_are_a_seeded_choice() -> None:
    model = families.build(table_layout(cells()[0]), config.Model(family="ae"), seed=0)
    rows = {"num": cells()[0]}

    few, again = (draw_latents(model, rows, seed=3, most=40) for _ in range(2))

    assert few.shape == (40, 8)
    np.testing.assert_array_equal(few, again)
