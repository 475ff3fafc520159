"""Band of the false alarms of two alarms."""

import numpy as np
import pytest
from scipy.stats import betabinom

from aepipe.calibration.conformal import Calibration
from benchmarks.cells import most_false_alarms


def test_the_band_of_one_share_is_beta_binomial_and_further_rows_for_the_cells_make_it_narrower() -> None:
    generator = np.random.default_rng(0)
    scores, cells = generator.normal(size=203), generator.normal(size=1_203)

    both = Calibration.fit(scores, alpha=0.01, cell_scores=cells[:203])
    further = Calibration.fit(scores, alpha=0.01, cell_scores=cells)

    assert most_false_alarms(both, 2_000) == pytest.approx(betabinom(2_000, 2, 202).ppf(0.975), abs=1)
    assert 0.01 * 2_000 < most_false_alarms(further, 2_000) < most_false_alarms(both, 2_000)
