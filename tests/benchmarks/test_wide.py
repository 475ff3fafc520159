"""Generated table with very many columns: its shape, rare flags, and topics that differ for anomalies."""

import numpy as np

from benchmarks.wide import ANOMALIES, FLAGS, NORMAL, NUMBERS, advertisements


def test_a_table_has_three_sizes_and_rare_flags_and_depends_on_its_seed_alone() -> None:
    first, again, other = advertisements(0), advertisements(0), advertisements(1)

    flags = first.rows[:, NUMBERS:]
    assert first.rows.shape == (NORMAL + ANOMALIES, NUMBERS + FLAGS)
    assert first.is_anomaly.sum() == ANOMALIES
    assert set(np.unique(flags)) == {0.0, 1.0}
    assert 0.005 < flags.mean() < 0.05
    np.testing.assert_array_equal(first.rows, again.rows)
    assert not np.array_equal(first.rows, other.rows)


def test_anomalies_have_flags_that_normal_rows_hardly_have() -> None:
    table = advertisements(0)
    flags = table.rows[:, NUMBERS:]

    rates = flags[~table.is_anomaly].mean(0), flags[table.is_anomaly].mean(0)

    assert ((rates[0] < 0.02) & (rates[1] > 0.1)).sum() > 10
