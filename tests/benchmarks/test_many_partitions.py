"""The driver of a run with many partitions: one result each, and memory for little more than the results."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aepipe.batch.score_settings import ScoreSettings
from aepipe.tables.partitions import Partition
from benchmarks.many_partitions import run_fleet, run_threads


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
