"""A Night as one static HTML file: no script, nothing fetched, every value escaped."""

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from aepipe.report import formatting as wording
from aepipe.report import sections
from aepipe.report import top_anomalies as strange
from aepipe.report import traversals as walks
from aepipe.report.figures import column_distributions as marginals
from aepipe.report.figures import latent_map as latents
from aepipe.report.figures import scores as figures
from aepipe.report.page_model import LatentMap, ReportPage, Samples
from aepipe.report.thumbnails import GALLERY_SIDE, picture

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

MOST_PICTURES = 64


def render(night: ReportPage) -> str:
    """The page; the same Night gives the same bytes."""
    missing = sections.absent(night)
    return (
        environment()
        .get_template("report.html")
        .render(
            night=night,
            header=night.header,
            verdict=sections.verdict(night.header, night.partitions),
            tiles=sections.tiles(night.partitions),
            quarantined=[line for line in night.partitions if line.status == "quarantined"],
            titles=sections.TITLES,
            absent=missing,
            sections=sections,
            figure=_figures(night, missing),
            strange=strange.strange_rows(night.strange) if night.strange is not None else [],
            samples=_samples(night.samples) if night.samples is not None and "samples" not in missing else {},
            walks=walks.shown(night.walks or ()),
            latent_notes=_latent_notes(night.latents) if night.latents is not None and "latents" not in missing else [],
        )
    )


@cache
def environment() -> Environment:
    """The templates and their filters."""
    environment = Environment(
        loader=PackageLoader("aepipe.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., str]] = {
        "count": wording.count,
        "number": wording.number,
        "percent": wording.percent,
        "seconds": wording.seconds,
        "size": wording.size,
        "moment": wording.moment,
        "text": wording.text,
    }
    environment.filters.update(filters)
    return environment


def _figures(night: ReportPage, missing: dict[str, str]) -> dict[str, Markup]:
    """The drawings of the sections that are there. Their texts were escaped when the SVG was written."""
    found = {}
    if night.partitions and len(night.partitions) > 1:
        found["shares"] = figures.flagged_shares(night.partitions, night.header.alpha)
    if night.scores is not None and "scores" not in missing:
        found["scores"] = figures.score_histogram(night.scores)
    if night.costs is not None and len(night.costs.alpha) > 1:
        found["costs"] = figures.cost_curve(night.costs)
    if night.latents is not None and "latents" not in missing:
        found["latents"] = latents.latent_map(night.latents)
    if night.training is not None and "training" not in missing:
        found["training"] = figures.training_curve(night.training)
    return {name: Markup(svg) for name, svg in found.items()}


def _samples(samples: Samples) -> dict[str, object]:
    """Pictures of the synthetic (and real) images, or the head of the table and the columns furthest from the real."""
    if samples.images is not None:
        return {"pictures": gallery(samples.images, samples.top), "real": gallery(samples.real_images, samples.top)}
    columns, rows = sections.head_of(samples.table)
    return {"columns": columns, "rows": rows, **_held_against(samples.real, samples.table)}


def gallery(images: "np.ndarray | None", top: int) -> list[str]:
    """At most 64 images as `data:` URLs."""
    return [] if images is None else [picture(image, top, side=GALLERY_SIDE) for image in images[:MOST_PICTURES]]


def _held_against(real: "pa.Table | None", synthetic: "pa.Table") -> dict[str, object]:
    found = [] if real is None else marginals.marginals(real, synthetic)
    if not found:
        return {}
    return {
        "marginals": Markup(marginals.figure_of(found)),
        "shown": min(len(found), marginals.MOST_COLUMNS),
        "of": len(found),
    }


def _latent_notes(latent_map: LatentMap) -> list[str]:
    drawn, beyond = min(len(latent_map.points), latents.MOST_POINTS), latents.beyond_frame(latent_map)
    notes = []
    if drawn < len(latent_map.points):
        notes.append(f"{wording.count(drawn)} of {wording.count(len(latent_map.points))} rows are drawn.")
    if beyond:
        notes.append(f"{wording.count(beyond)} beyond the frame: drawn on its edge.")
    return notes
