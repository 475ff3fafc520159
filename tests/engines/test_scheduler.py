"""What there is to do, and what is told of it."""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import cast

import pytest

from aepipe.batch.partition_scorer import PartitionResult, Scoring
from aepipe.engines.scheduler import PartitionScheduler
from aepipe.errors import Busy


def written(name: str) -> PartitionResult:
    return PartitionResult(name, "written")


def test_partitions_are_begun_in_their_order_and_none_is_left_when_all_have_results() -> None:
    board = PartitionScheduler(["a", "b"])

    assert [board.take(), board.take()] == [0, 1]
    board.end(1, written("b"))
    board.end(0, written("a"))

    assert board.take() is None
    assert [result.partition for result in board.results()] == ["a", "b"]


def test_no_more_are_read_at_a_time_than_may_be_and_who_has_no_room_helps() -> None:
    board = PartitionScheduler(["a", "b", "c"], at_once=1)
    first = cast(Scoring, SimpleNamespace(takes_help=True))

    assert [board.take(), board.take(), board.take()] == [0, 1, 2]
    assert board.enter(0) is None
    board.announce(0, first)
    assert board.enter(1) is first
    first.takes_help = False  # type: ignore[misc]
    assert board.enter(1) is None


def test_who_finds_no_room_waits_for_one_who_entered_to_need_help_or_to_end() -> None:
    board = PartitionScheduler(["a", "b", "c"], at_once=1)
    first = cast(Scoring, SimpleNamespace(takes_help=True))
    assert board.enter(0) is None

    with ThreadPoolExecutor(2) as threads:
        waiting = threads.submit(board.enter, 1)
        assert not waiting.done()
        board.announce(0, first)
        assert waiting.result(timeout=30) is first

        first.takes_help = False  # type: ignore[misc]
        assert board.enter(1) is None
        waiting = threads.submit(board.enter, 2)
        board.end(1, PartitionResult("b", "quarantined"))
        assert waiting.result(timeout=30) is None


def test_who_waits_for_room_hears_that_the_run_has_stopped() -> None:
    board = PartitionScheduler(["a", "b"], at_once=1)
    board.enter(0)

    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(board.enter, 1)
        board.stop(Busy("stopped"))
        with pytest.raises(Busy, match="stopped"):
            waiting.result(timeout=30)


def test_progress_is_the_mean_of_the_shares() -> None:
    told: list[tuple[str, float]] = []
    board = PartitionScheduler(["a", "b"], lambda what, share: told.append((what, share)))

    board.advance(0, 0.5)
    board.end(1, written("b"))
    board.end(0, written("a"))

    assert told == [("a", 0.25), ("b", 0.75), ("a", 1.0)]


def test_after_a_failure_the_others_go_on_and_the_error_comes_at_the_end() -> None:
    board = PartitionScheduler(["a", "b"])

    board.fail(0, Busy("a is held"))
    board.take()

    assert board.take() == 1
    board.end(1, written("b"))
    assert board.take() is None
    with pytest.raises(Busy, match="a is held"):
        board.results()


def test_once_stopped_nothing_is_begun_and_who_asks_is_told() -> None:
    board = PartitionScheduler(["a", "b"])

    board.check()
    board.stop(KeyboardInterrupt())

    assert board.take() is None
    with pytest.raises(KeyboardInterrupt):
        board.check()
