"""How work that takes a while says how far it is. Nothing here knows who watches."""

from collections.abc import Callable

Progress = Callable[[str, float], None]
"""Told what was just worked on, and which share of everything is done."""


def no_progress(what: str, share: float) -> None:
    """Progress that nobody asked for."""
