"""Where the thresholds of a partition continue from."""

from pathlib import Path

import pytest

from aepipe.batch.series.thresholds import thresholds_before
from aepipe.bundles.bundle import Bundle
from aepipe.bundles.registry import Registry
from aepipe.config.job import read_job
from aepipe.jobs.score import score
from aepipe.jobs.train.train import train
from aepipe.storage import Outputs
from tests.support.machines import night, write_machines


@pytest.mark.slow
@pytest.mark.parametrize(("step", "first"), [("auto", night(4)), ("row", None)])
def test_thresholds_continue_from_training_nights_unless_steps_follow_the_order(
    tmp_path: Path, step: str, first: str | None
) -> None:
    path = write_machines(tmp_path, days=7, machines=2, fault_on=-1, learned=5)
    path.write_text(path.read_text().replace("[series]", f'[series]\nstep = "{step}"'))
    train(path)
    score(path)
    job = read_job(path)
    bundle, outputs = Bundle.open(Registry(job.bundle_path).resolve()), Outputs(job.out_path)

    after = [thresholds_before(outputs, night(day), bundle, window=24).after for day in (1, 5, 6)]

    assert after == [None if first is None else night(0), first, night(5)]
