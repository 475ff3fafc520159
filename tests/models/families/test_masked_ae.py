"""Masked autoencoder: hidden cells, their loss, and their prediction from the other cells."""

import numpy as np
import pytest
import torch

from aepipe.config.job import Model as Section
from aepipe.config.job import Train
from aepipe.errors import OptionInvalid
from aepipe.export.export import export_parts
from aepipe.layout import MISSING, Layout, Number
from aepipe.models.base import Batch
from aepipe.models.families import build
from aepipe.models.families.masked_ae import MaskedAutoencoder
from aepipe.models.layers.preprocessing import Row
from aepipe.training.device_dataset import DeviceDataset
from aepipe.training.loop import evaluate, fit
from tests.support.family_models import context
from tests.support.layouts import COLOUR, GREY, MIXED, random_rows

CORRELATED = Layout(columns=tuple("abc"), numbers=tuple(Number(name=c, column=j) for j, c in enumerate("abc")))


def make(layout: Layout, rows: int = 400, **options: object) -> tuple[MaskedAutoencoder, Row]:
    model = build(layout, Section.model_validate({"family": "masked_ae", **options}), 0).double().eval()
    assert isinstance(model, MaskedAutoencoder)
    arrays = {name: torch.from_numpy(array) for name, array in random_rows(layout, rows).items()}
    row = model.preprocessing(arrays)
    model.prepare(Batch(row, row))
    return model, row


def test_hidden_cells_are_missing_and_the_others_are_unchanged() -> None:
    model, row = make(MIXED, mask=0.8)

    masked, hidden = model.hide(row, context().generator)

    numbers, codes = hidden[:, :2], hidden[:, 2:]
    assert (masked.observed[numbers] == 0).all()
    assert (masked.dense[numbers] == 0).all()
    assert (masked.codes[codes] == MISSING).all()
    kept = (masked.observed > 0) & ~numbers
    assert torch.equal(masked.dense[kept], row.dense[kept])
    assert torch.equal(masked.codes[~codes & (masked.codes != MISSING)], row.codes[~codes & (masked.codes != MISSING)])
    assert not (numbers & (row.observed == 0)).any()
    assert not (codes & (row.codes == MISSING)).any()


def test_the_share_of_hidden_cells_is_uniform_up_to_the_greatest() -> None:
    model, row = make(GREY, rows=3_000, mask=0.8, patch=1)

    shares = model.hide(row, context().generator).hidden.double().mean(1)

    assert shares.mean().item() == pytest.approx(0.4, abs=0.02)
    assert shares.quantile(0.25).item() == pytest.approx(0.2, abs=0.03)
    assert shares.max() < 1


@pytest.mark.parametrize("layout", [GREY, COLOUR], ids=["grey", "colour"])
def test_an_image_is_hidden_in_whole_patches_of_all_channels(layout: Layout) -> None:
    model, row = make(layout, rows=20, patch=3)

    masked, hidden = model.hide(row, context().generator)

    pixels = hidden.reshape(row.dense.shape)
    assert torch.equal(pixels, pixels[:, :1].expand_as(pixels))
    for top in range(0, pixels.shape[2], 3):
        for left in range(0, pixels.shape[3], 3):
            patch = pixels[:, 0, top : top + 3, left : left + 3].flatten(1)
            assert torch.equal(patch.all(1), patch.any(1))
    assert torch.equal(masked.dense, torch.where(pixels, 0.0, row.dense))


def test_it_starts_at_the_linear_regression_on_rows_with_hidden_cells() -> None:
    generator = np.random.default_rng(0)
    one = generator.standard_normal((4_096, 1))
    numbers = torch.from_numpy(one * [1.0, -1.0, 1.0] + 0.2 * generator.standard_normal((4_096, 3)))
    row = Row(numbers, torch.ones_like(numbers), torch.zeros(4_096, 0).long(), numbers[:, :0])
    model = build(CORRELATED, Section(family="masked_ae"), 0).double().eval()
    assert isinstance(model, MaskedAutoencoder)

    model.prepare(Batch(row, row))

    masked, hidden = model.hide(row, torch.Generator().manual_seed(0))
    inputs = np.hstack([masked.dense, hidden, np.ones((4_096, 1))])
    fitted = inputs @ np.linalg.lstsq(inputs, numbers.numpy(), rcond=None)[0]
    guess = model.likelihood.expected(model.reconstruct(masked).params)[0]
    np.testing.assert_allclose(guess.detach().numpy(), fitted, atol=1e-6)


def test_a_few_rows_are_repeated_with_other_hidden_cells_to_start_from() -> None:
    model, row = make(CORRELATED, rows=5)  # fewer rows than latents

    apart = model.likelihood.residual(model.reconstruct(row).params, row)

    assert apart.square().mean() < 0.5 * row.dense.var(0).mean()


def test_a_table_has_twice_as_many_latents_as_columns_and_64_at_most() -> None:
    wide = Layout(
        columns=tuple(f"c{j}" for j in range(40)), numbers=tuple(Number(name=f"c{j}", column=j) for j in range(40))
    )

    assert [len(make(layout)[0].latent.names) for layout in (CORRELATED, MIXED, wide)] == [6, 8, 64]
    assert len(make(GREY)[0].latent.names) == 16
    assert len(make(MIXED, latent=2)[0].latent.names) == 2


def test_the_loss_is_the_weighted_mean_of_the_cells() -> None:
    model, row = make(MIXED, visible=0.25, code_decay=0.0)

    loss = model.objectives()[0].loss(Batch(row, row), context())

    masked, hidden = model.hide(row, context().generator)
    nll = model.likelihood.nll(model.reconstruct(masked).params, row)
    weights = torch.where(hidden, 1.0, 0.25).double()
    torch.testing.assert_close(loss.total, (nll * weights).sum() / weights.sum() * 4)


@pytest.mark.parametrize("layout", [MIXED, GREY], ids=["table", "image"])
def test_the_dev_loss_is_the_one_at_the_sigma_that_is_best_for_it(layout: Layout) -> None:
    """It does not depend on the sigma of training, and no sigma has a lower loss."""
    model, _ = make(layout, code_decay=0.0)
    (objective,) = model.objectives()
    rows = DeviceDataset(model.preprocessing, random_rows(layout, 300), torch.device("cpu"))
    found, at_best = [], model.likelihood.sigma
    for log_sigma in (-1.0, 0.0, 2.0):
        at_best.log_sigma.fill_(log_sigma)
        loss, misfit = evaluate(model, objective, rows, 0)
        found.append(loss)
    assert misfit is not None
    at_best.follow(misfit, 1.0)

    with torch.no_grad():
        losses = []
        for step in (0.0, -0.1, 0.1):
            at_best.log_sigma.add_(step)
            losses.append(float(objective.loss(next(rows.slices(300)), context()).total))
            at_best.log_sigma.sub_(step)

    assert found == pytest.approx([losses[0]] * 3)
    assert losses[0] < min(losses[1:])


@pytest.mark.slow
def test_a_hidden_number_is_predicted_from_the_others_better_than_by_a_plain_autoencoder() -> None:
    generator = np.random.default_rng(0)
    one = generator.standard_normal((3_000, 1))
    rows = (one * [1.0, -1.0, 1.0] + 0.2 * generator.standard_normal((3_000, 3))).astype(np.float32)
    errors = {}
    for family in ("masked_ae", "ae"):
        model = build(CORRELATED, Section.model_validate({"family": family, "latent": 2}), 0)
        fit(model, {"num": rows[:2_000]}, {"num": rows[2_000:2_500]}, Train(epochs=30))
        gaps = rows[2_500:].copy()
        gaps[:, 0] = np.nan
        dense = torch.from_numpy(np.nan_to_num(gaps))
        row = Row(
            dense, torch.from_numpy((~np.isnan(gaps)).astype(np.float32)), torch.zeros(500, 0).long(), dense[:, :0]
        )
        with torch.no_grad():
            guess = model.likelihood.expected(model.reconstruct(row).params)[0].numpy()
        errors[family] = float(np.square(guess[:, 0] - rows[2_500:, 0]).mean())

    assert errors["masked_ae"] < 0.12  # the conditional variance is 0.06, that of the column 1.04
    assert errors["masked_ae"] < 0.5 * errors["ae"]


@pytest.mark.slow
def test_the_family_is_exported() -> None:
    model, _ = make(MIXED)

    exported = export_parts(model.float().parts(), random_rows(MIXED, 512))

    assert [part.part for part in exported] == ["encoder", "decoder", "sampler"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask": 0.0}, "mask = 0.0: .*greater than 0"),
        ({"patch": 9}, "patch = 9 is too large: expected at most the shorter side of 8 x 8 pixels"),
        ({"visible": 2.0}, "visible = 2.0: .*less than or equal to 1"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionInvalid, match=message):
        build(GREY, Section.model_validate({"family": "masked_ae", **options}), 0)
