"""The threshold of least expected cost against brute force, and the sentence about the choice."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aepipe.calibration.conformal import Calibration
from aepipe.calibration.cost_curve import Choice, Curve, cheapest, curve_of_labels, curve_of_nights
from aepipe.config.cost_table import Costs
from aepipe.config.job import Job, parse_job
from aepipe.errors import CalibrationInvalid, JobInvalid
from aepipe.jobs.threshold_selection import Evidence, Labelled, calibrate

SCORES = st.lists(st.integers(0, 12), min_size=3, max_size=40).filter(lambda found: len(set(found)) > 1)
COSTS = st.builds(
    Costs, false_alarm=st.integers(0, 5), miss=st.integers(0, 50), base_rate=st.sampled_from([0.01, 0.1, 0.5])
)
LABELLED_SCORES = st.tuples(
    st.lists(st.integers(0, 12), min_size=1, max_size=20), st.lists(st.integers(0, 12), min_size=1, max_size=20)
)


def job(**calibration: object) -> Job:
    return parse_job({"name": "a", "data": {"path": "a"}, "calibration": calibration}, source=Path("job.toml"))


@given(SCORES, LABELLED_SCORES, COSTS, st.sampled_from([None, 3, 20, 100]))
def test_threshold_by_labels_matches_brute_force(held_out, labelled, costs, capacity) -> None:
    normal, anomalous = labelled
    truth = np.repeat([False, True], [len(normal), len(anomalous)])
    found = np.array(normal + anomalous, float)
    calibration = Calibration.fit(np.array(held_out, float), alpha=0.5)
    rows, base = 100.0, costs.base_rate

    curve = curve_of_labels(calibration.steps, found, truth, costs, rows=rows)
    chosen = cheapest(curve, capacity)

    tried = []
    for threshold in sorted(set(held_out), reverse=True):
        false_alarms, recall = (1 - np.mean(found[group] <= threshold) for group in (~truth, truth))
        # In the order of curve_of_labels: a count equal to the capacity rounds to the same side of it.
        alarms = rows * ((1 - base) * false_alarms + base * recall)
        cost = rows * ((1 - base) * false_alarms * costs.false_alarm + base * (1 - recall) * costs.miss)
        tried.append((threshold, alarms, cost))
    allowed = [one for one in tried if capacity is None or one[1] <= capacity] or tried[:1]
    assert curve.cost[chosen] == pytest.approx(min(cost for _, _, cost in allowed), abs=1e-9)
    assert any(curve.alarms[chosen] == pytest.approx(alarms, abs=1e-9) for _, alarms, _ in allowed)


@given(SCORES, SCORES, COSTS)
def test_recall_of_nights_without_labels_is_the_formula(held_out, nights, costs) -> None:
    calibration = Calibration.fit(np.array(held_out, float), alpha=0.5)

    curve = curve_of_nights(calibration.steps, np.array(nights, float), costs, rows=10)

    for alpha, threshold, recall in zip(curve.alpha, curve.threshold, curve.recall, strict=True):
        flagged = sum(score > threshold for score in nights) / len(nights)
        expected = min(1.0, max(0.0, (flagged - (1 - costs.base_rate) * alpha) / costs.base_rate))
        assert recall == pytest.approx(expected)


def test_a_mixture_of_known_share_has_the_recall_that_its_anomalies_have() -> None:
    generator = np.random.default_rng(0)
    calibration = Calibration.fit(generator.normal(size=5_000), alpha=0.5)
    is_anomaly = generator.random(200_000) < 0.05
    nights = generator.normal(size=200_000) + 3 * is_anomaly
    costs = Costs(false_alarm=1, miss=20, base_rate=0.05)

    curve = curve_of_nights(calibration.steps, nights, costs, rows=1_000)

    for alpha in (0.01, 0.05, 0.2):
        at = int(np.argmin(np.abs(curve.alpha - alpha)))
        assert curve.recall[at] == pytest.approx(np.mean(nights[is_anomaly] > curve.threshold[at]), abs=0.05)


def test_with_capacity_for_nothing_the_strictest_threshold_is_chosen() -> None:
    alarms, cost = np.array([5.0, 9.0]), np.array([3.0, 1.0])
    curve = Curve(alarms, alarms, alarms, alarms, alarms, cost)

    assert cheapest(curve, 1) == 0
    assert cheapest(curve, 9) == 1


def test_a_choice_by_labels_reports_its_measures_at_the_base_rate() -> None:
    steps = Calibration.fit(np.arange(9.0), alpha=0.5).steps
    found, truth = np.array([1.0, 9.0, 1.0, 9.0, 9.0]), np.array([False, False, False, True, True])
    costs = Costs(false_alarm=1, miss=900, base_rate=0.25)
    curve = curve_of_labels(steps, found, truth, costs, rows=100)

    choice = Choice.of(curve, costs, capacity=None, rows=100, by="labels", on="5 rows")

    assert choice.measures == pytest.approx({"precision": 0.5, "recall": 1.0, "F1": 2 / 3, "F30": 901 / 902})
    assert choice.sentence.startswith("alpha = 0.1 has the least expected cost, estimated from 5 rows: 50.0 alarms")
    assert choice.chosen in choice.points


LABELLED = Labelled(np.array([1.0, 90.0, 1.0, 99.0]), np.array([False, False, False, True]), "rows")
TABLE = {"false_alarm_cost": 1.0, "miss_cost": 100.0, "base_rate": 0.02}


def test_labels_come_first_then_nights_then_the_assumption() -> None:
    scores, nights = np.arange(99.0), np.arange(150.0)

    by_labels = calibrate(job(**TABLE), scores, Evidence(1_000, LABELLED, nights))
    by_nights = calibrate(job(**TABLE), scores, Evidence(1_000, None, nights))
    assumed = calibrate(job(**TABLE, alpha=0.05, capacity=20), scores, Evidence(1_000))
    asked = calibrate(job(alpha=0.05), scores, Evidence(1_000, LABELLED, nights))

    assert [found.choice and found.choice.by for found in (by_labels, by_nights, assumed, asked)] == [
        "labels",
        "nights",
        "assumption",
        None,
    ]
    assert by_labels.choice is not None
    assert by_labels.choice.chosen is not None
    assert by_labels.threshold == by_labels.choice.chosen.threshold
    assert assumed.alpha == 20 / 1_000
    assert assumed.choice is not None
    assert assumed.choice.sentence.startswith("alpha = 0.02 is an assumption, the job's alpha, cut to 20 alarms in a")
    assert Calibration.model_validate_json(by_labels.to_json()) == by_labels
    assert len({found.digest for found in (by_labels, by_nights, assumed, asked)}) == 4


@pytest.mark.parametrize(
    ("asked", "evidence", "sentence"),
    [
        (
            TABLE,
            Evidence(10, LABELLED._replace(is_anomaly=np.zeros(4, bool))),
            r"^labelled rows are of one class: expected both, got 4 rows, all normal\. ",
        ),
        (
            TABLE,
            Evidence(10, LABELLED._replace(is_anomaly=np.ones(4, bool))),
            r"^labelled rows are of one class: expected both, got 4 rows, all anomalies\. ",
        ),
        (
            {"capacity": 1},
            Evidence(1_000),
            r"^\[calibration\] capacity = 1 is too low for 1,000 rows per night: alpha 0.001 has too few .*999",
        ),
    ],
)
def test_unusable_evidence_is_rejected(asked, evidence, sentence) -> None:
    with pytest.raises(CalibrationInvalid, match=sentence):
        calibrate(job(**asked), np.arange(99.0), evidence)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (TABLE | {"miss_cost": -1.0}, "calibration.miss_cost: expected at least 0, got -1.0"),
        (
            {"false_alarm_cost": 1.0},
            "cost table is incomplete: expected .*, got no miss_cost or base_rate",
        ),
        (TABLE | {"miss_cost": 0.0, "false_alarm_cost": 0.0}, "cost table cannot rank thresholds"),
        (TABLE | {"base_rate": 1.0}, "calibration.base_rate: expected less than 1, got 1.0"),
        ({"capacity": 0}, "calibration.capacity: expected at least 1, got 0"),
    ],
)
def test_an_inconsistent_cost_table_is_refused_with_the_job(asked, sentence) -> None:
    with pytest.raises(JobInvalid, match=sentence):
        job(**asked)
