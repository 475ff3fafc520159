"""The figures of scores and training."""

import re

import numpy as np
import pytest
from scipy.stats import binomtest

from aepipe.report.figures.scores import (
    cost_curve,
    flagged_shares,
    score_histogram,
    short_names,
    training_curve,
    wilson,
)
from aepipe.report.page_model import CostCurve, Scores, Training
from tests.support.partition_results import partition_result

rng = np.random.default_rng(0)


def texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


@pytest.mark.parametrize(("flagged", "rows"), [(0, 7), (1, 20), (37, 1_204), (50, 50)])
def test_interval_of_a_share_matches_wilson(flagged, rows):
    expected = binomtest(flagged, rows).proportion_ci(0.95, method="wilson")

    low, high = wilson(np.array(flagged), np.array(rows))

    assert (float(low), float(high)) == pytest.approx((expected.low, expected.high), abs=1e-4)


def test_interval_without_rows_is_zero_to_one():
    assert [float(end) for end in wilson(np.array(0), np.array(0))] == pytest.approx([0, 1], abs=1e-6)


def test_histogram_states_rows_and_rows_above_the_threshold():
    current = np.append(np.linspace(0, 1, 1_500), [np.nan, np.inf])

    found = texts(score_histogram(Scores(current, np.linspace(0, 1, 200), 0.9)))

    assert {"current, 1,500 rows", "calibration, 200 rows", "150 at or above", "threshold 0.900"} <= set(found)


@pytest.mark.parametrize(
    "scores",
    [
        Scores(np.ones(5), np.ones(5), 1.0),
        Scores(np.array([1e17]), None, None),
        Scores(rng.normal(size=100), rng.normal(size=100), 1e6),
        Scores(rng.lognormal(0, 3, 100) - 5, np.zeros(0), -4.9),
        Scores(rng.lognormal(0, 3, 100), None, -1.0),
    ],
)
def test_histogram_of_odd_scores_is_drawn_without_a_warning(scores):
    assert "score (higher is more anomalous)" in texts(score_histogram(scores))


def test_cost_curve_marks_the_choice_and_the_capacity():
    alpha = np.array([0.001, 0.01, 0.1, 1.0])

    found = texts(cost_curve(CostCurve("chosen", alpha, np.array([9.0, 4, 7, 30]), 100 * alpha, 0.01, 12)))

    assert {"chosen, alpha 1\N{NO-BREAK SPACE}%: 4.00", "1.00", "capacity, 12", "alpha"} <= set(found)


def test_shares_include_quarantined_and_empty_partitions():
    lines = [
        partition_result("dt=1", rows=100, flagged=3),
        partition_result("dt=2", "quarantined"),
        partition_result("dt=3"),
        partition_result("dt=4", rows=5, invalid={"infinite": 5}),
    ]

    found = texts(flagged_shares(lines, 0.05))

    assert {"1", "2", "3", "4", "quarantined"} <= set(found)
    assert any(text.startswith("alpha") for text in found)


def test_names_of_many_partitions_do_not_overlap():
    lines = [partition_result(f"dt=2026-01-{d:03d}", rows=10, flagged=1) for d in range(400)]

    svg = flagged_shares(lines, 0.1)
    places = [float(x) for x in re.findall(r'<text[^>]* x="([\d.]+)"[^>]*>2026-01-', svg)]

    assert min(np.diff(places)) > 55  # points; the ten characters of a date take 50
    assert len(svg) < 60_000


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["a/dt=1/h=2", "a/dt=1/h=3"], ["2", "3"]),
        (["site=a/dt=1", "site=b/dt=1"], ["a 1", "b 1"]),
        (["only=1"], ["1"]),
        (["same", "same"], ["same", "same"]),
        ([], []),
    ],
)
def test_common_parts_of_partition_names_are_dropped(names, short):
    assert short_names(names) == short


def test_long_training_is_drawn_with_its_best_epoch_in_a_bounded_size():
    epochs = np.arange(1, 50_001)
    noise = rng.normal(size=len(epochs))
    training = Training(epochs=epochs, train=noise, dev=noise, best_epoch=31_337, stopped_because="the epochs ran out")

    svg = training_curve(training)

    assert any(text.startswith("best, epoch 31,337") for text in texts(svg))
    assert len(svg) < 60_000


def test_single_epoch_is_drawn():
    one = np.array([1.0])

    assert training_curve(Training(epochs=one, train=one, dev=one, best_epoch=1, stopped_because="asked to"))
