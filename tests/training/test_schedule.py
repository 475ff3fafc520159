"""The schedule of large tables: the trainings that follow it, and the loss that it reaches."""

from pathlib import Path

import numpy as np
import pytest
import torch

from aepipe.config.job import Model as Section
from aepipe.config.job import Train
from aepipe.layout import Category, Layout, Number
from aepipe.models.base import Batch, Loss, Model, Objective, StepContext
from aepipe.models.families import build
from aepipe.training import loop, schedule
from aepipe.training.loop import fit
from aepipe.training.schedule import LARGE_TABLE, for_large_table
from tests.support.layouts import GREY, MIXED, Arrays, random_rows


def objective_of(layout: Layout, **section: object) -> Objective:
    (objective,) = build(layout, Section.model_validate(section), 0).objectives()
    return objective


@pytest.mark.parametrize(
    "family",
    ["ae", "vae", "rae", "masked_ae", "contractive_ae", "beta_vae", "hierarchical_vae", "sparse_ae"],
)
def test_large_tables_are_trained_by_a_schedule(family: str) -> None:
    own = objective_of(MIXED, family=family, trunk="mlp")

    planned = for_large_table(own, Train(), LARGE_TABLE + 1)

    assert planned.anneals
    assert planned.epoch_rows == LARGE_TABLE + 1
    assert planned.epochs is not None
    assert planned.epochs * planned.epoch_rows >= 4_000_000 > (planned.epochs - 1) * planned.epoch_rows
    assert for_large_table(own, Train(), 10**6).epoch_rows == 65_536


@pytest.mark.parametrize(("options", "rows"), [({}, LARGE_TABLE), ({"epochs": 3}, 10**6), ({"batch_rows": 256}, 10**6)])
def test_small_tables_and_jobs_that_set_batches_or_epochs_are_not(options: dict[str, int], rows: int) -> None:
    own = objective_of(MIXED, family="vae")

    assert for_large_table(own, Train.model_validate(options), rows) is own


def test_networks_without_a_known_output_layer_are_not() -> None:
    for own in (
        objective_of(GREY, family="vae", trunk="mlp"),
        objective_of(MIXED, family="vae", trunk="transformer"),
        objective_of(MIXED, family="vae")._replace(anneals=True),
    ):
        assert for_large_table(own, Train(), 10**6) is own


@pytest.mark.parametrize("hidden", [(), (8,), (8, 8)])
@pytest.mark.parametrize("shortcut", [True, False])
def test_the_output_layer_is_the_one_that_the_output_is_linear_in(hidden: tuple[int, ...], shortcut: bool) -> None:
    """Doubling its parameters doubles the output, whatever the other layers are."""
    model = build(MIXED, Section(family="ae", trunk="mlp", hidden=hidden, shortcut=shortcut), 0)
    (objective,) = model.objectives()
    z, given = torch.randn(5, len(model.latent.names)), torch.zeros(5, 0)

    with torch.no_grad():
        for parameter in objective.output_layer:
            parameter.normal_()
        before = model.decode(z, given)
        for parameter in objective.output_layer:
            parameter.mul_(2)

    torch.testing.assert_close(model.decode(z, given), 2 * before)


@pytest.fixture
def is_always_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "LARGE_TABLE", 10)
    monkeypatch.setattr(schedule, "_LARGE_EPOCH_ROWS", 64)
    monkeypatch.setattr(schedule, "_LARGE_ROWS_IN_ALL", 640)


@pytest.mark.usefixtures("is_always_large")
def test_the_output_layer_learns_twenty_times_as_fast_and_all_end_at_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[tuple[float, ...]] = []
    step = loop.optimizer_step

    def noted(
        model: Model, objective: Objective, optimizer: torch.optim.Optimizer, batch: Batch, context: StepContext
    ) -> Loss:
        rates.append(tuple(group["lr"] for group in optimizer.param_groups))
        return step(model, objective, optimizer, batch, context)

    monkeypatch.setattr(loop, "optimizer_step", noted)

    curve = fit(build(MIXED, Section(family="vae"), 0), random_rows(MIXED, 200), random_rows(MIXED, 50, 1), Train())

    others, outputs = map(np.array, zip(*rates, strict=True))
    assert len(curve.epochs) == 10
    np.testing.assert_allclose(outputs, 20 * others)
    assert others.max() == pytest.approx(4 * 0.003, rel=0.05)
    assert others[-1] < 0.01 * others.max()


@pytest.mark.usefixtures("is_always_large")
def test_a_learning_rate_of_the_job_is_the_highest_of_the_hidden_layers() -> None:
    curve = fit(
        build(MIXED, Section(family="vae"), 0),
        random_rows(MIXED, 200),
        random_rows(MIXED, 50, 1),
        Train(learning_rate=0.002),
    )

    assert max(epoch.learning_rate for epoch in curve.epochs) == pytest.approx(0.002, rel=0.05)


class Interrupted(Exception):
    """Exception that the progress of a training raises."""


@pytest.mark.usefixtures("is_always_large")
@pytest.mark.parametrize("family", ["ae", "vae"])
def test_a_training_by_the_schedule_resumes_bit_for_bit(tmp_path: Path, family: str) -> None:
    def stop(_: str, share: float) -> None:
        if share > 0.35:
            raise Interrupted

    train, dev = random_rows(MIXED, 200), random_rows(MIXED, 50, 1)
    whole, resumed = (build(MIXED, Section(family=family), 0) for _ in range(2))
    fit(whole, train, dev, Train())
    with pytest.raises(Interrupted):
        fit(resumed, train, dev, Train(), checkpoint=tmp_path / "at.pt", every_s=0, progress=stop)
    resumed = build(MIXED, Section(family=family), 0)

    fit(resumed, train, dev, Train(), checkpoint=tmp_path / "at.pt", every_s=0)

    states = whole.state_dict(), resumed.state_dict()
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


def skewed(rows: int, seed: int) -> Arrays:
    """Draw a category of Zipf frequencies, and two numbers that mostly depend on it."""
    rng = np.random.default_rng(seed)
    code = np.minimum(rng.zipf(1.5, rows), 60).astype(np.int32)
    offsets = np.random.default_rng(9).standard_normal((61, 2))
    numbers = offsets[code] + 0.05 * rng.standard_normal((rows, 2))
    return {"num": numbers.astype(np.float32), "cat": code[:, None]}


SKEWED = Layout(
    columns=("kind", "a", "b"),
    numbers=(Number(name="a", column=1), Number(name="b", column=2)),
    categories=(Category(name="kind", column=0, size=61),),
)


@pytest.mark.slow
def test_a_large_table_is_learned_better_than_by_twice_as_many_small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch of 1,024 rows takes about as long as two of 256."""
    monkeypatch.setattr(schedule, "_LARGE_ROWS_IN_ALL", 1_500_000)
    train, dev = skewed(40_000, 0), skewed(4_000, 1)
    planned, patient = (
        fit(build(SKEWED, Section(family="vae"), 0), train, dev, options)
        for options in (Train(), Train(batch_rows=256, epochs=19, patience=19))
    )

    assert min(epoch.dev for epoch in planned.epochs) < min(epoch.dev for epoch in patient.epochs)
