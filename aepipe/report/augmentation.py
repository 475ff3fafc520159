"""What synthetic rows of a class are worth to a learner, as a static HTML file; never shown without its rivals."""

from dataclasses import dataclass
from typing import NamedTuple

from aepipe.metrics.ranking import Interval
from aepipe.quality.augmentation import SYNTHETIC, Arm, Augmentation
from aepipe.report import formatting as wording
from aepipe.report.render import environment


@dataclass(frozen=True, kw_only=True)
class AugmentPage:
    """Everything that the page shows. command: what draws the same rows."""

    job: str
    model_version: str
    column: str
    value: str
    drawn: int
    command: str
    found: Augmentation


class ArmRow(NamedTuple):
    """One way to learn the class, as texts; each cell is a value and its interval."""

    name: str
    is_ours: bool
    rows: str
    rare: str
    cells: tuple[tuple[str, str], ...]


def render_augmentation(page: AugmentPage) -> str:
    """The page; the same AugmentPage gives the same bytes."""
    rows = [_row(arm) for arm in page.found.arms]
    return environment().get_template("augment.html").render(page=page, found=page.found, rows=rows)


def _row(arm: Arm) -> ArmRow:
    measures = (arm.average_precision, arm.auroc, arm.recall_of_as_many, arm.recall)
    cells = (*map(_cell, measures), (wording.number(arm.precision), ""))
    return ArmRow(arm.name, arm.name == SYNTHETIC, wording.count(arm.rows), wording.count(arm.rare), cells)


def _cell(interval: Interval) -> tuple[str, str]:
    return wording.number(interval.value), f"{wording.number(interval.low)} to {wording.number(interval.high)}"
