"""Calibration of the alarm for cells by training rows: when they join, and the folds that they are in."""

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import binom

from aepipe.jobs.train.cell_calibration import LEVEL, score_higher
from aepipe.jobs.train.split import blocks_of, folds_of
from tests.support.columns import schema_of


def test_scores_of_one_source_are_seldom_taken_for_higher_ones() -> None:
    generator = np.random.default_rng(0)

    found = [score_higher(generator.exponential(size=200), generator.exponential(size=700)) for _ in range(1_000)]

    assert sum(found) <= binom(1_000, LEVEL).ppf(0.999)


def test_a_shift_and_a_heavier_tail_are_found_and_lower_scores_are_not() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.exponential(size=200), generator.exponential(size=700)
    few = np.where(np.arange(200) < 15, 9.0, first)

    assert score_higher(first + 0.5, second)
    assert score_higher(few, second)
    assert not score_higher(second, first + 0.5)


def test_no_training_rows_calibrate_nothing() -> None:
    assert score_higher(np.ones(3), np.zeros(0))


def test_equal_scores_are_not_higher() -> None:
    assert not score_higher(np.ones(200), np.ones(700))


def test_folds_of_rows_with_an_event_time_are_spans_of_it() -> None:
    order = np.random.default_rng(0).permutation(100)
    table = pa.table({"at": order, "x": np.zeros(100)})
    schema = schema_of(table, event_time="at")

    folds = blocks_of(schema, table, folds=10)

    assert folds.tolist() == (order // 10).tolist()


@pytest.mark.parametrize("keys", [(), ("id",)])
def test_folds_without_an_event_time_are_those_of_the_models(keys: tuple[str, ...]) -> None:
    table = pa.table({"id": np.arange(100) // 4, "x": np.zeros(100)})
    schema = schema_of(table, keys=keys)

    assert blocks_of(schema, table, folds=10).tolist() == folds_of(schema, table, folds=10).tolist()
