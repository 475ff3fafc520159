"""Progress lines and stages, with a clock set by hand."""

import pytest
from rich.console import Console

from aepipe.cli.stage_progress import Stage, StageLines, StageTracker, stage_bars
from aepipe.progress import count_rows, no_progress, of_stage


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Screen:
    """Lines of a run and the clock that times it."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.clock = Clock()
        self.view = StageLines(self.lines.append, clock=self.clock)
        self.progress = StageTracker(self.view, clock=self.clock)

    def after(self, seconds: float, stage: str, share: float) -> None:
        self.clock.now += seconds
        self.progress(stage, share)
        self.view.beat()

    def closed(self) -> list[str]:
        self.clock.now += 100
        self.progress.close()
        return self.lines


def test_a_stage_is_one_line_with_rows_and_seconds() -> None:
    screen = Screen()

    screen.after(0, "read", 0.0)
    screen.progress.count_rows("read", 12_345)
    screen.after(2, "read", 1.0)

    assert screen.closed() == ["  read: 12,345 rows, 2.0 s"]


def test_a_long_stage_says_now_and_then_how_long_it_will_take() -> None:
    screen = Screen()

    for _ in range(101):
        screen.after(1, "train", screen.clock.now / 400 - 0.25)
    screen.after(1, "train", 1.0)

    assert screen.lines[0] == "  train: 5 %, 20 s, about 6 min 20 s left"
    assert screen.lines[1] == "  train: 20 %, 1 min 20 s, about 5 min 20 s left"
    assert screen.closed()[2:] == ["  train: 1 min 41 s"]


def test_a_long_stage_without_progress_is_not_silent() -> None:
    screen = Screen()

    screen.after(0, "evaluate", 0.0)
    screen.clock.now += 30
    screen.view.beat()

    assert screen.lines == ["  evaluate: working, 30 s"]


def test_a_stage_within_a_stage_gives_it_its_share() -> None:
    screen = Screen()

    screen.after(0, "train", 0.0)
    for epoch in range(1, 5):
        screen.after(10, "training", epoch / 10)
    screen.after(1, "train", 1.0)

    assert screen.closed() == ["  train: 20 %, 20 s, about 1 min 20 s left", "  train: 41 s"]


def test_a_stage_that_never_ends_gives_way_to_the_next() -> None:
    screen = Screen()

    screen.after(0, "sample", 0.5)
    screen.after(3, "quality", 0.0)
    screen.after(4, "quality", 1.0)

    assert screen.closed() == ["  sample: 3.0 s", "  quality: 4.0 s"]


def test_partitions_are_one_stage_with_the_rows_of_all() -> None:
    screen = Screen()
    progress = of_stage(screen.progress, "score")

    assert progress is not None
    for night in range(31):
        progress(f"dt=2026-01-{night + 1:02d}", night / 31)
        count_rows(progress, f"dt=2026-01-{night + 1:02d}", 1_000)
    progress("dt=2026-01-31", 1.0)
    count_rows(progress, "dt=2026-01-31", 2_000)

    assert screen.closed() == ["  score: 32,000 rows, 0.0 s"]


def test_rows_are_optional_for_a_callback() -> None:
    count_rows(no_progress, "score", 5)
    count_rows(None, "score", 5)
    assert of_stage(None, "score") is None


@pytest.mark.parametrize(("width", "has_bar"), [("40", False), ("100", True)])
def test_bars_leave_room_for_the_text(monkeypatch: pytest.MonkeyPatch, width: str, has_bar: bool) -> None:
    monkeypatch.setenv("COLUMNS", width)
    assert Console(stderr=True).width == int(width)

    with stage_bars() as progress:
        progress("score", 0.5)
        columns = [type(column).__name__ for column in progress._view.bars.columns]  # type: ignore[attr-defined]

    assert ("BarColumn" in columns) == has_bar


def test_remaining_time_needs_progress() -> None:
    assert Stage("score", 0.0).remaining_s(5.0) is None
    assert Stage("score", 0.0, share=0.25).remaining_s(5.0) == pytest.approx(15.0)
