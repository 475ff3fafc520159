"""The contract between the job that collects a night and the page that shows it."""

import numpy as np
import pytest

from aepipe.report.page_model import LatentMap, Training
from tests.support.partition_results import partition_result


def test_time_of_a_partition_is_the_clocks_or_else_the_stages_added_up():
    assert partition_result("a", seconds={"read": 1.0, "infer": 2.0}).elapsed_s == 3.0
    assert partition_result("a", seconds={"read": 1.0, "infer": 2.0}, wall_s=1.5).elapsed_s == 1.5


def test_arrays_of_other_lengths_are_refused():
    with pytest.raises(ValueError, match=r"LatentMap\.flagged has the wrong length: expected 3 rows, got 2"):
        LatentMap(points=np.zeros((3, 2)), scores=np.zeros(3), flagged=np.zeros(2, bool))
    with pytest.raises(ValueError, match=r"Training\.kl has the wrong length: expected 2 rows, got 1"):
        Training(
            epochs=np.arange(2),
            train=np.zeros(2),
            dev=np.zeros(2),
            terms={"kl": np.zeros(1)},
            best_epoch=0,
            stopped_because="",
        )
