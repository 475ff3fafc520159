"""The training loop: best weights, early stopping, resuming, and the parameters that each objective updates."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer
from torch import Tensor, nn

from aepipe.config.job import Model as Section
from aepipe.config.job import Train
from aepipe.errors import TrainingDiverged
from aepipe.layout import Image, LatentSpace, Layout
from aepipe.models.base import (
    Batch,
    Loss,
    Model,
    Objective,
    Part,
    Posterior,
    Reconstruction,
    StepContext,
    deterministic_posterior,
)
from aepipe.models.families import build
from aepipe.models.latent_space import real_space
from aepipe.models.layers.likelihood import LikelihoodOptions, make_likelihood
from aepipe.models.layers.preprocessing import Row
from aepipe.training import loop
from aepipe.training.device_dataset import DeviceDataset
from aepipe.training.loop import evaluate, fit
from tests.support.layouts import GREY, MIXED, NUMBERS, Arrays, random_rows, with_conditions

CPU = torch.device("cpu")
SHORT = Train(epochs=6, patience=6, learning_rate=0.003)


def correlated(rows: int, seed: int = 0) -> Arrays:
    """Draw numbers whose five columns have two degrees of freedom."""
    rng = np.random.default_rng(seed)
    arrays = random_rows(NUMBERS, rows, seed)
    arrays["num"][:, 1:3] = arrays["num"][:, :1] * (2, -1) + 0.1 * rng.standard_normal((rows, 2))
    return arrays


def make(family: str = "vae", seed: int = 0, **keys: object) -> Model:
    return build(NUMBERS, Section.model_validate({"family": family, **keys}), seed)


def weights(model: Model) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_the_same_seed_trains_the_same_weights() -> None:
    models = [make(), make(), make()]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        fit(model, correlated(200), correlated(50, 1), SHORT.model_copy(update={"seed": seed}))

    first, again, other = map(weights, models)

    assert same(first, again)
    assert not same(first, other)


def test_the_weights_kept_are_the_best_on_dev_rows() -> None:
    model = make("ae", sigma=0.5)
    dev = correlated(50, 1)

    curve = fit(model, correlated(200), dev, Train(epochs=60, patience=5, learning_rate=0.01))

    losses = [epoch.dev for epoch in curve.epochs]
    assert curve.best_epoch == 1 + int(np.argmin(losses))
    found, _ = evaluate(model, model.objectives()[0], DeviceDataset(model.preprocessing, dev, CPU), seed=0)
    assert found == pytest.approx(min(losses), rel=1e-6)
    assert not model.training


def test_training_stops_when_the_dev_loss_no_longer_falls() -> None:
    model = make("ae")
    noise = random_rows(NUMBERS, 200)

    curve = fit(model, noise, random_rows(NUMBERS, 100, 1), Train(epochs=500, patience=4, learning_rate=0.01))

    assert curve.stopped_because == "no better loss on dev rows for 4 epochs"
    assert len(curve.epochs) == curve.best_epoch + 4
    assert [epoch.epoch for epoch in curve.epochs] == list(range(1, len(curve.epochs) + 1))


def test_an_epoch_before_the_warm_up_is_over_does_not_count_as_a_worse_one() -> None:
    options = Train(epochs=40, patience=2)

    curve = fit(make(warm_up=0.5), random_rows(NUMBERS, 100), random_rows(NUMBERS, 50, 1), options)

    assert len(curve.epochs) > 20


def test_the_learning_rate_halves_while_nothing_improves() -> None:
    curve = fit(
        make("ae"), random_rows(NUMBERS, 200), random_rows(NUMBERS, 100, 1), Train(patience=8, learning_rate=0.01)
    )

    rates = [epoch.learning_rate for epoch in curve.epochs]
    assert rates[0] == 0.01
    assert rates[-1] <= 0.01 / 2**3
    assert all(later <= earlier for earlier, later in pairwise(rates))


def test_the_curve_says_what_the_losses_are_made_of() -> None:
    curve = fit(make(), correlated(200), correlated(50, 1), SHORT)

    assert curve.stopped_because == "all 6 epochs done"
    assert set(curve.epochs[0].terms) == {"vae.nll", "vae.kl"}
    assert curve.rows_per_s is not None
    assert curve.rows_per_s > 100
    assert type(curve).model_validate_json(curve.model_dump_json()) == curve


def test_an_optimal_sigma_ends_at_the_dev_residual() -> None:
    model, dev = make("ae"), correlated(80, 1)
    fit(model, correlated(200), dev, SHORT)

    row = model.preprocessing({"num": torch.from_numpy(dev["num"])})
    left = row.dense - model.reconstruct(row).params

    assert model.likelihood.sigma().exp().item() == pytest.approx(left.square().mean().sqrt().item(), rel=1e-5)


def test_learned_sigmas_come_near_each_column_s_own() -> None:
    rng = np.random.default_rng(0)
    arrays = {"num": (rng.standard_normal((800, 5)) * (0.1, 0.3, 1, 1, 1)).astype(np.float32)}
    layout = NUMBERS.model_copy(
        update={
            "numbers": tuple(
                n.model_copy(update={"transform": "linear", "mean": 0.0, "std": 1.0, "scale": 1.0})
                for n in NUMBERS.numbers
            )
        }
    )
    model = build(layout, Section.model_validate({"family": "vae", "latent": 1, "sigma": "learned"}), 0)

    fit(model, arrays, arrays, Train(epochs=60, learning_rate=0.01))

    found = model.likelihood.sigma().exp()
    np.testing.assert_allclose(found[:2].detach().numpy(), [0.1, 0.3], rtol=0.1)


class Interrupted(Exception):
    """Exception in place of a killed process."""


def stop_after(epochs: int) -> Callable[[str, float], None]:
    calls = iter(range(1, 1_000))

    def progress(what: str, share: float) -> None:
        if next(calls) == epochs:
            raise Interrupted

    return progress


def test_an_epoch_of_a_large_table_is_a_random_part_of_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []
    pick = DeviceDataset.pick

    def noted(self: DeviceDataset, index: Tensor) -> Batch:
        seen.append(index)
        return pick(self, index)

    monkeypatch.setattr(loop, "_EPOCH_ROWS", 60)
    monkeypatch.setattr(loop, "_DEV_ROWS", 20)
    monkeypatch.setattr(loop, "optimizer_step", lambda *_: Loss(torch.zeros(()), {}))
    monkeypatch.setattr(DeviceDataset, "pick", noted)

    curve = fit(make("vae", warm_up=0.0), correlated(200), correlated(50, 1), Train(patience=1))
    drawn = [set(map(int, index)) for index in seen if len(index) < 20]
    seen.clear()
    fit(make("vae"), correlated(200), correlated(50, 1), Train(epochs=1))

    assert len(drawn) == 4 * len(curve.epochs)  # 15 rows per step
    assert 60 < len(set().union(*drawn)) <= 60 * len(curve.epochs)
    assert all(sum(map(len, drawn[at : at + 4])) == 60 for at in range(0, len(drawn), 4))
    assert sum(len(index) for index in seen if len(index) < 20) == 200


def test_a_training_on_parts_of_the_rows_resumes_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_EPOCH_ROWS", 64)
    options = Train(patience=2, learning_rate=0.05)
    train, dev = random_rows(MIXED, 200), random_rows(MIXED, 50, 1)
    whole, resumed = (build(MIXED, Section(family="vae"), 0) for _ in range(2))
    fit(whole, train, dev, options)
    with pytest.raises(Interrupted):
        fit(resumed, train, dev, options, checkpoint=tmp_path / "at.pt", every_s=0, progress=stop_after(2))
    resumed = build(MIXED, Section(family="vae"), 0)

    fit(resumed, train, dev, options, checkpoint=tmp_path / "at.pt", every_s=0)

    assert same(weights(whole), weights(resumed))


@pytest.mark.parametrize("family", ["ae", "vae"])
def test_an_interrupted_training_comes_to_the_same_weights_bit_for_bit(tmp_path: Path, family: str) -> None:
    train, dev = random_rows(MIXED, 200), random_rows(MIXED, 50, 1)
    section = Section(family=family)
    options = Train(epochs=9, patience=4, learning_rate=0.01)
    reconstruct, resumed = build(MIXED, section, 0), build(MIXED, section, 0)
    whole = fit(reconstruct, train, dev, options)

    for epochs in (3, 2):
        with pytest.raises(Interrupted):
            fit(
                build(MIXED, section, 0),
                train,
                dev,
                options,
                checkpoint=tmp_path / "at.pt",
                every_s=0,
                progress=stop_after(epochs),
            )
    curve = fit(resumed, train, dev, options, checkpoint=tmp_path / "at.pt", every_s=0)

    assert same(weights(reconstruct), weights(resumed))
    assert [epoch.dev for epoch in curve.epochs] == [epoch.dev for epoch in whole.epochs]
    assert (curve.best_epoch, curve.stopped_because) == (whole.best_epoch, whole.stopped_because)


def test_the_checkpoint_of_a_finished_training_trains_no_more(tmp_path: Path) -> None:
    train, dev = correlated(200), correlated(50, 1)
    first, second = make(), make()
    fit(first, train, dev, SHORT, checkpoint=tmp_path / "at.pt", every_s=0)

    curve = fit(second, train, dev, SHORT, checkpoint=tmp_path / "at.pt", progress=stop_after(1))

    assert len(curve.epochs) == 6
    assert same(weights(first), weights(second))


def test_a_loss_that_is_not_finite_stops_training_with_epoch_and_remedy() -> None:
    with pytest.raises(TrainingDiverged) as stopped:
        fit(make("ae", sigma=1e-25), correlated(100), correlated(50, 1), SHORT)

    assert str(stopped.value) == (
        "The loss of autoencoder is not finite in epoch 1. Lower [train] learning_rate from 0.003 to 0.0003, "
        "or look for extreme values in the training rows."
    )


def test_progress_runs_to_the_end() -> None:
    seen: list[tuple[str, float]] = []

    fit(make(), correlated(100), correlated(50, 1), SHORT, progress=lambda *call: seen.append(call))

    assert seen == [("training", pytest.approx((epoch + 1) / 6)) for epoch in range(6)]


def test_without_dev_rows_the_training_rows_stand_in() -> None:
    curve = fit(make("ae"), correlated(60), {"num": np.zeros((0, 5), np.float32)}, SHORT)

    assert np.isfinite(curve.epochs[-1].dev)


def test_a_single_row_can_be_trained_on() -> None:
    curve = fit(make("ae"), correlated(1), correlated(1), SHORT)

    assert len(curve.epochs) == 6


def test_the_threads_of_the_process_are_given_back() -> None:
    before = torch.get_num_threads()

    fit(make("ae"), correlated(20), correlated(20), SHORT)

    assert torch.get_num_threads() == before


def test_few_rows_of_many_columns_are_learned_better_than_by_principal_components() -> None:
    benign = load_breast_cancer().data[load_breast_cancer().target == 1].astype(np.float32)
    rows = np.random.default_rng(0).permutation(benign)
    train, dev, test = rows[:140], rows[140:180], rows[180:]
    names = tuple(f"c{j}" for j in range(30))
    numbers = tuple(
        NUMBERS.numbers[0].model_copy(update={"name": n, "column": j, "scale": 1.0, "mean": float(m), "std": float(s)})
        for j, (n, m, s) in enumerate(zip(names, train.mean(0), train.std(0), strict=True))
    )
    layout = NUMBERS.model_copy(update={"columns": names, "numbers": numbers})
    errors = {}

    for family in ("pca", "ae"):
        model = build(layout, Section(family=family), 0)
        fit(model, {"num": train}, {"num": dev}, Train())
        row = model.preprocessing({"num": torch.from_numpy(test)})
        left = model.likelihood.residual(model.reconstruct(row).params, row)
        errors[family] = left.square().mean().item()

    assert errors["ae"] < errors["pca"]


def test_images_are_learned() -> None:
    arrays = random_rows(GREY, 60)
    arrays["image"][:] = np.arange(60)[:, None, None, None] % 16
    model = build(GREY, Section.model_validate({"family": "vae", "latent": 2, "channels": [4]}), 0)

    curve = fit(model, arrays, arrays, Train(epochs=30, learning_rate=0.01))

    assert curve.epochs[-1].dev < curve.epochs[0].dev - 20


@pytest.mark.parametrize(
    ("family", "side", "asked", "rows", "rate"),
    [
        ("vae", 17, {}, 64, 0.003),
        ("vae", 17, {"batch_rows": 100}, 100, 0.003),
        ("vae", 16, {}, 125, 0.006),
        ("vae", 16, {"learning_rate": 0.001}, 125, 0.001),
        ("cvae", 17, {}, 64, 0.003),
        ("ae", 16, {}, 125, 0.003),
        ("ae", 17, {}, 125, 0.003),
    ],
)
def test_averaged_convolutions_learn_faster_on_small_images_and_in_smaller_batches_on_others(
    family: str,
    side: int,
    asked: dict[str, float],
    rows: int,
    rate: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batches: list[tuple[int, float]] = []
    step = loop.optimizer_step

    def noted(
        model: Model, objective: Objective, optimizer: torch.optim.Optimizer, batch: Batch, context: StepContext
    ) -> Loss:
        batches.append((len(batch.input.dense), optimizer.param_groups[0]["lr"]))
        return step(model, objective, optimizer, batch, context)

    monkeypatch.setattr(loop, "optimizer_step", noted)
    layout = Layout(columns=("scan",), image=Image(channels=1, height=side, width=20))
    layout = with_conditions(layout) if family == "cvae" else layout
    model = build(layout, Section.model_validate({"family": family, "trunk": "conv", "channels": [2]}), 0)

    fit(model, random_rows(layout, 2_000), random_rows(layout, 20, 1), Train.model_validate({"epochs": 1, **asked}))

    assert sum(count for count, _ in batches) == 2_000
    assert rows - 2 <= max(count for count, _ in batches) <= rows
    assert [used for _, used in batches] == pytest.approx([rate] * len(batches))


@pytest.mark.parametrize(
    ("family", "patience", "waited"),
    [("vae", 5, 2), ("vae", 1, 1), ("cvae", 5, 2), ("ae", 5, 5)],
)
def test_averaged_convolutions_stop_after_two_fifths_of_the_patience(family: str, patience: int, waited: int) -> None:
    layout = Layout(columns=("scan",), image=Image(channels=1, height=8, width=8))
    layout = with_conditions(layout) if family == "cvae" else layout
    options = {"family": family, "trunk": "conv", "channels": [2]} | ({} if family == "ae" else {"warm_up": 0})
    model = build(layout, Section.model_validate(options), 0)

    curve = fit(model, random_rows(layout, 40), random_rows(layout, 20, 1), Train(patience=patience, learning_rate=0.1))

    assert curve.stopped_because == f"no better loss on dev rows for {waited} epochs"
    assert len(curve.epochs) == curve.best_epoch + waited


class Duel(Model):
    """Model of three objectives: two that take turns, and one that starts after them."""

    def __init__(self) -> None:
        super().__init__(NUMBERS, make_likelihood(NUMBERS, LikelihoodOptions(sigma=1.0)))
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first, self.second, self.late = nn.Linear(5, 5), nn.Linear(5, 1), nn.Linear(5, 5)
        self.turns: list[str] = []

    @property
    def latent(self) -> LatentSpace:
        return real_space(5)

    def prior(self) -> None:
        return None

    def prepare(self, batch: Batch) -> None:
        self.late.requires_grad_(True)

    def objectives(self) -> tuple[Objective, ...]:
        return (
            Objective("first", tuple(self.first.parameters()), self._first),
            Objective("second", tuple(self.second.parameters()), self._second, learning_rate=5e-4),
            Objective("late", tuple(self.late.parameters()), self._late, phase=1),
        )

    def posterior(self, row: Row) -> Posterior:
        return deterministic_posterior(self.first(row.dense))

    def decode(self, z: Tensor, given: Tensor) -> Tensor:
        return z

    def reconstruct(self, row: Row) -> Reconstruction:
        return Reconstruction(self.posterior(row), self.first(row.dense))

    def card_metrics(self, batch: Batch, generator: torch.Generator) -> dict[str, float]:
        return {}

    def parts(self) -> tuple[Part, ...]:
        return ()

    def _first(self, batch: Batch, context: StepContext) -> Loss:
        z = self.first(batch.input.dense)
        return self._answer("first", (z - batch.target.dense).square().mean() + 0.01 * self.second(z).square().mean())

    def _second(self, batch: Batch, context: StepContext) -> Loss:
        return self._answer("second", (self.second(self.first(batch.input.dense)) - 1).square().mean())

    def _late(self, batch: Batch, context: StepContext) -> Loss:
        return self._answer("late", (self.late(self.first(batch.input.dense)) - batch.target.dense).square().mean())

    def _answer(self, name: str, total: Tensor) -> Loss:
        if self.training:
            self.turns.append(name)
        return Loss(total, {})


def test_players_take_turns_and_a_later_phase_begins_when_the_first_is_done() -> None:
    model = Duel()

    curve = fit(model, correlated(64), correlated(50, 1), SHORT)

    of_first = [epoch.phase for epoch in curve.epochs].index(1)
    steps = len([name for name in model.turns if name == "first"])
    assert model.turns[: 2 * steps] == ["first", "second"] * steps
    assert set(model.turns[2 * steps :]) == {"late"}
    assert of_first == 6
    assert len(curve.epochs) == 12
    assert curve.best_epoch > 6


def test_a_later_phase_changes_its_own_players_only() -> None:
    model = Duel()
    fit(model, correlated(64), correlated(50, 1), SHORT)
    whole = weights(model)
    other = Duel()
    other.objectives = lambda: Duel.objectives(other)[:2]  # type: ignore[method-assign]

    fit(other, correlated(64), correlated(50, 1), SHORT)

    of_first_phase = [name for name in whole if not name.startswith("late")]
    assert all(torch.equal(whole[name], other.state_dict()[name]) for name in of_first_phase)
    assert not torch.equal(whole["late.weight"], Duel().state_dict()["late.weight"])


def test_a_training_interrupted_in_its_second_phase_is_taken_up_there(tmp_path: Path) -> None:
    train, dev = correlated(64), correlated(50, 1)
    reconstruct, resumed = Duel(), Duel()
    fit(reconstruct, train, dev, SHORT)
    with pytest.raises(Interrupted):
        fit(Duel(), train, dev, SHORT, checkpoint=tmp_path / "at.pt", every_s=0, progress=stop_after(9))

    fit(resumed, train, dev, SHORT, checkpoint=tmp_path / "at.pt")

    assert same(weights(reconstruct), weights(resumed))
    assert set(resumed.turns) == {"late"}
