"""Rendering of a report page as one HTML file without external resources; all values are escaped."""

from base64 import b64encode
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from aepipe.report import formatting, pointer, sections, series, top_anomalies, traversals, what_if
from aepipe.report.compiled_templates import CompiledTemplates
from aepipe.report.figures import column_distributions, latent_map
from aepipe.report.figures import scores as figures
from aepipe.report.page_model import LatentMap, ReportPage, Samples, TopAnomalies
from aepipe.report.thumbnails import GALLERY_SIDE, picture

if TYPE_CHECKING:
    import numpy as np

MOST_PICTURES = 64


def render(page: ReportPage) -> str:
    """Render a report page as HTML; equal pages give equal bytes."""
    missing = sections.missing_sections(page)
    script = pointer.SCRIPT + what_if.SCRIPT + (series.SCRIPT if page.series else "")
    cards = top_anomalies.build_anomaly_cards(page.anomalies) if page.anomalies is not None else []
    return (
        environment()
        .get_template("report.html")
        .render(
            page=page,
            header=page.header,
            summary=sections.summarise(page.header, page.partitions),
            tiles=sections.build_tiles(page.partitions),
            quarantined=[line for line in page.partitions if line.status == "quarantined"],
            titles=sections.TITLES,
            script=Markup(script),
            policy=content_policy(str(environment().globals["style_sheet"]), script),
            absent=missing,
            sections=sections,
            figure=_figures(page, missing),
            anomalies=cards,
            filters=top_anomalies.list_filters(cards),
            samples=_samples(page.samples) if page.samples is not None and "samples" not in missing else {},
            traversals=traversals.build_traversal_sections(page.traversals or ()),
            latent_notes=_latent_notes(page.latents) if page.latents is not None and "latents" not in missing else [],
        )
    )


@cache
def environment() -> Environment:
    """Return the template environment with its filters."""
    environment = Environment(
        loader=PackageLoader("aepipe.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        bytecode_cache=CompiledTemplates([Path(__file__), Path(formatting.__file__)]),
    )
    filters: dict[str, Callable[..., str]] = {
        "count": formatting.count,
        "number": formatting.number,
        "percent": formatting.percent,
        "seconds": formatting.seconds,
        "size": formatting.size,
        "moment": formatting.moment,
        "text": formatting.text,
    }
    environment.filters.update(filters)
    style_sheet = files("aepipe.report").joinpath("templates/style.css").read_text(encoding="utf-8")
    environment.globals.update(style_sheet=Markup(style_sheet), policy=content_policy(style_sheet, ""))
    return environment


def content_policy(style_sheet: str, script: str) -> str:
    """Return the Content-Security-Policy of a page: nothing is fetched, and only this style sheet and script run.

    Figures have `style` attributes, which cannot be hashed; browsers without `style-src-elem` accept all inline styles.
    """
    rules = (
        "default-src 'none'",
        "img-src data:",
        f"script-src '{_source_hash(script)}'",
        "style-src 'unsafe-inline'",
        f"style-src-elem '{_source_hash(style_sheet)}'",
        "style-src-attr 'unsafe-inline'",
        "base-uri 'none'",
        "form-action 'none'",
    )
    return "; ".join(rules)


def _source_hash(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def _figures(page: ReportPage, missing: dict[str, str]) -> dict[str, Markup]:
    """Draw the figures of the sections with content. Their texts are escaped in the SVG."""
    found = {}
    of_partition, of_row = _card_links(page.anomalies)
    if page.partitions and len(page.partitions) > 1:
        found["shares"] = figures.flagged_shares(page.partitions, page.header.alpha, of_partition)
    if page.scores is not None and "scores" not in missing:
        found["scores"] = figures.score_histogram(page.scores)
    if page.costs is not None and len(page.costs.alpha) > 1:
        found["costs"] = figures.cost_curve(page.costs)
    if page.latents is not None and "latents" not in missing:
        found["latents"] = latent_map.latent_map(page.latents, of_row)
    if page.training is not None and "training" not in missing:
        found["training"] = figures.training_curve(page.training)
    return {name: Markup(svg) for name, svg in found.items()}


def _card_links(anomalies: TopAnomalies | None) -> tuple[dict[str, str], dict[tuple[str, int], str]]:
    """Return links to the first card of each partition, and to the card of each row."""
    if anomalies is None or anomalies.partitions is None:
        return {}, {}
    shown = list(anomalies.partitions)[: top_anomalies.MOST_ROWS]
    links = [f"#row-{rank}" for rank in range(1, len(shown) + 1)]
    rows = [] if anomalies.rows is None else list(anomalies.rows)[: len(shown)]
    first = dict(reversed(list(zip(shown, links, strict=True))))
    return first, dict(zip(zip(shown, rows, strict=False), links, strict=False))


def _samples(samples: Samples) -> dict[str, object]:
    """Return galleries of synthetic and real images, or a table preview and the column distributions."""
    if samples.images is not None:
        return {"pictures": gallery(samples.images, samples.top), "real": gallery(samples.real_images, samples.top)}
    columns, rows = sections.preview_table(samples.table)
    compared = [] if samples.real is None else column_distributions.compare_columns(samples.real, samples.table)
    if not compared:
        return {"columns": columns, "rows": rows}
    return {
        "columns": columns,
        "rows": rows,
        "distributions": Markup(column_distributions.draw_distributions(compared)),
        "shown": min(len(compared), column_distributions.MOST_COLUMNS),
        "of": len(compared),
    }


def gallery(images: "np.ndarray | None", top: int) -> list[str]:
    """Encode at most 64 images as `data:` URLs."""
    return [] if images is None else [picture(image, top, side=GALLERY_SIDE) for image in images[:MOST_PICTURES]]


def _latent_notes(latents: LatentMap) -> list[str]:
    drawn, beyond = min(len(latents.points), latent_map.MOST_POINTS), latent_map.beyond_frame(latents)
    notes = []
    if drawn < len(latents.points):
        notes.append(f"{formatting.count(drawn)} of {formatting.count(len(latents.points))} rows are drawn.")
    if beyond:
        notes.append(f"{formatting.count(beyond)} outside the frame are drawn on its edge.")
    return notes
