"""Tests of the zoo's store, verdicts and report, without any training."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.shapes import render
from benchmarks.store import Result, Store
from benchmarks.zoo import key
from benchmarks.zoo_experiments import EPOCHS, LOOKS, OTHERWISE_EPOCHS, OURS, PEERS, experiments
from benchmarks.zoo_figures import AGAINST_PEERS, FIGURES, Figure, reached
from benchmarks.zoo_report import section
from benchmarks.zoo_world import FULL, QUICK

NUMBERS = {"ours": {0: {"error": 1.0}, 1: {"error": 3.0}}, "theirs": {0: {"error": 4.0}, 1: {"error": 4.0}}}


def result(experiment: str, seed: int, **values: float) -> Result:
    return Result(experiment, seed, "key", values, "2026-11-21", "2 cores, some processor", {"torch": "2.13"})


def test_figure_bounds_apply_to_mean_over_seeds() -> None:
    found = reached(Figure("", "ours", "error", high=2.0), NUMBERS)

    assert found is not None
    assert (found.own, found.compared) == ((1.0, 3.0), 2.0)
    assert found.is_met(Figure("", "ours", "error", high=2.0))
    assert not found.is_met(Figure("", "ours", "error", high=1.9))


def test_a_ratio_is_that_of_the_means() -> None:
    figure = Figure("", "ours", "error", high=0.5, against=("theirs", "error"), how="ratio")

    found = reached(figure, NUMBERS)

    assert found is not None
    assert found.compared == 0.5
    assert found.is_met(figure)


def test_a_gap_is_counted_in_pooled_standard_deviations() -> None:
    figure = Figure("", "theirs", "error", low=1.0, against=("ours", "error"), how="gap")

    found = reached(figure, NUMBERS)

    assert found is not None
    assert found.compared == pytest.approx(2.0)  # a difference of 2; variances 0 and 2, so a pooled one of 1


def test_a_figure_without_its_numbers_is_not_reached() -> None:
    assert reached(Figure("", "ours", "speed"), NUMBERS) is None
    assert reached(Figure("", "ours", "error", against=("missing", "error"), how="ratio"), NUMBERS) is None


def test_every_figure_names_experiments_that_there_are() -> None:
    known = experiments()

    for figure in (*FIGURES, *AGAINST_PEERS):
        assert figure.experiment in known, figure.label
        assert figure.against is None or figure.against[0] in known, figure.label


def test_every_model_is_looked_at_and_a_peer_has_the_epochs_of_ours_or_more() -> None:
    assert set(LOOKS) == {*OURS, *PEERS}
    assert set(EPOCHS) <= set(LOOKS)
    for name in PEERS:
        ours = EPOCHS.get(name.removeprefix("pythae-"), OTHERWISE_EPOCHS)
        assert ours <= EPOCHS.get(name, OTHERWISE_EPOCHS)


def test_results_are_stored_under_their_settings(tmp_path: Path) -> None:
    experiment = experiments()["vae"]
    store = Store(tmp_path, "zoo")

    store.add("vae", 0, key(experiment, FULL), {"mse": 0.5})
    store.add("vae", 0, key(experiment, FULL), {"mse": 0.25})

    assert store.read()[f"{key(experiment, FULL)}/0"].values == {"mse": 0.25}
    assert key(experiment, FULL) != key(experiment, QUICK)
    longer = experiment._replace(configuration={**experiment.configuration, "epochs": 1_000})
    assert key(experiment, FULL) != key(longer, FULL)


def test_the_tables_say_what_was_reached_and_what_was_not_measured() -> None:
    results = [result("ae", 0, mse=0.0140), result("ae", 1, mse=0.0142), result("vae", 0, mse=0.02)]

    lines = section(results, FULL).splitlines()

    assert "| ae: MSE | at most 0.015 | 0.0141 ± 0.000141 (2) |  |  | yes |" in lines
    assert "| vae, optimal sigma: MSE | at most 0.014 | 0.02 |  |  | **no** |" in lines
    assert "| factor_vae: MSE |  | not measured | | | |" in lines
    assert "2026-11-21 on 2 cores, some processor" in "\n".join(lines)


def test_the_shapes_are_all_combinations_once_and_all_differ() -> None:
    shapes = render()

    assert shapes.images.shape == (768, 1, 28, 28)
    assert len(np.unique(shapes.factors, axis=0)) == 768
    assert len(np.unique(shapes.images.reshape(768, -1), axis=0)) == 768
    assert shapes.factors.max(axis=0).tolist() == [2, 3, 7, 7]


def test_no_shape_leaves_the_picture() -> None:
    images = render().images[:, 0]

    edges = np.concatenate([images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]], axis=1)

    assert not edges.any()
