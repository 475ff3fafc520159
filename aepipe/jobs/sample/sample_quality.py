"""A set of synthetic rows held against real ones: what is measured of it, and what the job's bars make of that."""

from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe.bundles.bundle import Bundle
from aepipe.config.job import Job
from aepipe.errors import JobInvalid
from aepipe.inference.table_model import TableModel
from aepipe.jobs.row_images import drawn_images, pooled_pixels
from aepipe.quality.alignment import joined
from aepipe.quality.checks import CheckReport, run_checks
from aepipe.quality.measure import Sides, measure_points, measure_table
from aepipe.quality.tstr import MOST_CLASSES
from aepipe.tables.arrow_types import plain, sort_of
from aepipe.tables.schema import Schema, did_you_mean

MOST_POINTS = 5_000

ReferenceKind = Literal["all", "some", "few"]
"""Which real rows a set is held against: all, those of the kind that was asked for, or all since these are few."""


def validate_quality_thresholds(job: Job, bundle: Bundle) -> None:
    """Raises JobInvalid where a bar is for other data than the model's, or the column to predict is not its own."""
    quality, schema = job.samples.quality, bundle.encoding.schema
    is_table = bundle.encoding.layout.kind == "table"
    wrong = ("frechet",) if is_table else ("shapes", "trends", "loss", "predict")
    kind = "tables" if is_table else "images and series"
    faults = [f"{name} is no measure of {kind}: leave it out" for name in wrong if getattr(quality, name) is not None]
    names = [column.name for column in schema.modelled]
    if is_table and quality.predict is not None and quality.predict not in names:
        hint = did_you_mean(quality.predict, names) or f"; there are {', '.join(names[:20])}"
        faults.append(f"predict: the model has no column '{quality.predict}'{hint}")
    if is_table and quality.loss is not None and predicted_column(job, schema) is None:
        faults.append("loss: name a column to predict, since the model has no condition")
    if faults:
        raise JobInvalid("[samples.quality]", faults)


def check_quality(job: Job, bundle: Bundle, sides: Sides, *, seed: int, kind: ReferenceKind = "all") -> CheckReport:
    """The checks of a set; of distributions only where the real rows are of its kind.

    Raises EvaluationInvalid where the column that the job has predicted has one value among all rows.
    """
    schema = bundle.encoding.schema
    together = schema.event_time is None
    if bundle.encoding.layout.kind == "table":
        measures = measure_table(
            sides,
            categories=categories(schema),
            predict=_column_to_predict(job, schema, sides, kind),
            seed=seed,
            is_exchangeable=together,
            is_comparable=kind != "few",
        )
    else:
        model = None if bundle.encoding.target is not None else TableModel(bundle, device=job.run.device)
        points = tuple(_points(bundle, model, side, seed) for side in sides)
        measures = measure_points(sides, points, seed=seed, is_exchangeable=together, is_comparable=kind != "few")
    return run_checks(measures, job.samples.quality)


def predicted_column(job: Job, schema: Schema) -> str | None:
    """The column that learners foretell: the job's, or else the first condition that is a category."""
    if job.samples.quality.predict is not None:
        return job.samples.quality.predict
    named = categories(schema)
    return next((name for name in schema.conditions if name in named), None)


def _column_to_predict(job: Job, schema: Schema, sides: Sides, kind: ReferenceKind) -> str | None:
    """The column to predict.

    None where it has one value among rows of one kind, or where nobody named it and it has one value or very many.
    """
    column = predicted_column(job, schema)
    if column is None or (job.samples.quality.predict is not None and kind == "all"):
        return column
    counts = [len(joined(rows[column]).drop_null().unique()) for rows in (sides.train, sides.held_out)]
    return column if min(counts) > 1 and max(counts) <= MOST_CLASSES else None


def categories(schema: Schema) -> frozenset[str]:
    """The modelled columns that are categories, whatever their type."""
    found = {column.name for column in schema.modelled if column.kind in ("category", "boolean")}
    sorts = {column.name: sort_of(plain(schema.arrow.field(column.name).type)) for column in schema.modelled}
    return frozenset(found | {name for name, sort in sorts.items() if sort in ("text", "boolean")})


def _points(bundle: Bundle, model: TableModel | None, rows: pa.Table, seed: int) -> NDArray[np.float64]:
    """At most 5,000 rows in the space of the model's features; rows that it cannot score have none.

    Where images are rebuilt in place of others, samples hold nothing that an encoder takes: they are their own pixels.
    """
    chosen = rows.take(pa.array(np.sort(np.random.default_rng(seed).permutation(rows.num_rows)[:MOST_POINTS])))
    if model is None:
        return pooled_pixels(drawn_images(bundle.encoding, chosen))
    latent = bundle.manifest.latent
    features = model.encode(chosen)
    names = latent.pooled or latent.columns
    points = np.column_stack([features[name].to_numpy().astype(np.float64) for name in names])
    fine: NDArray[np.float64] = points[np.isfinite(points).all(axis=1)]
    return fine
