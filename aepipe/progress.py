"""Progress callback type, independent of any UI."""

from collections.abc import Callable

Progress = Callable[[str, float], None]
"""Callback that receives the current stage and the completed share, 0 to 1. It may have the method of `count_rows`."""


def no_progress(what: str, share: float) -> None:
    """Ignore progress."""


def count_rows(progress: Progress | None, stage: str, rows: int) -> None:
    """Report the number of rows of a stage to a callback that counts them; call it before the stage ends."""
    count = getattr(progress, "count_rows", None)
    if count is not None:
        count(stage, rows)


def seconds_text(seconds: float) -> str:
    """Return a duration for people.

    >>> [seconds_text(value) for value in (0.04, 9.96, 75, 7260)]
    ['0.0 s', '10 s', '1 min 15 s', '2 h 1 min']
    """
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class StageParts:
    """Callback that reports the parts of a stage, such as partitions, under the name of the stage."""

    def __init__(self, progress: Progress, stage: str) -> None:
        self._progress = progress
        self._stage = stage
        self._rows: dict[str, int] = {}

    def __call__(self, part: str, share: float) -> None:
        """Report the completed share of the stage."""
        self._progress(self._stage, share)

    def count_rows(self, part: str, rows: int) -> None:
        """Report the rows of all parts so far."""
        self._rows[part] = rows
        count_rows(self._progress, self._stage, sum(self._rows.values()))


def of_stage(progress: Progress | None, stage: str) -> Progress | None:
    """Return a callback that reports all parts under the name of the stage; None without a callback."""
    return None if progress is None else StageParts(progress, stage)
