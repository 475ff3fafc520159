"""Measure a sample set against real rows and apply the job's quality thresholds."""

from dataclasses import replace
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe.bundles.bundle import Bundle
from aepipe.config.job import Job
from aepipe.encoding import Encoding
from aepipe.errors import JobInvalid, did_you_mean
from aepipe.inference.conditional import supports_conditioning
from aepipe.inference.table_model import TableModel
from aepipe.jobs.row_images import drawn_images, pooled_pixels, top_of
from aepipe.layout import INFORMATION
from aepipe.quality.alignment import joined
from aepipe.quality.checks import CheckReport, information_check, run_checks
from aepipe.quality.image_features import image_features
from aepipe.quality.measure import Sides, measure_points, measure_table
from aepipe.quality.tstr import MOST_CLASSES
from aepipe.tables.arrow_types import plain, sort_of

MOST_POINTS = 5_000

ReferenceKind = Literal["all", "matching", "too few"]
"""Real rows that a set is compared with: all, the rows that match its request, or all since too few match."""


def validate_quality_thresholds(job: Job, bundle: Bundle) -> None:
    """Validate the quality thresholds of a job for the kind of data and the columns of its model.

    Raises:
        JobInvalid: A threshold does not apply to this data, or the column to predict is not a modelled one.
    """
    quality = job.samples.quality
    is_table = bundle.encoding.layout.has_cells
    wrong = ("frechet",) if is_table else ("shapes", "trends", "moments", "loss", "predict", "defaults")
    kind = "tables" if is_table else "images and series"
    faults = [f"{name} does not apply to {kind}: leave it out" for name in wrong if getattr(quality, name) is not None]
    names = [column.name for column in bundle.encoding.sampled]
    if is_table and quality.predict is not None and quality.predict not in names:
        hint = did_you_mean(quality.predict, names, listed=20)
        faults.append(f"predict: the model has no column '{quality.predict}'{hint}")
    if is_table and quality.loss is not None and predicted_column(job, bundle) is None:
        faults.append("loss: the model has no condition to predict: set predict to a column")
    if "latents" in quality.model_fields_set and INFORMATION not in bundle.manifest.metrics:
        faults.append("latents applies to models of texts with Gaussian latents alone: leave it out")
    if faults:
        raise JobInvalid("[samples.quality]", faults)


def check_quality(
    job: Job,
    bundle: Bundle,
    sides: Sides,
    *,
    seed: int,
    kind: ReferenceKind = "all",
    rows_per_entity: float = 1.0,
) -> CheckReport:
    """Measure a set and run its quality checks; distributions are compared only with real rows that match it.

    Args:
        job: Job of the thresholds.
        bundle: Model that drew the set.
        sides: Real and synthetic rows.
        seed: Random seed.
        kind: Choice of the real rows.
        rows_per_entity: Mean number of rows of an entity if rows come in sequences.

    Raises:
        EvaluationInvalid: The column to predict is constant among all rows.
    """
    schema = bundle.encoding.schema
    is_exchangeable = schema.event_time is None
    if bundle.encoding.layout.has_cells:
        measures = measure_table(
            sides,
            categories=categories(bundle.encoding),
            predict=_column_to_predict(job, bundle, sides, kind),
            seed=seed,
            rows_per_entity=rows_per_entity,
            is_exchangeable=is_exchangeable,
            is_comparable=kind != "too few",
        )
    else:
        model = None if bundle.encoding.target is not None else TableModel(bundle, device=job.run.device)
        points = tuple(_points(bundle, model, side, seed) for side in sides)
        fixed = None
        if bundle.encoding.series is None:  # images are also embedded by the network that all bundles share
            top = top_of(bundle.encoding.layout)
            fixed = tuple(image_features(drawn_images(bundle.encoding, _subsample(side, seed)), top) for side in sides)
        measures = measure_points(
            sides, points, fixed=fixed, seed=seed, is_exchangeable=is_exchangeable, is_comparable=kind != "too few"
        )
    quality = job.samples.quality
    has_defaults = supports_conditioning(bundle) if quality.defaults is None else quality.defaults
    if kind != "too few" and measures.downstream is None:
        measures = measures._replace(why_no_loss=_why_no_loss(job, bundle, sides))
    found = run_checks(measures, quality, has_defaults=has_defaults)
    information = bundle.manifest.metrics.get(INFORMATION)
    if information is None:
        return found
    return replace(found, checks=(*found.checks, information_check(information, quality)))


def predicted_column(job: Job, bundle: Bundle) -> str | None:
    """Return the column that learners predict: the job's, else the first label or condition that is a category."""
    if job.samples.quality.predict is not None:
        return job.samples.quality.predict
    encoding = bundle.encoding
    named = categories(encoding)
    labels = [codec.name for codec in encoding.labels]
    return next((name for name in (*labels, *encoding.schema.conditions) if name in named), None)


def _column_to_predict(job: Job, bundle: Bundle, sides: Sides, kind: ReferenceKind) -> str | None:
    """Return the column to predict; None if matching rows, or a column the job does not name, cannot support it."""
    column = predicted_column(job, bundle)
    if column is None or (job.samples.quality.predict is not None and kind == "all"):
        return column
    counts = [len(joined(rows[column]).drop_null().unique()) for rows in (sides.train, sides.held_out)]
    is_learnable = column not in categories(bundle.encoding) or max(counts) <= MOST_CLASSES
    return column if min(counts) > 1 and is_learnable else None


def _why_no_loss(job: Job, bundle: Bundle, sides: Sides) -> str:
    """Explain why no column is predicted; empty if it is not for its values."""
    column = predicted_column(job, bundle)
    if column is None:
        return ""
    for name, rows in (("training", sides.train), ("held-out", sides.held_out)):
        classes = len(joined(rows[column]).drop_null().unique())
        if classes < 2:
            return f"'{column}' has {classes} value in the {name} rows to compare with, expected at least 2"
        if classes > MOST_CLASSES and column in categories(bundle.encoding):
            return f"'{column}' has {classes} values in the {name} rows, expected at most {MOST_CLASSES}"
    return ""


def categories(encoding: Encoding) -> frozenset[str]:
    """Return the sampled columns that are categories, by kind or by type; of labels, those encoded as categories."""
    schema, labels = encoding.schema, (codec.name for codec in encoding.labels if codec.kind == "category")
    found = {column.name for column in schema.modelled if column.kind in ("category", "boolean")} | set(labels)
    sorts = {column.name: sort_of(plain(schema.arrow.field(column.name).type)) for column in encoding.sampled}
    return frozenset(found | {name for name, sort in sorts.items() if sort in ("text", "boolean")})


def _points(bundle: Bundle, model: TableModel | None, rows: pa.Table, seed: int) -> NDArray[np.float64]:
    """Embed at most 5,000 rows by the model, (B, Z), without the rows that it cannot score."""
    chosen = _subsample(rows, seed)
    if model is None:  # samples of a target image hold nothing that the encoder reads: embed them by their pixels
        return pooled_pixels(drawn_images(bundle.encoding, chosen))
    latent = bundle.manifest.latent
    features = model.encode(chosen)
    names = latent.pooled or latent.columns
    points = np.column_stack([features[name].to_numpy().astype(np.float64) for name in names])
    finite: NDArray[np.float64] = points[np.isfinite(points).all(axis=1)]
    return finite


def _subsample(rows: pa.Table, seed: int) -> pa.Table:
    """Draw at most 5,000 rows, in their order."""
    return rows.take(pa.array(np.sort(np.random.default_rng(seed).permutation(rows.num_rows)[:MOST_POINTS])))
