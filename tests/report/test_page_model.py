"""Consistency checks of the page model."""

import numpy as np
import pytest

from aepipe.report.page_model import LatentMap, Training
from tests.support.partition_results import partition_result


def test_elapsed_time_is_wall_time_or_the_sum_of_stages():
    assert partition_result("a", seconds={"read": 1.0, "infer": 2.0}).elapsed_s == 3.0
    assert partition_result("a", seconds={"read": 1.0, "infer": 2.0}, wall_s=1.5).elapsed_s == 1.5


def test_arrays_of_different_lengths_are_rejected():
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
