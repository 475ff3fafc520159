"""Progress on standard error: a bar per stage on a terminal, a line per stage elsewhere."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

from aepipe.cli.console import say
from aepipe.progress import Progress, seconds_text

FIRST_BEAT_S, BEAT_S = 20.0, 60.0
"""A stage that lasts longer writes a line after the first, and again after each of the second."""


@dataclass
class Stage:
    """Stage in progress; a stage that begins before this one has made progress is part of it."""

    name: str
    began: float
    share: float = 0.0
    rows: int = 0
    ended: float | None = None
    """when the share reached 1; rows may be counted after that"""
    inner: set[str] = field(default_factory=set)

    def remaining_s(self, now: float) -> float | None:
        """Seconds until the end at the speed so far; None if nothing is done yet."""
        return (now - self.began) * (1 - self.share) / self.share if self.share > 0 else None


class View(Protocol):
    """Display of stages."""

    def update(self, stage: Stage) -> None:
        """Show the progress of a stage."""

    def end(self, stage: Stage) -> None:
        """Show that a stage is done."""


class StageTracker:
    """Progress callback that tells stages apart: one is shown at a time."""

    def __init__(self, view: View, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._view = view
        self._clock = clock
        self._stage: Stage | None = None
        self._changing = threading.RLock()

    def __call__(self, name: str, share: float) -> None:
        """Report the completed share of a stage."""
        with self._changing:
            stage = self._current(name)
            if name == stage.name:
                stage.share = max(stage.share, share)
            stage.ended = self._clock() if stage.share >= 1.0 else None
            self._view.update(replace(stage, share=min(1.0, max(stage.share, share))))

    def count_rows(self, name: str, rows: int) -> None:
        """Report the number of rows of a stage."""
        with self._changing:
            self._current(name).rows = rows

    def close(self) -> None:
        """End the stage in progress."""
        with self._changing:
            stage, self._stage = self._stage, None
            if stage is not None:
                stage.ended = stage.ended or self._clock()
                self._view.end(stage)

    def _current(self, name: str) -> Stage:
        """Return the stage that a report belongs to; begin one if needed."""
        stage = self._stage
        if stage is not None and name != stage.name and name not in stage.inner:
            if stage.share == 0.0:
                stage.inner.add(name)
            else:
                self.close()
        if self._stage is None:
            self._stage = Stage(name, self._clock())
            self._view.update(self._stage)
        return self._stage


class StageLines:
    """One line at the end of each stage, and one per minute of a long stage."""

    def __init__(self, write: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._stage: Stage | None = None
        self._next_beat = 0.0
        self._writing = threading.Lock()

    def update(self, stage: Stage) -> None:
        """Remember the progress of a stage."""
        with self._writing:
            if self._stage is None or self._stage.began != stage.began:
                self._next_beat = stage.began + FIRST_BEAT_S
            self._stage = stage

    def end(self, stage: Stage) -> None:
        """Write the rows and seconds of a stage."""
        with self._writing:
            self._stage = None
            self._write(f"  {stage.name}: {_rows(stage)}{seconds_text((stage.ended or self._clock()) - stage.began)}")

    def beat(self) -> None:
        """Write a line if the stage in progress has been silent for long."""
        with self._writing:
            stage, now = self._stage, self._clock()
            if stage is None or stage.ended is not None or now < self._next_beat:
                return
            self._next_beat = now + BEAT_S
            left = stage.remaining_s(now)
            parts = [f"{100 * stage.share:.0f} %" if left is not None else "working", seconds_text(now - stage.began)]
            if left is not None:
                parts.append(f"about {seconds_text(left)} left")
            self._write(f"  {stage.name}: {_rows(stage)}{', '.join(parts)}")


class StageBars:
    """One bar per stage, with rows and remaining time; without the bar on a narrow terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            ProgressColumn,
            TaskID,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        console = Console(stderr=True)
        columns: list[ProgressColumn] = [
            TextColumn("{task.description}", markup=False),
            TextColumn("{task.percentage:>3.0f} %"),
        ]
        if console.width >= 60:
            columns[1:1] = [BarColumn()]
            columns += [TimeElapsedColumn(), TimeRemainingColumn()]
        self.bars = Progress(*columns, console=console)
        self._tasks: dict[float, TaskID] = {}

    def update(self, stage: Stage) -> None:
        """Draw the share of a stage."""
        if stage.began not in self._tasks:
            self._tasks[stage.began] = self.bars.add_task(stage.name, total=1.0)
        text = f"{stage.name}, {stage.rows:,} rows" if stage.rows else stage.name
        self.bars.update(self._tasks[stage.began], completed=stage.share, description=text)

    def end(self, stage: Stage) -> None:
        """Draw a full bar."""
        self.update(replace(stage, share=1.0))


@contextmanager
def stage_bars() -> Iterator[Progress]:
    """Yield a callback that draws one bar per stage on standard error."""
    view = StageBars()
    tracker = StageTracker(view)
    with view.bars:
        yield tracker
        tracker.close()


@contextmanager
def stage_lines() -> Iterator[Progress]:
    """Yield a callback that writes a line per stage on standard error, and one per minute of a long stage."""
    view = StageLines(lambda line: say(line))
    tracker, done = StageTracker(view), threading.Event()

    def beat() -> None:
        while not done.wait(1.0):
            view.beat()

    thread = threading.Thread(target=beat, name="progress", daemon=True)
    thread.start()
    try:
        yield tracker
        tracker.close()
    finally:
        done.set()
        thread.join()


def _rows(stage: Stage) -> str:
    return f"{stage.rows:,} rows, " if stage.rows else ""
