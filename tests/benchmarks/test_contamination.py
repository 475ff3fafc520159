"""Generated tables with anomalies: their share, their kinds, and rates of flags by hand."""

import numpy as np
import pytest

from benchmarks.contamination import KINDS, SHARES, Rates, Rows, World


@pytest.mark.parametrize("seed", range(5))
def test_a_world_draws_its_share_of_anomalies_at_random_places(seed: int) -> None:
    world = World(seed)

    rows = world.draw(2_000)

    assert world.kind == KINDS[seed]
    assert world.share in SHARES
    assert rows.is_anomaly.sum() == round(2_000 * world.share)
    assert 0 < rows.is_anomaly[:1_000].sum() < rows.is_anomaly.sum()
    assert np.isfinite(rows.values).all()


def test_values_of_a_broken_dependency_are_normal_values_of_single_columns() -> None:
    """Shuffled columns keep their means and lose their correlations."""
    world = World(3)
    rows = world.draw(60_000)
    normal, broken = rows.values[~rows.is_anomaly], rows.values[rows.is_anomaly]

    off = (normal.mean(0) - broken.mean(0)) / normal.std(0)
    left = np.abs(np.corrcoef(broken.T) - np.eye(broken.shape[1])).max()

    assert world.kind == "dependency"
    assert np.abs(off).max() < 0.15
    assert left < 0.15
    assert np.abs(np.corrcoef(normal.T) - np.eye(normal.shape[1])).max() > 0.5


def test_rates_are_counts_by_hand() -> None:
    rows = Rows(np.zeros((5, 1)), np.array([True, True, False, False, False]))

    found = Rates.of(np.array([True, False, True, False, False]), rows)

    assert found == pytest.approx((2 / 5, 1 / 2, 1 / 3))
