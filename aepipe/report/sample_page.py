"""Page of a set of synthetic rows: quality checks, column distributions and limits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from markupsafe import Markup

from aepipe.quality.checks import CheckReport
from aepipe.quality.column_moments import ColumnMoments
from aepipe.quality.stylised_facts import StylisedFacts, fact_names, fact_values
from aepipe.report import formatting
from aepipe.report.figures import column_distributions
from aepipe.report.figures.pair_heatmap import draw_pair_heatmap
from aepipe.report.render import environment, gallery

MOST_FIGURES = 5
MOST_PAIRS = 10
MOST_CELLS = 12
"""Columns of the least plausible rows that are shown."""
LEAST_LOSS = 0.005
NO_GUARANTEE = "no privacy guarantee"


@dataclass(frozen=True, kw_only=True)
class SamplePage:
    """Content of the page.

    Attributes:
        real: modelled columns of the held-out rows.
        synthetic: modelled columns of the set.
        condition: description of conditions and shares; empty for unconditional samples.
        privacy: epsilon and delta of the weights; None without differential privacy.
        rejected: number of rejected rows, by constraint.
        relations: title, and share of training, held-out and synthetic rows in which it holds.
        facts: name of a column or channel, its stylised facts among synthetic, then among real rows.
        images: (N, C, H, W), 0 to `top`; `real_images` likewise.
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
    condition: str = ""
    privacy: tuple[float, float] | None = None
    rejected: Mapping[str, int] = field(default_factory=dict)
    relations: Sequence[tuple[str, float, float, float]] = ()
    facts: Sequence[tuple[str, StylisedFacts, StylisedFacts]] = ()
    images: np.ndarray | None = None
    real_images: np.ndarray | None = None
    top: int = 255


def describe_privacy(epsilon: float, delta: float) -> str:
    """Name the guarantee of the weights.

    >>> describe_privacy(2.9981, 1e-6)
    'differential privacy of the weights (epsilon 2.998, delta 1e-06), not of the encoding'
    """
    return f"differential privacy of the weights (epsilon {epsilon:.4g}, delta {delta:.2g}), not of the encoding"


class CheckLine(NamedTuple):
    """One check as texts."""

    title: str
    value: str
    chance: str
    real: str
    threshold: str
    status: str
    is_failed: bool
    note: str


def _fact_cells(name: str, synthetic: StylisedFacts, real: StylisedFacts) -> tuple[str, ...]:
    """Return the name of a column and its stylised facts as texts: synthetic and real, in turn."""
    pairs = zip(fact_values(synthetic), fact_values(real), strict=True)
    return (name, *(formatting.number(value) for pair in pairs for value in pair))


def _moment_cells(column: ColumnMoments) -> tuple[str, ...]:
    """Return the name of a number and its moments as texts: synthetic and real, in turn."""
    pairs = [
        (column.synthetic.mean, column.real.mean),
        (column.synthetic.deviation, column.real.deviation),
        *zip(column.synthetic.quantiles, column.real.quantiles, strict=True),
    ]
    cells = [formatting.number(value) for pair in pairs for value in pair]
    return (column.name, *cells, *map(formatting.percent, (column.synthetic.missing, column.real.missing)))


def render_sample_page(page: SamplePage) -> str:
    """Render the page as HTML; equal pages give equal bytes."""
    found = page.quality
    compared = page.images is None and found.measures.shapes is not None
    columns = column_distributions.compare_columns(page.real, page.synthetic) if compared else []
    step = column_distributions.MOST_COLUMNS
    shown = min(len(columns), MOST_FIGURES * step)
    trends = found.measures.trends
    heat = Markup(draw_pair_heatmap(trends.names, trends.similarity)) if trends and len(trends.names) > 1 else None
    used = () if found.measures.two_sample is None else found.measures.two_sample.used
    return (
        environment()
        .get_template("samples.html")
        .render(
            page=page,
            checks=[
                CheckLine(
                    title=check.title,
                    value=formatting.number(check.value),
                    chance=""
                    if check.low is None
                    else f"{formatting.number(check.low)} to {formatting.number(check.high)}",
                    real=formatting.number(check.real) if check.real is not None else formatting.NONE,
                    threshold=check.threshold or formatting.NONE,
                    status="reported only" if check.is_met is None else "passed" if check.is_met else "failed",
                    is_failed=check.is_met is False,
                    note=check.note,
                )
                for check in found.checks
            ],
            missed=found.failed_checks,
            bars=sum(check.is_met is not None for check in found.checks),
            guarantee=NO_GUARANTEE if page.privacy is None else describe_privacy(*page.privacy),
            figures=[
                Markup(column_distributions.draw_distributions(columns[start : start + step], name=f"columns{start}"))
                for start in range(0, shown, step)
            ],
            shown=shown,
            of=len(columns),
            heat=heat,
            worst=None if trends is None else trends.worst,
            pairs=_list_broken_pairs(found),
            attacks=_list_attacks(found),
            used=[(name, formatting.number(loss)) for name, loss in used if loss > LEAST_LOSS],
            implausible=_list_implausible_rows(page) if compared else None,
            reduced=_list_reduced_columns(found),
            explanations=explain_checks(found),
            relations=[(title, *map(formatting.percent, shares)) for title, *shares in page.relations],
            fact_names=fact_names(),
            facts=[_fact_cells(*line) for line in page.facts],
            moments=[_moment_cells(each) for each in found.measures.moments],
            pictures=[] if page.images is None else gallery(page.images, page.top),
            real=[] if page.real_images is None else gallery(page.real_images, page.top),
        )
    )


def explain_checks(quality: CheckReport) -> list[tuple[str, str]]:
    """Explain what each check shows, and its limits."""
    texts = {
        "copies": "Share of rows equal to a training row in every column. Some held-out rows are too, by chance; the"
        " threshold allows their rate.",
        "near_copies": "Share of rows that equal a training row in every category and, up to the precision of the"
        " column, in every number: half its least step, 0.2 % of the value or 1 % of its spread, or three or ten times"
        " that. Some real rows are near another training row too; the threshold allows their rate. The scale with the"
        " largest excess is shown.",
        "closeness": "Share of synthetic rows whose nearest real row is a training row, among equal numbers of training"
        " and held-out rows. A model that generalises reaches one half. Individual rows may still be memorised when the"
        " share is 0.5.",
        "membership": "AUROC of attacks that tell training rows from held-out rows by the synthetic rows:"
        " 0.5 is chance. The lower end of the interval is compared with the threshold. Stronger attacks may exist; rows"
        " outside the sample may be exposed.",
        "exposed": "Share of training rows that score above 99 % of the held-out rows in the strongest attack: 0.01 is"
        " chance. It finds a few memorised rows, which the AUROC does not.",
        "latents": "Nats that the latents of a row say about it, of rows that training did not have. Near 0 a text does"
        " not depend on the latents, and so not on the other columns of its row.",
        "shapes": "1 minus the Kolmogorov-Smirnov distance of a number or a time, 1 minus the total variation of a"
        " category, mean over columns. It ignores dependence between columns.",
        "trends": "1 minus half the difference of two correlations, or 1 minus the total variation of two columns'"
        " joint table, numbers in ten bins; mean over pairs. It ignores dependence of three or more columns.",
        "trees": "AUROC of boosted trees that classify rows as synthetic or held-out: 0.5 is chance, 1 perfect"
        " separation. They detect dependence of several columns, and details such as rounding.",
        "logistic": "The same with a logistic regression, which considers each column separately.",
        "coverage": "Share of held-out rows with a synthetic row within the distance of their fifth nearest real row:"
        " low if part of the real distribution is missing.",
        "moments": "Largest error of the mean of a number, in standard deviations, or of the logarithm of its standard"
        " deviation, beyond four standard errors; real rows have 0. It ignores dependence between columns.",
        "loss": "Loss of a classifier or regressor of one column when trained on synthetic instead of real rows, both"
        " tested on held-out rows. It is specific to this column and learner.",
        "frechet": "Distance between synthetic and held-out rows, both approximated by Gaussians: of images in the"
        " features of a fixed random network, so that models are comparable; of windows in the features of the model,"
        " which hide what the encoder does not represent.",
    }
    return [(check.title, texts[check.key]) for check in quality.checks]


def _list_broken_pairs(quality: CheckReport) -> list[tuple[str, str, str, str]]:
    """Return the least similar pairs of columns, their similarity, and the similarity of real rows."""
    trends, real = quality.measures.trends, quality.measures.real_baseline
    if trends is None or real is None or real.pairs is None:
        return []
    at = {name: index for index, name in enumerate(trends.names)}
    return [
        (
            first,
            second,
            formatting.number(similarity),
            formatting.number(float(real.pairs.similarity[at[first], at[second]])),
        )
        for first, second, similarity in trends.lowest(MOST_PAIRS)
    ]


def _list_attacks(quality: CheckReport) -> list[tuple[str, str, str, str, str]]:
    """Return the attacks of the membership audit: name, AUROC, its interval, share found, its interval."""
    audit = quality.measures.membership
    found = []
    for attack in () if audit is None else audit.attacks:
        cells = [
            cell
            for interval in (attack.auroc, attack.found)
            for cell in (
                formatting.number(interval.value),
                f"{formatting.number(interval.low)} to {formatting.number(interval.high)}",
            )
        ]
        found.append((attack.name, cells[0], cells[1], cells[2], cells[3]))
    return found


class ImplausibleRows(NamedTuple):
    """Columns, most used by the classifier first; rows with the probability of being synthetic and the values."""

    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]


def _list_implausible_rows(page: SamplePage) -> ImplausibleRows | None:
    """Return the synthetic rows that the classifier is most certain about."""
    two_sample = page.quality.measures.two_sample
    if two_sample is None or not two_sample.least_plausible:
        return None
    used = [name for name, _ in two_sample.used if name in page.synthetic.column_names]
    names = list(dict.fromkeys([*used, *page.synthetic.column_names]))[:MOST_CELLS]
    rows = page.synthetic.select(names).take([each.row for each in two_sample.least_plausible]).to_pylist()
    return ImplausibleRows(
        names,
        [
            (formatting.percent(each.probability), [formatting.cell(row[name], most=40) for name in names])
            for each, row in zip(two_sample.least_plausible, rows, strict=True)
        ],
    )


def _list_reduced_columns(quality: CheckReport) -> list[tuple[str, str]]:
    """Return the columns with fewer values or a narrower range than the real ones, worst first."""
    coverage = quality.measures.coverage
    if coverage is None:
        return []
    kinds = ((coverage.values, "of its values"), (coverage.ranges, "of its range"))
    found = [(share, name, kind) for shares, kind in kinds for name, share in shares.items() if share < 0.995]
    return [(name, f"{formatting.percent(share)} {kind}") for share, name, kind in sorted(found)[:20]]
