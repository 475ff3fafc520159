"""Explanation of a score, as commands return it."""

from pathlib import Path
from typing import Literal

from aepipe.jobs.results import Result


class ColumnLine(Result):
    """Column, region of an image or span of steps."""

    name: str
    read: str
    """of a table, the value in the source; of others empty, as is `expected`"""
    expected: str
    z: float | None
    """how far it is above the usual; None where the row cannot be scored, or the job asks for no reasons"""
    rank: int | None
    """1 for the first of the reasons that nights are written with; None for what is no reason"""
    why: str = ""
    """what is unusual about the value of a reason or of the most unusual cell, in words"""


class StepLine(Result):
    """Step of a series: channels of the source and of the reconstruction."""

    step: int
    read: tuple[float | None, ...]
    expected: tuple[float | None, ...]
    time: str = ""
    """of a step of a series job; empty for a missing one"""
    known: tuple[float | None, ...] = ()
    """the same step of the nearest known window, of a series job"""
    share: float | None = None
    """in the squared difference between the window and the nearest known one, of a series job"""


class Heat(Result):
    """Regions of an image, row by row, each with the z-score of its loss."""

    side: int
    """of a region, in pixels"""
    z: tuple[tuple[float, ...], ...]


class WindowLine(Result):
    """Window of a series: its first and last step, as texts, and its score."""

    first: str
    last: str
    score: float


class KnownWindowLine(Result):
    """Known window that another one is nearest to."""

    first: str
    """empty where the order of steps is not time"""
    last: str
    distance: float
    """root mean squared difference in standard deviations"""
    is_past: bool
    """of the recent past of the series; False: of the training rows"""


class PointLine(Result):
    """Point of a series job; channels, steps and terms of an explanation are about its highest window."""

    entity: str
    windows: tuple[WindowLine, ...]
    """all that contain the point, in the order of time; its score is their mean"""
    highest: int
    """index of the highest one in `windows`"""
    terms: dict[str, float]
    """of its score: nearest (distance to the nearest known window), model (residual), deviation"""
    known: KnownWindowLine | None


class Explanation(Result):
    """Explanation of one row; `columns` holds its reasons first, then the others by attribution.

    Of a point of a series job, `columns` are channels and `z` is the root mean squared difference between the steps of
    its highest window and their reconstruction, in standard deviations of the training rows.
    """

    row: str
    kind: Literal["table", "image", "series", "point"]
    model_version: str
    score: float | None
    p_value: float | None
    threshold: float
    alpha: float
    is_anomaly: bool
    cell: str | None
    """column of the most unusual cell; None for a model without an alarm for cells"""
    cell_p_value: float | None
    is_cell_anomaly: bool
    invalid_reason: str | None
    columns: tuple[ColumnLine, ...]
    heat: Heat | None
    steps: tuple[StepLine, ...]
    picture: Path | None
    point: PointLine | None = None
