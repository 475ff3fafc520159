"""Scheduling of partitions: order, slots, progress and failures."""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import cast

import pytest

from aepipe.batch.partition_scorer import PartitionScoring
from aepipe.engines.scheduler import PartitionScheduler
from aepipe.errors import Busy
from aepipe.storage import PartitionResult


def written(name: str) -> PartitionResult:
    return PartitionResult(partition=name, status="written")


def test_partitions_start_in_order_until_all_have_results() -> None:
    scheduler = PartitionScheduler(["a", "b"])

    assert [scheduler.take(), scheduler.take()] == [0, 1]
    scheduler.complete(1, written("b"))
    scheduler.complete(0, written("a"))

    assert scheduler.take() is None
    assert [result.partition for result in scheduler.results()] == ["a", "b"]


def test_worker_without_a_slot_joins_a_running_scoring() -> None:
    scheduler = PartitionScheduler(["a", "b", "c"], max_concurrent=1)
    first = cast(PartitionScoring, SimpleNamespace(has_work=True))

    assert [scheduler.take(), scheduler.take(), scheduler.take()] == [0, 1, 2]
    assert scheduler.acquire_slot(0) is None
    scheduler.register(0, first)
    assert scheduler.acquire_slot(1) is first
    first.has_work = False  # type: ignore[misc]
    assert scheduler.acquire_slot(1) is None


def test_worker_without_a_slot_waits_for_one_to_open_or_to_be_freed() -> None:
    scheduler = PartitionScheduler(["a", "b", "c"], max_concurrent=1)
    first = cast(PartitionScoring, SimpleNamespace(has_work=True))
    assert scheduler.acquire_slot(0) is None

    with ThreadPoolExecutor(2) as threads:
        waiting = threads.submit(scheduler.acquire_slot, 1)
        assert not waiting.done()
        scheduler.register(0, first)
        assert waiting.result(timeout=30) is first

        first.has_work = False  # type: ignore[misc]
        assert scheduler.acquire_slot(1) is None
        waiting = threads.submit(scheduler.acquire_slot, 2)
        scheduler.release_slot(1)
        assert waiting.result(timeout=30) is None


def test_waiting_for_a_slot_raises_once_the_run_is_stopped() -> None:
    scheduler = PartitionScheduler(["a", "b"], max_concurrent=1)
    scheduler.acquire_slot(0)

    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(scheduler.acquire_slot, 1)
        scheduler.stop(Busy("stopped"))
        with pytest.raises(Busy, match="stopped"):
            waiting.result(timeout=30)


def test_progress_is_the_mean_over_partitions() -> None:
    reported: list[tuple[str, float]] = []
    scheduler = PartitionScheduler(["a", "b"], lambda what, share: reported.append((what, share)))

    scheduler.report_progress(0, 0.5)
    scheduler.complete(1, written("b"))
    scheduler.complete(0, written("a"))

    assert reported == [("a", 0.25), ("b", 0.75), ("a", 1.0)]


def test_failure_is_raised_after_the_other_partitions() -> None:
    scheduler = PartitionScheduler(["a", "b"])

    scheduler.fail(0, Busy("a is held"))
    scheduler.take()

    assert scheduler.take() == 1
    scheduler.complete(1, written("b"))
    assert scheduler.take() is None
    with pytest.raises(Busy, match="a is held"):
        scheduler.results()


def test_stopped_scheduler_starts_nothing_and_check_raises() -> None:
    scheduler = PartitionScheduler(["a", "b"])

    scheduler.check()
    scheduler.stop(KeyboardInterrupt())

    assert scheduler.take() is None
    with pytest.raises(KeyboardInterrupt):
        scheduler.check()
