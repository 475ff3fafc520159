"""Page of an augmentation experiment: synthetic rows compared with class weights and copies."""

from dataclasses import dataclass
from typing import NamedTuple

from aepipe.quality.augmentation import SYNTHETIC, Augmentation
from aepipe.report import formatting
from aepipe.report.render import environment


@dataclass(frozen=True, kw_only=True)
class AugmentPage:
    """Content of the page; `command` samples the same rows."""

    job: str
    model_version: str
    column: str
    value: str
    drawn: int
    command: str
    found: Augmentation


class ArmRow(NamedTuple):
    """One training set, as texts; each cell is a value and its interval."""

    name: str
    is_ours: bool
    rows: str
    rare: str
    cells: tuple[tuple[str, str], ...]


def render_augmentation(page: AugmentPage) -> str:
    """Render the page as HTML; equal pages give equal bytes."""
    rows = [
        ArmRow(
            name=arm.name,
            is_ours=arm.name == SYNTHETIC,
            rows=formatting.count(arm.rows),
            rare=formatting.count(arm.rare),
            cells=(
                *(
                    (formatting.number(m.value), f"{formatting.number(m.low)} to {formatting.number(m.high)}")
                    for m in (arm.average_precision, arm.auroc, arm.recall_of_as_many, arm.recall)
                ),
                (formatting.number(arm.precision), ""),
            ),
        )
        for arm in page.found.arms
    ]
    return environment().get_template("augment.html").render(page=page, found=page.found, rows=rows)
