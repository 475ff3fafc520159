"""Rows that are left out of a training because the model reconstructs them worst."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch.optim import Optimizer

from aepipe.config.job import Model as Section
from aepipe.config.job import Train
from aepipe.layout import Layout, Number
from aepipe.models.base import Batch, Loss, Model, Objective, StepContext
from aepipe.models.families import build
from aepipe.training import loop
from aepipe.training.device_dataset import DeviceDataset
from aepipe.training.loop import fit, optimizer_step, row_losses
from tests.support.layouts import NUMBERS
from tests.training.test_loop import CPU, SHORT, Interrupted, correlated, make, same, stop_after, weights


def test_rows_with_the_worst_reconstruction_are_trimmed_after_some_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Batch] = []

    def noted(model: Model, objective: Objective, optimizer: Optimizer, batch: Batch, context: StepContext) -> Loss:
        seen.append(batch)
        return optimizer_step(model, objective, optimizer, batch, context)

    monkeypatch.setattr(loop, "optimizer_step", noted)

    fit(make("ae"), correlated(200), correlated(50, 1), SHORT.model_copy(update={"trim": 0.25, "batch_rows": 1_000}))

    assert sum(len(batch.input.dense) for batch in seen) == 3 * 200 + 3 * 150


def test_a_choice_of_trimmed_rows_lasts_some_epochs_of_a_wide_table(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def noted(model: Model, objective: Objective, optimizer: Optimizer, batch: Batch, context: StepContext) -> Loss:
        assert batch.places is not None
        seen.extend(batch.places.tolist())
        return optimizer_step(model, objective, optimizer, batch, context)

    monkeypatch.setattr(loop, "_WIDE", len(NUMBERS.columns))
    monkeypatch.setattr(loop, "optimizer_step", noted)

    fit(make("ae"), correlated(200), correlated(50, 1), Train(epochs=12, patience=12, learning_rate=0.05, trim=0.25))

    ends = np.cumsum([200] * 3 + [150] * 9)[:-1]
    epochs = [frozenset(part.tolist()) for part in np.split(np.array(seen), ends)]
    assert [len(rows) for rows in epochs] == [200] * 3 + [150] * 9
    assert len(set(epochs[3:7])) == len(set(epochs[7:11])) == 1
    assert len({epochs[3], epochs[7], epochs[11]}) == 3


def test_a_wide_training_with_trimmed_rows_resumes_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_WIDE", len(NUMBERS.columns))
    options = Train(epochs=9, patience=9, learning_rate=0.05, trim=0.25)
    train, dev = correlated(200), correlated(50, 1)
    whole, resumed = make("ae"), make("ae")
    fit(whole, train, dev, options)
    with pytest.raises(Interrupted):
        fit(make("ae"), train, dev, options, checkpoint=tmp_path / "at.pt", every_s=0, progress=stop_after(5))

    fit(resumed, train, dev, options, checkpoint=tmp_path / "at.pt", every_s=0)

    assert same(weights(whole), weights(resumed))


@pytest.mark.slow
def test_anomalies_in_the_training_rows_are_found_once_they_are_left_out() -> None:
    """A fifth of the rows has an independent column: one latent learns these rows too unless they are left out."""
    names = tuple("abcd")
    layout = Layout(columns=names, numbers=tuple(Number(name=name, column=j) for j, name in enumerate(names)))
    generator = np.random.default_rng(0)
    anomalous = np.arange(400) % 5 == 0
    rows = generator.standard_normal((400, 1)) + 0.1 * generator.standard_normal((400, 4))
    rows[anomalous, 3] = 2 + 0.1 * generator.standard_normal(80)
    arrays = {"num": rows.astype(np.float32)}
    found = []
    for trim in (0.0, 0.3):
        model = build(layout, Section.model_validate({"family": "ae", "latent": 1}), 0)
        fit(model, arrays, arrays, Train(epochs=80, patience=80, learning_rate=0.003, trim=trim))
        batch = DeviceDataset(model.preprocessing, arrays, CPU).pick(torch.arange(400))
        found.append(roc_auc_score(anomalous, row_losses(model, batch)))

    assert found[0] < 0.9
    assert found[1] > 0.98


def test_polluted_rows_are_trimmed_where_nothing_is_said() -> None:
    assert Train(data="polluted").trimmed == 0.3
    assert Train(data="polluted", trim=0.0).trimmed == 0.0
    assert Train().trimmed == 0.0
