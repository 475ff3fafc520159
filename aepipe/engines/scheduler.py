"""Who does what next: partitions that nobody began, then running ones that take help."""

import threading
from collections.abc import Sequence

from aepipe.batch.partition_scorer import PartitionResult, Scoring
from aepipe.progress import Progress


class PartitionScheduler:
    """The partitions of a run, for the threads of one process.

    in_turn: one begins when the one before has ended. at_once: so many are read at a time at most, none: any number.
    Others may have begun: they are digested, wait for another process, or commit.
    """

    def __init__(
        self,
        names: Sequence[str],
        progress: Progress | None = None,
        *,
        in_turn: bool = False,
        at_once: int | None = None,
    ) -> None:
        self._names = names
        self._in_turn = in_turn
        self._at_once = at_once or len(names)
        self._entered: set[int] = set()
        self._progress = progress
        self._shares = [0.0] * len(names)
        self._results: list[PartitionResult | None] = [None] * len(names)
        self._begun = 0
        self._running: list[Scoring] = []
        self._error: BaseException | None = None
        self._failed: Exception | None = None
        self._changed = threading.Condition()
        self._telling = threading.Lock()

    def take(self) -> int | Scoring | None:
        """The index of a partition to begin, or a scoring to help with; waits for one. None when all is done."""
        with self._changed:
            while self._error is None:
                if self._begun < len(self._names) and self._is_free:
                    self._begun += 1
                    return self._begun - 1
                scoring = next(iter(self._read_now), None)
                if scoring is not None or all(self._results):
                    return scoring
                self._changed.wait()
            return None

    @property
    def _is_free(self) -> bool:
        """Whether a partition may begin: where they take turns, when all that were begun have ended."""
        return not self._in_turn or all(self._results[: self._begun])

    def enters(self, index: int) -> bool:
        """Whether there is room to read this partition now, which then is taken."""
        with self._changed:
            has_room = len(self._entered) + len(self._read_now) < self._at_once
            if has_room:
                self._entered.add(index)
            return has_room

    def enter(self, index: int) -> Scoring | None:
        """None: there is room, and it is taken. Else a scoring to help with before asking again; waits for one.

        Raises what has stopped the run, if anything has.
        """
        with self._changed:
            while self._error is None:
                if self.enters(index):
                    return None
                if reading := self._read_now:
                    return reading[0]
                self._changed.wait()
            raise self._error

    @property
    def _read_now(self) -> list[Scoring]:
        return [scoring for scoring in self._running if scoring.takes_help]

    def announce(self, index: int, scoring: Scoring) -> None:
        """From now on others may help with this partition."""
        with self._changed:
            self._entered.discard(index)
            self._running = [*self._read_now, scoring]
            self._changed.notify_all()
            if self._error is not None:
                scoring.stop(self._error)

    def check(self) -> None:
        """Raises what has stopped the run, if anything has: for work that is not announced yet."""
        if self._error is not None:
            raise self._error

    def advance(self, index: int, share: float) -> None:
        """Tells the progress: this share of a partition is done."""
        if self._progress is not None:
            with self._telling:
                self._shares[index] = share
                self._progress(self._names[index], sum(self._shares) / len(self._shares))

    def end(self, index: int, result: PartitionResult) -> None:
        """A partition has its result."""
        self.advance(index, 1.0)
        with self._changed:
            self._entered.discard(index)
            self._results[index] = result
            self._changed.notify_all()

    def fail(self, index: int, error: Exception) -> None:
        """A partition has no result; the others go on, and `results` raises the error."""
        self._failed = self._failed or error
        self.end(index, PartitionResult(self._names[index], "quarantined", reason=str(error)))

    def stop(self, error: BaseException) -> None:
        """Nothing more is begun, and what is running ends with this error after the blocks that are at work."""
        with self._changed:
            self._error = self._error or error
            for scoring in self._running:
                scoring.stop(error)
            self._changed.notify_all()

    def results(self) -> list[PartitionResult]:
        """Of every partition, in order, when all are done. Raises what made one fail."""
        if self._failed is not None:
            raise self._failed
        return [result for result in self._results if result is not None]
