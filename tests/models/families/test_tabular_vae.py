"""Autoregressive VAE over discretised columns: dependence between columns, and conditional draws."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from aepipe.config.job import Model as Section
from aepipe.config.job import Train
from aepipe.errors import OptionInvalid
from aepipe.layout import FIRST_VALUE, Category, Layout
from aepipe.models.base import Batch
from aepipe.models.families import build
from aepipe.models.families.tabular_vae import TabularVae, order_of
from aepipe.models.layers.preprocessing import Row
from aepipe.training.device_dataset import DeviceDataset
from aepipe.training.loop import evaluate, fit
from tests.support.layouts import CATEGORIES, MIXED, random_rows

SIZES = {"coin": 5, "dice": 9, "parity": 5, "number": 60}
LAYOUT = Layout(
    columns=tuple(SIZES),
    categories=tuple(Category(name=name, column=at, size=size) for at, (name, size) in enumerate(SIZES.items())),
)
SHORT = Train(epochs=6, batch_rows=128, learning_rate=0.01)


def throws(rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Draw a coin with a fifth of heads and a die; add the parity of their sum, and a number that depends on both."""
    rng = np.random.default_rng(seed)
    coin, dice = (rng.random(rows) < 0.2).astype(int), rng.integers(0, 6, rows)
    number = 9 * dice + rng.integers(0, 4, rows) * (1 + coin)
    return {"cat": (FIRST_VALUE + np.stack([coin, dice, (coin + dice) % 2, number], 1)).astype(np.int32)}


def built(**options: object) -> TabularVae:
    model = build(LAYOUT, Section.model_validate({"family": "tabular_vae", "units": 48, "latent": 2, **options}), 0)
    assert isinstance(model, TabularVae)
    return model


@pytest.fixture(scope="module")
def model() -> TabularVae:
    found = built()
    fit(found, throws(4_000), throws(500, 1), Train(epochs=14, batch_rows=128, learning_rate=0.01))
    return found


def uniforms(rows: int, width: int, seed: int) -> Tensor:
    return torch.rand(rows, width, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def drawn(model: TabularVae, rows: int) -> np.ndarray:
    z = torch.randn(rows, 2, generator=torch.Generator().manual_seed(0))
    return model.draw(z, uniforms(rows, model.chain.uniforms, 1)).numpy() - FIRST_VALUE


@torch.no_grad()
def completed(model: TabularVae, forced: Tensor) -> np.ndarray:
    rows = len(forced)
    eps = torch.randn(rows, 2, generator=torch.Generator().manual_seed(2))
    state = model.encode_condition(forced, eps, uniforms(rows, 1, 3))
    return model.chain.draw(state, uniforms(rows, model.chain.uniforms, 4), forced).numpy() - FIRST_VALUE


def test_columns_that_are_drawn_together_belong_together(model: TabularVae) -> None:
    coin, dice, parity, number = drawn(model, 4_000).T

    assert ((coin + dice) % 2 == parity).mean() > 0.95
    assert (number // 9 == dice).mean() > 0.95
    assert coin.mean() == pytest.approx(0.2, abs=0.04)


@pytest.mark.slow
def test_a_trained_model_with_matched_shares_draws_values_as_often_as_training_rows() -> None:
    short, rows = built(), throws(4_000)
    fit(short, rows, throws(500, 1), Train(epochs=2, batch_rows=512))
    before = drawn(short, 8_000)

    prior = short.prior()
    assert prior is not None
    short.match_shares(prior, (rows,), 0)

    after = drawn(short, 8_000)
    for column, real in enumerate((rows["cat"] - FIRST_VALUE).T):
        apart = [
            np.abs(np.bincount(made[:, column], minlength=60) / 8_000 - np.bincount(real, minlength=60) / 4_000)
            for made in (before, after)
        ]
        assert apart[1].sum() < max(0.03, 0.8 * apart[0].sum())


def test_every_draw_of_a_given_class_is_kept_and_resembles_its_rows(model: TabularVae) -> None:
    forced = torch.full((4_000, 4), -1)
    forced[:, 0] = FIRST_VALUE + 1

    coin, dice, parity, _ = completed(model, forced).T

    assert (coin == 1).all()
    assert ((1 + dice) % 2 == parity).mean() > 0.8
    np.testing.assert_allclose(np.bincount(dice, minlength=6) / 4_000, np.full(6, 1 / 6), atol=0.08)


def test_a_column_decoded_late_depends_on_the_earlier_ones(model: TabularVae) -> None:
    forced = torch.full((3_000, 4), -1)
    forced[:, 3] = FIRST_VALUE + 9 * 4  # the die shows a four, or the number does not exist

    _, dice, _, number = completed(model, forced).T

    assert (number == 36).all()
    assert (dice == 4).mean() > 0.9


def test_the_loss_on_dev_rows_is_the_bound_of_whole_rows(model: TabularVae) -> None:
    rows = DeviceDataset(model.preprocessing, throws(300, 5), torch.device("cpu"))
    dev, _ = evaluate(model, model.objectives()[0], rows, seed=7)
    (batch,) = rows.slices(300)
    generator = torch.Generator().manual_seed(7)
    posterior = model.posterior(batch.input)
    assert posterior.log_var is not None
    z = posterior.mean + torch.randn(300, 2, generator=generator) * torch.exp(0.5 * posterior.log_var)

    with torch.no_grad():
        log_probabilities = model.chain.log_probabilities(model.start(z, None), batch.input.codes)

    nll = model.likelihood.nll(model.likelihood.categories.laid_out(log_probabilities), batch.input).sum(1).mean()  # type: ignore[operator, union-attr]
    paid = posterior.kl.detach().mean(0).clamp(min=model.options.free_bits).sum()
    assert dev == pytest.approx(float(nll + paid), rel=1e-5)


def test_the_bound_is_below_the_likelihood_of_importance_weighted_draws(model: TabularVae) -> None:
    row = model.preprocessing({"cat": torch.from_numpy(throws(300, 6)["cat"])})

    with torch.no_grad():
        metrics = model.card_metrics(Batch(row, row), torch.Generator().manual_seed(0))

    assert metrics["elbo"] <= metrics["log_likelihood"] + 0.1  # one draw per row, and sixteen others
    assert metrics["active_latents"] == 2


def test_columns_named_first_are_decoded_first() -> None:
    assert order_of(LAYOUT, ()) == (0, 1, 2, 3)
    assert order_of(LAYOUT, ("number", "dice")) == (3, 1, 0, 2)
    assert built(first=["parity"]).chain.order == (2, 0, 1, 3)


def test_an_interrupted_training_with_averaged_weights_comes_to_the_same_weights(tmp_path: Path) -> None:
    class Interrupted(Exception):
        pass

    def stop(_: str, share: float) -> None:
        if share > 0.4:
            raise Interrupted

    train, dev, reconstruct, resumed = throws(300), throws(60, 1), built(), built()
    fit(reconstruct, train, dev, SHORT)
    with pytest.raises(Interrupted):
        fit(built(), train, dev, SHORT, checkpoint=tmp_path / "at.pt", every_s=0, progress=stop)

    fit(resumed, train, dev, SHORT, checkpoint=tmp_path / "at.pt", every_s=0)

    assert all(torch.equal(tensor, resumed.state_dict()[name]) for name, tensor in reconstruct.state_dict().items())


def test_what_it_cannot_take_is_refused() -> None:
    one = Layout(columns=("a",), categories=(Category(name="a", column=0, size=5),))
    cases = (
        (MIXED, {}, "accepts only tables: use family 'vae'"),
        (one, {}, "needs at least 2 columns, got 1: use 'vae'"),
        (
            CATEGORIES,
            {"first": ["size"]},
            "first = ['size'] are not modelled columns: expected some of shop, kind, town",
        ),
    )
    for layout, options, message in cases:
        with pytest.raises(OptionInvalid) as fault:
            build(layout, Section.model_validate({"family": "tabular_vae", **options}), 0)
        assert message in str(fault.value)


def test_training_rows_given_no_column_at_all_are_learned_too() -> None:
    model = built(given=0.0)

    fit(model, throws(300), throws(60, 1), SHORT)

    assert np.isfinite(drawn(model, 10)).all()
    assert isinstance(model.preprocessing({"cat": torch.from_numpy(random_rows(LAYOUT, 5)["cat"])}), Row)
