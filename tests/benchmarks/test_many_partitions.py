"""Driver of a run with many partitions: one result each, and little memory beyond the results."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aepipe.batch.score_settings import ScoreSettings
from aepipe.tables.partitions import Partition
from benchmarks.many_partitions import measure_night, night_lines, run_fleet, run_threads
from benchmarks.waiting import Step


def test_the_table_of_a_night_has_medians_per_partition() -> None:
    turns = [Step(0.020, 0.040), Step(0.010, 0.020), Step(0.030, 0.090)]

    text = list(night_lines({("1", "before"): turns, ("1", "now"): turns[:1] * 3}, partitions=1_000))

    assert text[0].startswith("1,000 partitions of 900 rows and 13 columns")
    assert text[-2:] == ["| 1 | before | 20.0 | 40.0 |", "| 1 | now | 20.0 | 40.0 |"]


@pytest.mark.slow
def test_a_night_is_scored_by_each_checkout_in_turn(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]

    found = measure_night(tmp_path, {"before": root, "now": root}, partitions=3, turns=2, rows=60)

    assert list(found) == [("1", "before"), ("1", "now"), ("all", "before"), ("all", "now")]
    assert all(len(steps) == 2 and all(step.cpu > 0 and step.wall > 0 for step in steps) for steps in found.values())


@pytest.mark.slow
@pytest.mark.parametrize("run", [run_threads, run_fleet])
def test_ten_thousand_partitions_cost_the_driver_a_few_kilobytes_each(run: Callable[..., Any], tmp_path: Path) -> None:
    partitions = [Partition(f"part={index:05d}", ()) for index in range(10_000)]

    tracemalloc.start()
    results = run(partitions, ScoreSettings(tmp_path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert [result.partition for result in results] == [partition.name for partition in partitions]
    assert peak < 5_000 * len(partitions)
