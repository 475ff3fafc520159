"""Thresholds that continue from earlier partitions, and scores of partitions that a model was trained on."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from aepipe.batch.series.thresholds import thresholds_before
from aepipe.bundles.bundle import Bundle
from aepipe.bundles.registry import Registry
from aepipe.config.job import read_job
from aepipe.jobs.score import score
from aepipe.jobs.train.train import train
from aepipe.storage import Outputs
from tests.support.machines import night, write_machines


@pytest.fixture(scope="module", params=["auto", "row"])
def scored(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Return the setting `step`, and a job that learned from five nights and scored seven."""
    path = write_machines(tmp_path_factory.mktemp("machines"), days=7, machines=2, fault_on=-1, learned=5)
    path.write_text(path.read_text().replace("[series]", f'[series]\nstep = "{request.param}"'))
    train(path)
    score(path)
    return request.param, path


@pytest.mark.slow
def test_thresholds_continue_from_training_nights_unless_steps_follow_the_order(scored: tuple[str, Path]) -> None:
    step, path = scored
    job = read_job(path)
    bundle, outputs = Bundle.open(Registry(job.bundle_path).resolve()), Outputs(job.out_path)

    after = [thresholds_before(outputs, night(day), bundle, window=24).after for day in (1, 5, 6)]

    first = {"auto": (night(0), night(4)), "row": (None, None)}[step]
    assert after == [*first, night(5)]


@pytest.mark.slow
def test_nights_of_the_training_score_like_later_ones(scored: tuple[str, Path]) -> None:
    """Windows are not compared with themselves, however their steps are numbered."""
    _, path = scored
    scores = read_job(path).out_path / "scores"

    medians = [
        float(np.median(pq.ParquetFile(scores / night(day) / "part-0.parquet").read(["score"])["score"]))
        for day in range(7)
    ]

    assert np.median(medians[1:5]) == pytest.approx(np.median(medians[5:]), rel=0.2)
