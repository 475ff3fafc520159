"""Splits of tables for detectors."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.detection_tables import Table, at_most, clean, load, names, polluted, standardised


@pytest.fixture
def table() -> Table:
    """Return 1,000 rows that hold their own number; every tenth is an anomaly."""
    return Table(np.arange(1_000, dtype=np.float64)[:, None], np.arange(1_000) % 10 == 0)


def numbers(rows: np.ndarray) -> set[int]:
    return {int(number) for number in rows[:, 0]}


def test_fewer_rows_keep_the_share_of_anomalies_and_their_labels(table: Table) -> None:
    fewer = at_most(table, 200, seed=0)

    assert len(numbers(fewer.rows)) == 200
    assert fewer.is_anomaly.sum() == 20
    assert np.array_equal(fewer.is_anomaly, fewer.rows[:, 0] % 10 == 0)


def test_one_anomaly_is_kept_however_rare_they_are(table: Table) -> None:
    rare = table._replace(is_anomaly=np.arange(1_000) == 500)

    fewer = at_most(rare, 50, seed=0)

    assert fewer.is_anomaly.sum() == 1
    assert len(fewer.rows) == 50


def test_a_table_that_is_small_enough_stays_as_it_is(table: Table) -> None:
    assert at_most(table, 1_000, seed=0) is table


def test_a_seed_chooses_the_same_rows_again_and_another_one_others(table: Table) -> None:
    first, again, other = (numbers(at_most(table, 200, seed=seed).rows) for seed in (0, 0, 1))

    assert first == again
    assert first != other


def test_clean_trains_on_half_of_the_normal_rows_and_tests_on_all_others(table: Table) -> None:
    split = clean(table, 0)

    train, test = numbers(split.train), numbers(split.test)
    assert len(train) == 450
    assert not any(number % 10 == 0 for number in train)
    assert train | test == set(range(1_000))
    assert not train & test
    assert np.array_equal(split.is_anomaly, split.test[:, 0] % 10 == 0)
    assert not split.scores_own_rows


def test_clean_halves_follow_the_seed(table: Table) -> None:
    assert numbers(clean(table, 0).train) == numbers(clean(table, 0).train)
    assert numbers(clean(table, 0).train) != numbers(clean(table, 1).train)


def test_polluted_fits_and_scores_every_row(table: Table) -> None:
    split = polluted(table, 0)

    assert split.train is table.rows
    assert split.test is table.rows
    assert split.scores_own_rows


def test_columns_are_standardised_by_the_training_rows_alone() -> None:
    train, test = standardised(np.asarray([[0.0, 7.0], [2.0, 7.0]]), np.asarray([[3.0, 9.0]]))

    np.testing.assert_allclose(train, [[-1, 0], [1, 0]])
    np.testing.assert_allclose(test, [[2, 2]])


def test_tables_are_found_by_number_and_read_as_float64(tmp_path: Path) -> None:
    for name in ("10_ten", "9_nine"):
        np.savez(tmp_path / f"{name}.npz", X=np.asarray([[1, 2], [3, 4]], np.uint8), y=np.asarray([0, 1]))

    table = load(tmp_path, "10_ten")

    assert names(tmp_path) == ["9_nine", "10_ten"]
    assert table.rows.dtype == np.float64
    assert table.is_anomaly.tolist() == [False, True]


def test_a_folder_without_tables_ends_with_a_word_on_where_they_are_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="--data or AEPIPE_ADBENCH_DATA"):
        names(tmp_path)
