"""InfoVAE: its loss by hand, the VAE as a special case, and latents that stay informative."""

import pytest
import torch

from aepipe.config.job import Model as Section
from aepipe.models.base import Batch
from aepipe.models.families import build
from aepipe.models.latent_space import draw_from
from aepipe.models.layers.mmd import squared_mmd
from tests.support.family_models import context, make_model
from tests.support.layouts import NUMBERS


def test_the_loss_weighs_likelihood_kl_and_mmd() -> None:
    model, row = make_model("info_vae", alpha=0.3, match=7.0)
    generator = torch.Generator().manual_seed(0)

    loss = model.objectives()[0].loss(Batch(row, row), context())

    posterior = model.posterior(row)
    z = draw_from(posterior, generator)
    drawn = torch.randn(z.shape, generator=generator, dtype=z.dtype)
    nll = model.likelihood.nll(model.decode(z, row.given), row).sum(1).mean()
    expected = nll + 0.7 * posterior.kl.sum(1).mean() + 7 * squared_mmd(z, drawn)
    assert loss.total.item() == pytest.approx(expected.item())


def test_without_alpha_and_match_it_is_the_vae() -> None:
    model, row = make_model("info_vae", alpha=0.0, match=0.0)
    vae = build(NUMBERS, Section.model_validate({"family": "vae", "latent": 2, "warm_up": 0.0}), 0).double().eval()
    vae.load_state_dict(model.state_dict())

    ours, plain = (each.objectives()[0].loss(Batch(row, row), context()).total for each in (model, vae))

    assert ours.item() == pytest.approx(plain.item())
