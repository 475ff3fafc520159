import pytest
import torch

from aepipe.training.history import Epoch
from aepipe.training.state import TrainingState


def record_epoch(training_state: TrainingState, *losses: float, patience: int = 8) -> None:
    for dev in losses:
        number = len(training_state.curve) + 1
        epoch = Epoch(epoch=number, train=0.0, dev=dev, learning_rate=0.1, seconds=1.0)
        training_state.record_epoch(epoch, {"w": torch.tensor(float(number))}, patience)


def test_the_best_weights_are_a_copy() -> None:
    training_state, weight = TrainingState(), torch.zeros(1)
    epoch = Epoch(epoch=1, train=0.0, dev=1.0, learning_rate=0.1, seconds=1.0)

    training_state.record_epoch(epoch, {"w": weight}, 8)
    weight += 1

    assert training_state.best["w"].item() == 0


def test_a_worse_epoch_counts_as_waiting_and_a_better_one_ends_it() -> None:
    training_state = TrainingState()

    record_epoch(training_state, 3.0, 4.0, 3.0, 2.0, 5.0)

    assert (training_state.best_epoch, training_state.best["w"].item(), training_state.epochs_since_best) == (4, 4.0, 1)


@pytest.mark.parametrize("epochs_since_best,lr_factor", [(0, 1.0), (1, 1.0), (2, 0.5), (4, 0.25), (7, 0.125)])
def test_learning_slows_by_half_each_quarter_of_the_patience(epochs_since_best: int, lr_factor: float) -> None:
    training_state = TrainingState()

    record_epoch(training_state, *([1.0] * (epochs_since_best + 1)))

    assert training_state.lr_factor == lr_factor


def test_before_it_is_warm_a_worse_epoch_does_not_count() -> None:
    training_state = TrainingState()
    record_epoch(training_state, 1.0)
    worse = Epoch(epoch=2, train=0.0, dev=2.0, learning_rate=0.1, seconds=1.0)

    training_state.record_epoch(worse, {}, 1, warmed_up=False)

    assert (training_state.epochs_since_best, training_state.lr_factor, training_state.best_epoch) == (0, 1.0, 1)


def test_a_new_phase_begins_afresh_and_an_old_one_goes_on() -> None:
    training_state = TrainingState()
    training_state.enter(0)
    record_epoch(training_state, 1.0, 2.0, 2.0)

    training_state.enter(0)
    assert (training_state.epoch, training_state.epochs_since_best) == (3, 2)
    training_state.enter(1)
    assert (
        training_state.epoch,
        training_state.epochs_since_best,
        training_state.lr_factor,
        len(training_state.curve),
    ) == (
        0,
        0,
        1.0,
        3,
    )


def test_its_content_makes_it_again() -> None:
    training_state = TrainingState()
    record_epoch(training_state, 3.0, 4.0)

    again = TrainingState.of(training_state.content())

    assert again.content() == training_state.content()
