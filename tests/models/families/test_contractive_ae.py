"""Contractive autoencoder: the closed form of a linear encoder, and features that change less under noise."""

import numpy as np
import pytest
import torch

from aepipe.config.job import Model as Section
from aepipe.config.job import Train
from aepipe.models.base import Batch
from aepipe.models.families import build
from aepipe.models.layers.preprocessing import Row
from aepipe.training.loop import fit
from tests.support.family_models import context, make_model
from tests.support.layouts import NUMBERS


def test_the_slope_is_the_squared_norm_of_the_jacobian_on_average() -> None:
    model, row = make_model("contractive_ae", rows=4)
    with torch.no_grad():  # the rows of a PCA start are orthogonal: every draw would give the same norm
        for weights in model.parameters():
            weights.add_(0.3 * torch.randn(weights.shape, generator=context(1).generator, dtype=weights.dtype))

    def encode(dense: torch.Tensor, index: int) -> torch.Tensor:
        one = Row(*(part[index : index + 1] for part in row))
        return model.posterior(one._replace(dense=dense[None])).mean[0]

    jacobians = [torch.func.jacrev(lambda dense, i=i: encode(dense, i))(row.dense[i]) for i in range(4)]
    exact = torch.stack([jacobian.square().sum() for jacobian in jacobians]).mean().item()

    found = torch.stack([model.encode_with_slope(row, context(seed).generator)[1] for seed in range(2_000)]).detach()

    assert found.mean().item() == pytest.approx(exact, abs=4 * found.std().item() / 2_000**0.5)


def test_the_loss_adds_the_slope() -> None:
    model, row = make_model("contractive_ae", contraction=3.0, code_decay=0.0)

    loss = model.objectives()[0].loss(Batch(row, row), context())

    nll = model.likelihood.nll(model.reconstruct(row).params, row).sum(1).mean()
    _, slope = model.encode_with_slope(row, context().generator)
    assert loss.total.item() == pytest.approx((nll + 3 * slope).item())


@pytest.mark.slow
def test_features_change_less_with_noise_at_equal_scale() -> None:
    rng = np.random.default_rng(0)
    mixed = rng.standard_normal((2_000, 2)) @ rng.standard_normal((2, len(NUMBERS.numbers)))
    rows = (mixed + 0.3 * rng.standard_normal(mixed.shape)).astype(np.float32)
    noisy = rows + 0.5 * rng.standard_normal(rows.shape).astype(np.float32)
    changes = {}
    for contraction in (0.0, 1.0):
        section = Section.model_validate({"family": "contractive_ae", "latent": 4, "contraction": contraction})
        model = build(NUMBERS, section, 0)
        fit(model, {"num": rows[:1_500]}, {"num": rows[1_500:]}, Train(epochs=15))
        with torch.no_grad():
            z, moved = (
                model.posterior(model.preprocessing({"num": torch.from_numpy(each[1_500:])})).mean
                for each in (rows, noisy)
            )
        changes[contraction] = ((moved - z).square().mean() / z.var(0).mean()).item()

    assert changes[1.0] < changes[0.0]
