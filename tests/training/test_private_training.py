"""DP-SGD: clipped gradients of single rows, noise, Poisson sampling, and refusals."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from aepipe.config.job import Model as Section
from aepipe.config.job import Train
from aepipe.errors import OptionInvalid
from aepipe.layout import FIRST_VALUE, Category, Layout, Number
from aepipe.models.base import Batch, Objective, StepContext
from aepipe.models.families import build
from aepipe.models.families.tabular_vae import TabularVae, _drawn_sets
from aepipe.models.layers.parameter_uses import ParameterUses
from aepipe.models.layers.preprocessing import Preprocessing
from aepipe.training.device_dataset import DeviceDataset
from aepipe.training.private_training import (
    CLIP,
    ClippedGradients,
    delta_of,
    denoised,
    fit_privately,
    private_gradient,
)

SIZES = {"coin": 5, "dice": 9, "number": 40}
LAYOUT = Layout(
    columns=tuple(SIZES),
    categories=tuple(Category(name=name, column=at, size=size) for at, (name, size) in enumerate(SIZES.items())),
)
BUDGET = Train(epsilon=8, epochs=3)


def throws(rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    coin, dice = (rng.random(rows) < 0.2).astype(int), rng.integers(0, 6, rows)
    return {"cat": (FIRST_VALUE + np.stack([coin, dice, 6 * dice + rng.integers(0, 4, rows)], 1)).astype(np.int32)}


def built(**options: object) -> TabularVae:
    section = {"family": "tabular_vae", "units": 16, "column_units": 8, "latent": 2, **options}
    model = build(LAYOUT, Section.model_validate(section), 0)
    assert isinstance(model, TabularVae)
    return model


class Line(nn.Module):
    """Linear regression of 0 without a constant, whose gradients have a closed form."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = nn.Linear(3, 1, bias=False)
        self.answer.weight.data = torch.tensor([[0.5, -2.0, 1.0]])

    def row_losses(self, batch: Batch, _: StepContext) -> Tensor:
        found: Tensor = self.answer(batch.input.dense).squeeze(1).square()
        return found


def line() -> tuple[ClippedGradients, DeviceDataset, Tensor]:
    """Return the clipped gradients of a linear model, its 40 rows, and the gradients of rows in closed form."""
    names = ("a", "b", "c")
    numbers = tuple(Number(name=name, column=at, mean=0, std=1, low=-9, high=9) for at, name in enumerate(names))
    model = Line()
    values = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)).numpy() * np.geomspace(0.02, 2, 40)[:, None]
    rows = DeviceDataset(
        Preprocessing(Layout(columns=names, numbers=numbers)), {"num": values.astype(np.float32)}, torch.device("cpu")
    )
    assert rows.table is not None
    dense = rows.table.dense
    weight = model.answer.weight.detach()
    expected = 2 * (dense @ weight.T) * dense
    return ClippedGradients(model, objective_of(model, model.row_losses)), rows, expected


def objective_of(model: nn.Module, row_losses: Callable[[Batch, StepContext], Tensor]) -> Objective:
    parameters = tuple(model.parameters())
    return Objective("test", parameters, lambda *_: pytest.fail("not by batch"), batch_rows=7, row_losses=row_losses)


def context(seed: int = 1) -> StepContext:
    return StepContext(0.5, torch.Generator().manual_seed(seed))


def test_the_gradient_of_a_step_without_noise_is_the_mean_of_clipped_gradients_of_rows() -> None:
    gradients, rows, of_rows = line()
    norms = of_rows.norm(dim=1, keepdim=True)
    assert 5 < int((norms > CLIP).sum()) < 35

    (found,) = private_gradient(gradients, rows, rows.everything, context(), noise=0.0, expected_rows=40).values()

    expected = (of_rows * (CLIP / norms).clamp(max=1)).mean(0)
    torch.testing.assert_close(found, expected.unsqueeze(0))


def test_no_row_changes_the_sum_of_a_step_by_more_than_the_clip() -> None:
    gradients, rows, of_rows = line()

    def total(chosen: Tensor) -> Tensor:
        return next(iter(private_gradient(gradients, rows, chosen, context(), noise=0.0, expected_rows=1).values()))

    changes = [
        float((total(torch.arange(40)) - total(torch.arange(40)[torch.arange(40) != row])).norm()) for row in range(40)
    ]

    assert max(changes) == pytest.approx(CLIP, rel=1e-3)
    assert changes[0] == pytest.approx(float(of_rows[0].norm()), abs=1e-4)


def test_the_noise_of_a_step_has_the_planned_deviation_also_without_any_row() -> None:
    model = built()
    rows = DeviceDataset(model.preprocessing, throws(50), torch.device("cpu"))
    gradients = ClippedGradients(model.train(), model.objectives()[0])

    found = private_gradient(
        gradients, rows, torch.zeros(0, dtype=torch.int64), context(), noise=3.0, expected_rows=10.0
    )

    values = torch.cat([each.flatten() for each in found.values()])
    assert len(values) == sum(parameter.numel() for parameter in model.parameters())
    assert float(values.mean()) == pytest.approx(0, abs=5 * 0.3 / len(values) ** 0.5)
    assert float(values.std()) == pytest.approx(3.0 * CLIP / 10, rel=0.03)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"column_units": 0},
        {"dropout": 0.3, "first": ("number",)},
        {"dropout": 0, "given": 0, "free_bits": 2},
        {"latent": 1, "units": 24},
    ],
)
def test_clipped_sums_are_those_of_explicit_gradients_of_rows(options: dict[str, object]) -> None:
    """Oracle: a backward pass per row, through the same draws."""
    model, clipped, batch, slopes = with_slopes(options)
    norms = slopes.norm(dim=1)
    assert float(norms.min()) > 1

    found = torch.cat([each.flatten() for each in filled(clipped, clipped(batch, context())).values()])

    torch.testing.assert_close(found, (slopes * (CLIP / norms).unsqueeze(1)).sum(0), rtol=1e-4, atol=1e-5)
    uses = ParameterUses()
    objective = model.objectives()[0]
    assert objective.row_losses is not None
    with uses.of_modules(model):
        losses = objective.row_losses(batch, context()._replace(uses=uses))
    torch.testing.assert_close(uses.row_norms(losses), norms, rtol=1e-5, atol=1e-6)


def with_slopes(options: dict[str, object]) -> tuple[TabularVae, ClippedGradients, Batch, Tensor]:
    """Return a model, its clipped gradients, a batch of 12 rows and the gradient of each row's loss, (12, weights)."""
    model = built(**options).train()
    model.chain.init_from_counts(torch.from_numpy(throws(200)["cat"]))
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():  # none is at 0, where a wrong factor would not show
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    rows = DeviceDataset(model.preprocessing, throws(200), torch.device("cpu"))
    objective = model.objectives()[0]
    assert objective.row_losses is not None
    batch = rows.pick(torch.arange(60, 72))
    losses = objective.row_losses(batch, context())
    parameters = list(model.parameters())
    slopes = [
        torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
        for loss in losses
    ]
    whole = torch.stack([torch.cat([each.flatten() for each in slope]) for slope in slopes])
    return model, ClippedGradients(model, objective), batch, whole


def filled(clipped: ClippedGradients, found: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: found.get(name, torch.zeros_like(each)) for name, each in clipped.parameters.items()}


def test_the_clipped_gradient_of_a_row_depends_on_no_other_row() -> None:
    """Noise has zero influence here: the same draws belong to the same places of a batch."""
    model = built(given=0.5).train()
    rows = DeviceDataset(model.preprocessing, throws(200), torch.device("cpu"))
    model.chain.init_from_counts(torch.from_numpy(throws(200)["cat"]))
    clipped = ClippedGradients(model, model.objectives()[0])

    def difference(other: int) -> Tensor:
        """Return what the row in the last place adds to a sum with another row before it."""
        whole, without = (
            torch.cat([each.flatten() for each in clipped(rows.pick(torch.tensor(index)), context(3)).values()])
            for index in ([3, other, 8], [3, other, 9])
        )
        return whole - without

    torch.testing.assert_close(difference(5), difference(90), rtol=0, atol=1e-6)


class Odd(nn.Module):
    """Linear model with a weight outside of its layers, or with a layer that each row uses twice."""

    def __init__(self, *, is_twice: bool) -> None:
        super().__init__()
        self.answer, self.scale, self.is_twice = nn.Linear(3, 3), nn.Parameter(torch.ones(3)), is_twice

    def row_losses(self, batch: Batch, _: StepContext) -> Tensor:
        found: Tensor = self.answer(batch.input.dense)
        return (self.answer(found) if self.is_twice else found * self.scale).square().sum(1)


@pytest.mark.parametrize(("is_twice", "name"), [(False, "scale"), (True, "answer.weight, answer.bias")])
def test_a_parameter_without_one_known_use_is_refused(is_twice: bool, name: str) -> None:
    _, rows, _ = line()
    model = Odd(is_twice=is_twice)
    clipped = ClippedGradients(model, objective_of(model, model.row_losses))

    with pytest.raises(OptionInvalid, match=f"one known use of each parameter, got another number for {name}\\."):
        clipped(rows.pick(torch.arange(4)), context())


@torch.no_grad()
def test_the_loss_of_a_row_is_the_bound_of_the_objective() -> None:
    model = built(given=0, dropout=0, free_bits=0).eval()
    rows = DeviceDataset(model.preprocessing, throws(200), torch.device("cpu"))
    objective = model.objectives()[0]
    assert objective.row_losses is not None
    batch = rows.pick(torch.arange(200))
    late = StepContext(1.0, torch.Generator().manual_seed(4))

    of_rows = objective.row_losses(batch, late)

    expected = objective.loss(batch, StepContext(1.0, torch.Generator().manual_seed(4))).total
    assert of_rows.shape == (200,)
    torch.testing.assert_close(of_rows.mean(), expected)


def test_of_half_of_the_rows_some_columns_are_given_and_their_codes_cost_nothing() -> None:
    model = built(given=0.5)
    codes = torch.from_numpy(throws(4_000)["cat"])

    sets = _drawn_sets(codes, 0.5, torch.Generator().manual_seed(0))

    counts = sets.sum(1)
    assert model.options.given == 0.5
    assert set(counts.tolist()) == {0.0, 1.0, 2.0}
    assert [float((counts == number).float().mean()) for number in (0, 1, 2)] == pytest.approx(
        [0.5, 0.375, 0.125], abs=0.03
    )
    assert (sets.mean(0) - sets.mean()).abs().max() < 0.02


def test_bins_shrink_towards_their_mean_and_counts_within_their_noise_are_none() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.cat([torch.tensor([0.0, 0.0, 900.0]), torch.full((64,), 100.0)])
    noisy = truth + 40 * torch.randn(67, generator=generator)

    found = denoised(noisy, 40.0, Category(name="a", column=0, size=67, bins=64))

    errors = [float((each[3:] - 100).square().mean()) for each in (noisy, found)]
    assert errors[1] < 0.2 * errors[0]
    assert found[2] == noisy[2]
    assert not found[:2].any()


@pytest.mark.slow
def test_a_private_model_has_the_shares_and_relations_of_its_rows() -> None:
    model, options = built(), Train(epsilon=8, epochs=20, learning_rate=0.01)

    curve = fit_privately(model, throws(4_000), throws(500, 1), options, secret=5)

    assert curve.privacy is not None
    assert 7.9 < curve.privacy.epsilon <= 8
    assert curve.privacy.delta == pytest.approx(0.1 / 4_000)
    assert curve.privacy.steps == 400
    prior = model.prior()
    assert prior is not None
    model.match_shares(prior, (throws(4_000),), 0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        noise = torch.randn(8_000, 2, generator=generator), torch.rand(8_000, model.chain.uniforms, generator=generator)
        coin, dice, number = model.draw(*noise).numpy().T - FIRST_VALUE
    assert coin.mean() == pytest.approx(0.2, abs=0.03)
    assert (number // 6 == dice).mean() > 0.8  # 0.17 by chance


@pytest.mark.slow
@pytest.mark.parametrize(("asked", "epochs"), [(None, 40), (2, 2)])
def test_small_tables_have_fewer_epochs_than_without_a_budget(asked: int | None, epochs: int) -> None:
    model = built(units=8, column_units=0)

    curve = fit_privately(model, throws(60), throws(20, 1), Train(epsilon=8, epochs=asked), secret=5)

    assert model.objectives()[0].epochs == 200
    assert len(curve.epochs) == epochs
    assert curve.privacy is not None
    assert curve.privacy.steps == 20 * epochs


@pytest.mark.slow
def test_noise_and_sampling_come_from_a_secret_and_not_from_the_seed_of_the_job() -> None:
    def trained(secret: int | None) -> Tensor:
        model = built()
        fit_privately(model, throws(300), throws(50, 1), Train(epsilon=8, epochs=1), secret=secret)
        return model.start.answer.weight.detach()

    first, second, third, fourth = trained(5), trained(5), trained(None), trained(None)

    assert torch.equal(first, second)
    assert not torch.equal(third, fourth)
    assert not torch.equal(first, third)


@pytest.mark.slow
def test_an_interrupted_private_training_repeats_no_noise_and_comes_to_the_same_weights(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(_: str, share: float) -> None:
        if share > 0.5:
            raise Stop

    whole, begun, resumed = built(), built(), built()
    data = throws(300), throws(50, 1)
    expected = fit_privately(whole, *data, BUDGET, secret=5)
    with pytest.raises(Stop):
        fit_privately(begun, *data, BUDGET, secret=5, checkpoint=tmp_path / "c.pt", every_s=0, progress=stop)

    found = fit_privately(resumed, *data, BUDGET, secret=99, checkpoint=tmp_path / "c.pt")

    assert found.privacy == expected.privacy
    for name, tensor in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name
    assert whole.noisy_counts is not None
    assert resumed.noisy_counts is not None
    assert all(map(torch.equal, whole.noisy_counts, resumed.noisy_counts))


@pytest.mark.slow
def test_a_checkpoint_without_the_account_of_its_budget_is_refused(tmp_path: Path) -> None:
    path, data = tmp_path / "c.pt", (throws(300), throws(50, 1))
    fit_privately(built(), *data, BUDGET, checkpoint=path, every_s=0)
    content = torch.load(path, weights_only=True)
    del content["account"]
    torch.save(content, path)

    with pytest.raises(OptionInvalid, match=r"has no account of the privacy budget .* Remove the file to train from"):
        fit_privately(built(), *data, BUDGET, checkpoint=path)


def test_what_cannot_be_private_is_refused() -> None:
    names = ("a", "b")
    numbers = tuple(Number(name=name, column=at, mean=0, std=1, low=-9, high=9) for at, name in enumerate(names))
    vae = build(Layout(columns=names, numbers=numbers), Section(family="vae"), 0)
    with pytest.raises(OptionInvalid, match="expected family 'tabular_vae'"):
        fit_privately(vae, {"num": np.zeros((50, 2), np.float32)}, {"num": np.zeros((9, 2), np.float32)}, BUDGET)

    normalised = built()
    normalised.encoder.append(nn.BatchNorm1d(4))
    with pytest.raises(OptionInvalid, match="batch normalisation"):
        fit_privately(normalised, throws(50), throws(9), BUDGET)

    with pytest.raises(OptionInvalid, match=r"delta is too large: expected less than 1 / 50 training rows = 0.02"):
        fit_privately(built(), throws(50), throws(9), Train(epsilon=1, delta=0.02))


def test_delta_is_a_tenth_of_one_over_the_rows_unless_the_job_says_so() -> None:
    assert delta_of(Train(epsilon=1), 200) == pytest.approx(0.0005)
    assert delta_of(Train(epsilon=1, delta=1e-7), 200) == 1e-7
