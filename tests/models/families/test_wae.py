"""WAE: its loss by hand, and codes that look like N(0, I) by the measures of the adversarial family."""

import pytest
import torch

from aepipe.config.job import Model as Section
from aepipe.config.job import Train
from aepipe.models.base import Batch, Model, StepContext
from aepipe.models.families import build
from aepipe.models.layers.mmd import squared_mmd
from aepipe.models.layers.preprocessing import Row
from aepipe.training.loop import fit, measure
from tests.models.families.test_adversarial_ae import SKEWED, _distance, skewed_rows
from tests.support.layouts import NUMBERS, random_rows


def make(rows: int = 64, **keys: object) -> tuple[Model, Row]:
    model = build(NUMBERS, Section.model_validate({"family": "wae", "latent": 2, **keys}), 0).double().eval()
    row = model.preprocessing({name: torch.from_numpy(array) for name, array in random_rows(NUMBERS, rows).items()})
    model.prepare(Batch(row, row))
    return model, row


def context(seed: int = 0) -> StepContext:
    return StepContext(1.0, torch.Generator().manual_seed(seed))


def test_the_loss_is_the_likelihood_and_the_weighted_mmd_to_normal_draws() -> None:
    model, row = make(match=7.0)
    drawn = torch.randn(64, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    loss = model.objectives()[0].loss(Batch(row, row), context())

    posterior, params = model.reconstruct(row)
    nll = model.likelihood.nll(params, row).sum(1).mean()
    assert loss.total.item() == pytest.approx((nll + 7 * squared_mmd(posterior.mean, drawn)).item())


@pytest.mark.slow
def test_codes_of_skewed_rows_look_like_n01() -> None:
    rows = skewed_rows(3_000)
    model = build(SKEWED, Section.model_validate({"family": "wae", "latent": 2}), 0)
    row = model.preprocessing({"num": torch.from_numpy(rows[2_000:])})
    model.prepare(Batch(row, row))
    before = _distance(model, row)

    fit(model, {"num": rows[:2_000]}, {"num": rows[2_000:]}, Train(epochs=40, patience=40))

    metrics = measure(model, {"num": rows[2_000:]}, seed=0)
    assert before > 0.1
    assert _distance(model, row) < 0.6 * before
    assert metrics["greatest_mean"] < 0.15
    assert 0.85 < metrics["least_std"] <= metrics["greatest_std"] < 1.15
    assert metrics["greatest_correlation"] < 0.15
