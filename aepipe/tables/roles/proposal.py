"""Proposed role of a column, and the reason."""

from typing import Literal, NamedTuple

Role = Literal["key", "label", "event_time", "ignore"]


class Proposal(NamedTuple):
    """Proposed role of a column, and the reason."""

    column: str
    role: Role
    why: str
