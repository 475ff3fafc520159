"""Memory: sparse weights with sum 1, codes inside the hull of the items, and anomalies that are not reconstructed."""

import math

import numpy as np
import pytest
import torch

from aepipe.config.job import Model as Section
from aepipe.config.job import Train
from aepipe.models.base import Batch
from aepipe.models.families import build
from aepipe.models.families.memory_ae import Memory
from aepipe.training.loop import fit
from tests.support.family_models import context, make_model
from tests.support.head_models import table_layout


def test_weights_add_up_to_one_and_small_ones_are_zero() -> None:
    memory = Memory(20, 3, shrink=1.0, sharpness=10.0).double()
    codes = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)).double()

    weights = memory.weigh(codes)

    torch.testing.assert_close(weights.sum(1), torch.ones(50).double())
    cosines = torch.nn.functional.cosine_similarity(codes[:, None], memory.items[None], dim=2)
    soft = torch.softmax(10 * cosines, 1)
    assert torch.equal(weights == 0, soft <= 1 / 20)
    kept = torch.where(soft > 1 / 20, soft, 0.0)
    torch.testing.assert_close(weights, kept / kept.sum(1, keepdim=True))


def test_latents_are_combinations_of_the_items() -> None:
    model, row = make_model("memory_ae", items=3)

    latents, weights = model.posterior(row).mean, model.memory.weigh(model.encoder(row))

    torch.testing.assert_close(latents, weights @ model.memory.items)


def test_the_loss_adds_the_entropy() -> None:
    model, row = make_model("memory_ae", entropy=2.0)

    loss = model.objectives()[0].loss(Batch(row, row), context())

    weights = model.memory.weigh(model.encoder(row))
    entropy = torch.distributions.Categorical(weights).entropy().mean()
    nll = model.likelihood.nll(model.reconstruct(row).params, row).sum(1).mean()
    assert loss.total.item() == pytest.approx((nll + 2 * entropy).item())
    assert 0 < entropy.item() < math.log(100)


@pytest.mark.slow
def test_rows_far_away_are_reconstructed_as_normal_rows() -> None:
    """The rows lie on a line, and again ten times further out: a plain autoencoder extrapolates, a memory cannot."""
    rng = np.random.default_rng(0)
    line = rng.standard_normal((2_500, 1)) * np.array([1.0, -2.0, 0.5, 1.5])
    rows = (line + 0.1 * rng.standard_normal(line.shape)).astype(np.float32)
    explained = {}
    for family in ("ae", "memory_ae"):
        model = build(table_layout(rows), Section.model_validate({"family": family, "latent": 2}), 0)
        fit(model, {"num": rows[:2_000]}, {"num": rows[2_000:]}, Train(epochs=20))
        far = model.preprocessing({"num": torch.from_numpy(10 * rows[2_000:])})
        with torch.no_grad():
            residual = model.likelihood.residual(model.reconstruct(far).params, far).square().sum()
        explained[family] = 1 - (residual / far.dense.square().sum()).item()

    assert explained["ae"] > 0.9
    assert explained["memory_ae"] < 0.6
