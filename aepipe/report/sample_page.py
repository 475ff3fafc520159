"""One set of synthetic rows as a static HTML file: checks and bars, columns beside the real ones, and limits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from markupsafe import Markup

from aepipe.quality.checks import Check, CheckReport
from aepipe.report import formatting as wording
from aepipe.report.figures import column_distributions as marginals
from aepipe.report.figures.pair_heatmap import heat_map
from aepipe.report.render import environment, gallery

MOST_FIGURES = 5
NO_GUARANTEE = "no privacy guarantee"


@dataclass(frozen=True, kw_only=True)
class SetPage:
    """Everything that the page shows. real, synthetic: the modelled columns; images are (N, C, H, W), 0 to `top`.

    asked: what rows were asked for, in words; empty where they are as in training.
    """

    job: str
    model_version: str
    partition: str
    written_at: datetime
    rows: int
    seed: int
    quality: CheckReport
    real: pa.Table
    synthetic: pa.Table
    asked: str = ""
    rejected: Mapping[str, int] = field(default_factory=dict)
    images: np.ndarray | None = None
    real_images: np.ndarray | None = None
    top: int = 255


class CheckLine(NamedTuple):
    """One check as texts."""

    title: str
    value: str
    chance: str
    real: str
    bar: str
    verdict: str
    is_missed: bool
    note: str


def render_set(page: SetPage) -> str:
    """The page; the same SetPage gives the same bytes."""
    found = page.quality
    compared = page.images is None and found.measures.shapes is not None
    columns = marginals.marginals(page.real, page.synthetic) if compared else []
    return (
        environment()
        .get_template("samples.html")
        .render(
            page=page,
            checks=[_line(check) for check in found.checks],
            missed=found.failed_checks,
            bars=sum(check.is_met is not None for check in found.checks),
            guarantee=NO_GUARANTEE,
            figures=_figures(columns),
            shown=min(len(columns), MOST_FIGURES * marginals.MOST_COLUMNS),
            of=len(columns),
            heat=_heat(found),
            worst=None if found.measures.trends is None else found.measures.trends.worst,
            lost=_lost(found),
            meaning=meaning(found),
            pictures=[] if page.images is None else gallery(page.images, page.top),
            real=[] if page.real_images is None else gallery(page.real_images, page.top),
        )
    )


def meaning(quality: CheckReport) -> list[tuple[str, str]]:
    """What each check shows, and what it does not."""
    said = {
        "copies": "Rows that equal a training row in every column. Some real rows do too, by chance: a set may hold as"
        " many as the held-out rows allow. It says nothing of rows that are almost copies.",
        "closeness": "Each synthetic row has a nearest real row among equally many training and held-out rows. A model"
        " that learned the law and not the rows finds either as often. Single rows can be known by heart while the"
        " share stays at one half.",
        "shapes": "1 minus the Kolmogorov-Smirnov distance of a number or a time, 1 minus the total variation of a"
        " category, mean over columns. It does not see how columns hang together.",
        "trends": "1 minus half the difference of two correlations, or 1 minus the total variation of two columns'"
        " joint table, numbers in ten bins; mean over pairs. It does not see what takes three columns.",
        "trees": "Boosted trees learn to tell synthetic from held-out rows: at 0.5 they cannot, at 1 they always can."
        " They see what takes several columns, and every detail of how a number is written.",
        "logistic": "The same of a logistic regression, which sees single columns.",
        "coverage": "The share of held-out rows with a synthetic row no farther than their fifth nearest real one: low"
        " where part of what is real never comes back.",
        "loss": "A learner of one column, trained on synthetic rows and on as many real ones, both tested on held-out"
        " rows. It is about this column and this learner.",
        "frechet": "The distance of synthetic from held-out rows in the space of the model's own features, both taken"
        " for normal distributions. What the encoder does not see, it does not see.",
    }
    return [(check.title, said[check.key]) for check in quality.checks]


def _line(check: Check) -> CheckLine:
    return CheckLine(
        title=check.title,
        value=wording.number(check.value),
        chance="" if check.low is None else f"{wording.number(check.low)} to {wording.number(check.high)}",
        real=wording.number(check.real) if check.real is not None else wording.NONE,
        bar=check.threshold or wording.NONE,
        verdict="reported only" if check.is_met is None else "met" if check.is_met else "missed",
        is_missed=check.is_met is False,
        note=check.note,
    )


def _figures(columns: list[marginals.Marginal]) -> list[Markup]:
    step = marginals.MOST_COLUMNS
    starts = range(0, min(len(columns), MOST_FIGURES * step), step)
    return [Markup(marginals.figure_of(columns[at : at + step], name=f"marginals{at}")) for at in starts]


def _heat(quality: CheckReport) -> Markup | None:
    trends = quality.measures.trends
    return None if trends is None or len(trends.names) < 2 else Markup(heat_map(trends.names, trends.similarity))


def _lost(quality: CheckReport) -> list[tuple[str, str]]:
    """Columns that come back with fewer values or a narrower range, the worst first."""
    coverage = quality.measures.coverage
    if coverage is None:
        return []
    kinds = ((coverage.values, "of its values"), (coverage.ranges, "of its range"))
    found = [(share, name, what) for shares, what in kinds for name, share in shares.items() if share < 0.995]
    return [(name, f"{wording.percent(share)} {what}") for share, name, what in sorted(found)[:20]]
