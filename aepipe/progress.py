"""Progress callback type, independent of any UI."""

from collections.abc import Callable

Progress = Callable[[str, float], None]
"""Callback that receives the current stage and the completed share, 0 to 1."""


def no_progress(what: str, share: float) -> None:
    """Ignore progress."""
