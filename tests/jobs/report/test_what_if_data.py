"""Counts, costs and measures at other values of alpha, against brute force on the scores."""

from pathlib import Path

import numpy as np
import pytest

from aepipe.calibration.conformal import Calibration
from aepipe.config.job import read_job
from aepipe.jobs.calibrate import calibrate
from aepipe.jobs.feedback.feedback import give_feedback
from aepipe.jobs.report.what_if_data import alpha_grid, build_what_if, flagged_at, least_alphas
from aepipe.jobs.score import score
from aepipe.jobs.scored_partitions import ScoredPartitions, open_model
from aepipe.report.what_if import WhatIf
from aepipe.storage import read_parquet
from tests.support.two_models import DAYS, write_job

COSTS = "[calibration]\nfalse_alarm_cost = 1\nmiss_cost = 20\nbase_rate = 0.05\ncapacity = 12\n"


def built(job: Path) -> WhatIf:
    parsed = read_job(job)
    found = build_what_if(ScoredPartitions(parsed, open_model(parsed, "champion")))
    assert found is not None
    return found


def test_counts_and_measures_are_those_of_each_alpha(tmp_path: Path) -> None:
    job = write_job(tmp_path, COSTS)
    nights = [read_parquet(night.scores) for night in score(job).nights]

    found = built(job)

    assert found.partitions == DAYS
    assert found.rows == (200, 200, 200)
    p_values = np.array([night["p_value"].to_numpy() for night in nights])
    truth = np.tile(np.arange(200) < 10, (3, 1))
    for at, alpha in enumerate(found.alphas):
        flagged = p_values <= alpha
        assert found.alarms[:, at].tolist() == flagged.sum(axis=1).tolist()
        assert found.recall[at] == flagged[truth].mean()
        if flagged.any():
            assert found.precision[at] == pytest.approx(truth[flagged].mean())
        cost = 200 * (0.95 * flagged[~truth].mean() * 1 + 0.05 * (1 - flagged[truth].mean()) * 20)
        assert found.cost[at] == pytest.approx(cost)
    assert (found.labelled, found.anomalies, found.cost_basis) == (600, 30, "labelled rows")
    assert found.alphas[0] == 0.0025
    assert found.alphas[found.current] == 0.05
    assert np.all(np.diff(found.alphas) > 0)
    assert len(found.content) < 20_000


def test_alarms_of_cells_count_at_their_share_of_alpha() -> None:
    generator = np.random.default_rng(0)
    held_out, scores = generator.normal(size=(2, 900)), generator.normal(size=(2, 500)) * 1.5
    calibration = Calibration.fit(held_out[0], alpha=0.05, cell_scores=held_out[1])
    assert calibration.cells is not None
    p_values, of_cells = calibration.p_values(scores[0]), calibration.cells.p_values(scores[1])
    alphas = alpha_grid(calibration)

    levels = np.array([calibration.levels_at(alpha) for alpha in alphas])
    found = flagged_at(alphas, least_alphas(alphas, levels, p_values, of_cells))

    for alpha, count in zip(alphas, found, strict=True):
        other = calibration.with_alpha(float(alpha))
        assert count == np.count_nonzero(other.is_anomaly(p_values) | other.is_cell_anomaly(of_cells))
    assert found.tolist() != flagged_at(alphas, p_values).tolist()


def test_without_labels_costs_are_estimated_and_measures_are_absent(tmp_path: Path) -> None:
    job = write_job(tmp_path, COSTS)
    job.write_text(job.read_text().replace('[evaluate]\nanomaly = "bad = 1"\n', ""))
    score(job)

    found = built(job)

    assert found.cost_basis == "the flagged rows beyond alpha, without labels"
    assert (found.precision, found.recall, found.labelled) == (None, None, 0)
    share = found.alarms.sum(axis=0) / 600
    recall = np.clip((share - 0.95 * found.alphas) / 0.05, 0, 1)
    assert found.cost == pytest.approx(200 * (0.95 * found.alphas + 0.05 * (1 - recall) * 20))


def test_feedback_labels_rows(tmp_path: Path) -> None:
    job = write_job(tmp_path)
    job.write_text(job.read_text().replace('[evaluate]\nanomaly = "bad = 1"\n', ""))
    score(job)
    give_feedback(job, ["10000", "10001"], verdict="anomaly")
    give_feedback(job, ["10100"], verdict="expected")

    found = built(job)

    assert (found.labelled, found.anomalies) == (3, 2)
    assert found.cost is None


def test_nights_under_another_calibration_are_counted_under_the_active_one(tmp_path: Path) -> None:
    job = write_job(tmp_path)
    nights = [read_parquet(night.scores) for night in score(job, partitions=DAYS[1:]).nights]
    calibrate(job, partitions=[DAYS[0]])

    found = built(job)

    parsed = read_job(job)
    calibration = open_model(parsed, "champion").bundle.calibration
    p_values = [calibration.p_values(night["score"].to_numpy().astype(np.float64)) for night in nights]
    expected = [[int((each <= alpha).sum()) for alpha in found.alphas] for each in p_values]
    assert found.alarms.tolist() == expected
