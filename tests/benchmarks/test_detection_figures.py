"""Means, differences and their spread, on numbers that are known."""

import numpy as np
import pytest
from scipy.stats import bootstrap

from benchmarks.detection_figures import GOALS, LEVELS, Goal, Measured, band, bests, by_table, resampled_means, versus
from benchmarks.detection_ours import OUR_RECIPE

RIVAL = "pyod-ae"
GOAL = Goal("clean", "auroc", RIVAL, 0.04)


def numbers(*rows: tuple[str, str, int, float]) -> dict[Measured, dict[str, float]]:
    return {Measured("clean", detector, table, seed): {"auroc": value} for detector, table, seed, value in rows}


def test_seeds_are_averaged_before_tables_are() -> None:
    """Table a has three seeds and b one: each counts once."""
    found = numbers(
        (OUR_RECIPE, "a", 0, 0.6), (OUR_RECIPE, "a", 1, 0.7), (OUR_RECIPE, "a", 2, 0.8), (OUR_RECIPE, "b", 0, 0.9)
    )

    assert by_table(found, "clean", OUR_RECIPE, "auroc") == pytest.approx({"a": 0.7, "b": 0.9})


def test_only_what_both_were_measured_on_is_compared() -> None:
    found = numbers(
        (OUR_RECIPE, "a", 0, 0.8),
        (OUR_RECIPE, "a", 1, 0.1),  # the rival has no such seed
        (OUR_RECIPE, "b", 0, 0.2),  # nor this table
        (RIVAL, "a", 0, 0.7),
        (RIVAL, "c", 0, 0.3),
    )

    compared = versus(found, GOAL)

    assert compared is not None
    assert compared == pytest.approx((0.8, 0.7, 1))
    assert compared.difference == pytest.approx(0.1)


def test_figures_without_a_common_table_are_not_compared() -> None:
    found = numbers((OUR_RECIPE, "a", 0, 0.8), (RIVAL, "b", 0, 0.7))

    assert versus(found, GOAL) is None
    assert band(found, "clean", RIVAL, "auroc") is None


def test_a_difference_that_all_tables_share_has_no_spread() -> None:
    found = numbers(*((name, table, 0, value) for table in "abc" for name, value in ((OUR_RECIPE, 0.9), (RIVAL, 0.8))))

    spread = band(found, "clean", RIVAL, "auroc")

    assert spread == pytest.approx((0.1, 0.1, 0.1, 3))


def test_the_band_is_the_percentile_bootstrap_of_scipy() -> None:
    differences = np.random.default_rng(1).normal(0.05, 0.1, 21)
    reference = bootstrap(
        (differences,), np.mean, n_resamples=20_000, confidence_level=0.9, method="percentile", rng=2
    ).confidence_interval

    means = resampled_means(differences, resamples=20_000, seed=3)

    assert means.mean() == pytest.approx(differences.mean(), abs=1e-3)
    np.testing.assert_allclose(np.quantile(means, [0.05, 0.95]), [reference.low, reference.high], atol=2e-3)


def test_the_band_is_the_same_every_time() -> None:
    values = np.arange(5.0)

    assert np.array_equal(resampled_means(values, resamples=9, seed=0), resampled_means(values, resamples=9, seed=0))


def test_goals_are_said_of_measures_and_rivals_that_there_are() -> None:
    from benchmarks.detection import detectors
    from benchmarks.detection_report import LISTED, MEASURES
    from benchmarks.detection_tables import PROTOCOLS

    known = detectors()

    assert {goal.rival for goal in GOALS} | {*LISTED} <= known.keys()
    assert {goal.protocol for goal in (*GOALS, *LEVELS)} <= PROTOCOLS.keys()
    assert {goal.measure for goal in (*GOALS, *LEVELS)} <= MEASURES.keys()


def test_the_best_peer_is_found_for_each_table() -> None:
    found = numbers(
        (OUR_RECIPE, "a", 0, 0.7),
        (OUR_RECIPE, "a", 1, 0.9),
        ("ours-reconstruction", "a", 0, 0.99),
        ("x", "a", 0, 0.5),
        ("y", "a", 0, 0.85),
        ("x", "b", 0, 0.5),
    )

    (best,) = bests(found, "clean")

    assert (best.table, best.detector) == ("a", "y")
    assert best.difference == pytest.approx(-0.05)
