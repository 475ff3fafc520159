"""Alarms of the detection benchmark, against counts by hand and the distribution of conformal alarms."""

import numpy as np
import pytest

from aepipe.calibration.conformal import Calibration
from aepipe.inference.output_schema import CellPredictions, Predictions
from benchmarks.detection_alarms import conformal_rates, own_rates, rates
from benchmarks.detection_detectors import Detector, Scored, measured
from benchmarks.detection_ours import flags_at
from benchmarks.detection_tables import Doubles, Split


def split_of(normal: int, anomalies: int, *, own: bool = False) -> Split:
    rows = np.zeros((normal + anomalies, 1))
    return Split(rows, rows, np.arange(len(rows)) >= normal, scores_own_rows=own)


def test_rates_are_counts_by_hand() -> None:
    split = split_of(4, 2)

    found = rates(np.asarray([True, False, False, False, True, True]), split, 0.05)

    assert found == pytest.approx({"recall@0.05": 1.0, "precision@0.05": 2 / 3, "false_alarms@0.05": 0.25})


def test_precision_without_a_flag_is_zero() -> None:
    assert rates(np.zeros(6, np.bool_), split_of(4, 2), 0.01)["precision@0.01"] == 0.0


def test_false_alarms_of_chance_are_those_of_split_conformal_p_values() -> None:
    """With n calibration rows a new row is flagged with probability floor(alpha (n + 1)) / (n + 1)."""
    split, rng = split_of(300, 50), np.random.default_rng(0)

    found = [conformal_rates(rng.standard_normal(350), split, seed) for seed in range(100)]

    expected = {"0.01": 1 / 151, "0.05": 7 / 151}
    for alpha, share in expected.items():
        assert np.mean([each[f"false_alarms@{alpha}"] for each in found]) == pytest.approx(share, abs=0.004)
        assert np.mean([each[f"recall@{alpha}"] for each in found]) == pytest.approx(share, abs=0.004)


def test_each_half_has_the_threshold_of_the_other() -> None:
    """The threshold of a half is its k-th highest score: normal rows are counted by brute force over the halves."""
    split, scores = split_of(400, 30), np.random.default_rng(1).permutation(430).astype(np.float64)
    order = np.random.default_rng([5, 2]).permutation(np.arange(400))
    expected, hits = 0, 0.0
    for half, other in ((order[:200], order[200:]), (order[200:], order[:200])):
        threshold = np.sort(scores[half])[-int(0.05 * 201)]
        expected += int((scores[other] > threshold).sum())
        hits += (scores[400:] > threshold).sum() / 2

    found = conformal_rates(scores, split, 5)

    assert found["false_alarms@0.05"] == pytest.approx(expected / 400)
    assert found["recall@0.05"] == pytest.approx(hits / 30)
    assert found["precision@0.05"] == pytest.approx(hits / (hits + expected))


def test_no_alpha_that_the_rows_cannot_support() -> None:
    scores = np.arange(150.0)

    assert not any(name.endswith("@0.01") for name in conformal_rates(scores, split_of(140, 10), 0))  # halves of 70
    assert "recall@0.05" in conformal_rates(scores, split_of(140, 10), 0)
    assert not any(name.endswith("@0.01") for name in conformal_rates(scores[:60], split_of(50, 10, own=True), 0))


def test_polluted_flags_the_highest_share_of_all_rows() -> None:
    split = split_of(180, 20, own=True)
    scores = np.arange(200.0)  # the anomalies are the highest

    found = conformal_rates(scores, split, 0)

    assert found == pytest.approx(
        {
            "recall@0.01": 0.1,
            "precision@0.01": 1.0,
            "false_alarms@0.01": 0.0,
            "recall@0.05": 0.5,
            "precision@0.05": 1.0,
            "false_alarms@0.05": 0.0,
        }
    )


def test_ties_that_exceed_the_share_are_not_flagged() -> None:
    scores = np.where(np.arange(200) >= 150, 1.0, 0.0)

    assert conformal_rates(scores, split_of(180, 20, own=True), 0)["recall@0.05"] == 0.0


@pytest.mark.parametrize("alpha", [0.01, 0.05])
def test_flags_are_those_of_the_bundle_at_that_alpha(alpha: float) -> None:
    rng = np.random.default_rng(2)
    calibration = Calibration.fit(rng.standard_normal(400), alpha=0.2, cell_scores=rng.standard_normal(400))
    scores, cells, invalid = rng.normal(1, 1, 500), rng.normal(1, 1, 500), np.zeros(500, np.int16)
    invalid[:50] = 1
    reference = calibration.with_alpha(alpha)
    assert reference.cells is not None
    cell_p = reference.cells.p_values(cells)
    expected = reference.is_anomaly(reference.p_values(scores)) | reference.is_cell_anomaly(cell_p)

    flags = flags_at(calibration, predictions(reference.p_values(scores), cell_p, invalid), alpha)

    assert 0 < flags.sum() < 450
    np.testing.assert_array_equal(flags, expected & (invalid == 0))


def predictions(p_value: Doubles, cell_p: Doubles, invalid: np.ndarray) -> Predictions:
    rows = len(p_value)
    absent, unset = np.empty((rows, 0), np.int32), np.zeros(rows, np.bool_)
    score = np.zeros(rows, np.float32)
    return Predictions(
        features=(),
        score=score,
        reason=absent,
        reason_z=absent,
        predicted=absent,
        confidence=absent,
        p_value=p_value,
        p_extrapolated=unset,
        is_anomaly=unset,
        invalid=invalid,
        cells=CellPredictions(np.zeros(rows, np.int32), score, cell_p, unset),
    )


def test_a_result_has_the_rates_of_scores_and_of_own_flags() -> None:
    split = split_of(300, 30)
    flags = np.arange(330) >= 315
    detector = Detector("some", lambda split, seed, clock: Scored(np.arange(330.0), {0.05: flags}), {})

    found = measured(detector, split, 0)

    assert found["auroc"] == 1.0
    assert found["recall@0.01"] == 1.0
    assert found["own_recall@0.05"] == 0.5
    assert found["own_false_alarms@0.05"] == 0.0
    assert own_rates({0.05: flags}, split).items() <= found.items()
