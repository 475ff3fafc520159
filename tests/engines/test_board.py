"""What there is to do, and what is told of it."""

import pytest

from aepipe.batch.scorer import PartitionResult
from aepipe.engines.board import Board
from aepipe.errors import Busy


def written(name: str) -> PartitionResult:
    return PartitionResult(name, "written")


def test_partitions_are_begun_in_their_order_and_none_is_left_when_all_have_results() -> None:
    board = Board(["a", "b"])

    assert [board.take(), board.take()] == [0, 1]
    board.end(1, written("b"))
    board.end(0, written("a"))

    assert board.take() is None
    assert [result.partition for result in board.results()] == ["a", "b"]


def test_progress_is_the_mean_of_the_shares() -> None:
    told: list[tuple[str, float]] = []
    board = Board(["a", "b"], lambda what, share: told.append((what, share)))

    board.advance(0, 0.5)
    board.end(1, written("b"))
    board.end(0, written("a"))

    assert told == [("a", 0.25), ("b", 0.75), ("a", 1.0)]


def test_after_a_failure_the_others_go_on_and_the_error_comes_at_the_end() -> None:
    board = Board(["a", "b"])

    board.fail(0, Busy("a is held"))
    board.take()

    assert board.take() == 1
    board.end(1, written("b"))
    assert board.take() is None
    with pytest.raises(Busy, match="a is held"):
        board.results()


def test_once_stopped_nothing_is_begun_and_who_asks_is_told() -> None:
    board = Board(["a", "b"])

    board.check()
    board.stop(KeyboardInterrupt())

    assert board.take() is None
    with pytest.raises(KeyboardInterrupt):
        board.check()
