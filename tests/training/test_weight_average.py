"""The running mean of weights, and learning rates that fall along a cosine."""

import pytest
import torch
from torch import nn

from aepipe.config.job import Train
from aepipe.models.base import Loss, Objective
from aepipe.training.schedule import EPOCHS, epochs_of, learning_rate_of
from aepipe.training.weight_average import Average, in_place


def objective(**changes: object) -> Objective:
    return Objective("a", (), lambda batch, context: Loss(torch.zeros(()), {}), **changes)  # type: ignore[arg-type]


def test_the_mean_fades_by_what_each_step_keeps() -> None:
    weight = nn.Parameter(torch.zeros(1))
    average, expected = Average([weight], 0.9), 0.0

    for step in range(1, 200):
        weight.data.fill_(float(step))
        average.follow()
        kept = min(0.9, (1 + step) / (10 + step))
        expected = kept * expected + (1 - kept) * step

    assert average.means[0].item() == pytest.approx(expected, rel=1e-5)


def test_means_stand_in_the_weights_place_within_and_nowhere_else() -> None:
    weights = [nn.Parameter(torch.tensor([value])) for value in (1.0, 2.0)]
    averages = [Average([weight], 0.5) for weight in weights]
    for weight in weights:
        weight.data.fill_(9.0)

    with in_place(averages):
        within = [weight.item() for weight in weights]

    assert within == [1.0, 2.0]
    assert [weight.item() for weight in weights] == [9.0, 9.0]
    assert [average.means[0].item() for average in averages] == [1.0, 2.0]


def test_a_mean_goes_on_from_a_checkpoint_as_it_was() -> None:
    weight = nn.Parameter(torch.ones(2))
    first, second = Average([weight], 0.9), Average([weight], 0.9)
    weight.data.mul_(3)
    first.follow()

    second.restore(first.content())

    assert second.steps == 1
    assert torch.equal(first.means[0], second.means[0])


def test_a_rate_that_anneals_follows_the_cosine_and_one_that_does_not_is_slowed() -> None:
    options, own = Train(), objective(learning_rate=0.02, anneals=True)

    assert learning_rate_of(options, own, own, lr_factor=0.5, progress=0.5) == pytest.approx(0.01)
    assert learning_rate_of(options, own, own, lr_factor=0.5, progress=1.0) == pytest.approx(0.0)
    assert learning_rate_of(options, objective(learning_rate=0.02), own, lr_factor=0.5, progress=0.5) == pytest.approx(
        0.01
    )
    asked = Train(learning_rate=0.1)
    assert learning_rate_of(asked, own, objective(learning_rate=0.01), lr_factor=1.0, progress=0.5) == pytest.approx(
        0.1
    )


def test_a_job_says_how_many_epochs_there_are_then_a_player_then_the_house() -> None:
    assert epochs_of(Train(epochs=3), [objective(epochs=7)]) == 3
    assert epochs_of(Train(), [objective(epochs=7)]) == 7
    assert epochs_of(Train(), [objective()]) == EPOCHS
