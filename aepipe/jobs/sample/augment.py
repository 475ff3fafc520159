"""Compare synthetic rows of a rare class as training data with class weights and copied rows."""

import re
import shlex
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from aepipe.bundles.bundle import Bundle
from aepipe.bundles.job_bundle import open_bundle
from aepipe.config.job import Job
from aepipe.errors import ArgumentInvalid, EvaluationInvalid
from aepipe.expressions.condition import Condition
from aepipe.inference.condition_values import refuse_unknown_values
from aepipe.inference.conditional import unknown_column
from aepipe.jobs.results import Result
from aepipe.jobs.sample.class_shares import Group, value_condition
from aepipe.jobs.sample.constraints import ConstraintFilter, validate_constraints
from aepipe.jobs.sample.reference_data import Reference, reference_rows
from aepipe.jobs.sample.rejection_sampling import Source, draw_rows
from aepipe.jobs.sample.sample_quality import categories
from aepipe.jobs.series_support import read_rows_job
from aepipe.progress import Progress, no_progress
from aepipe.quality.alignment import align
from aepipe.quality.augmentation import MOST_ROWS, Augmentation, augmentation
from aepipe.report.augmentation import AugmentPage, render_augmentation
from aepipe.storage import digest_of, put_if_changed

_PER_ROW = 2
"""Default number of synthetic rows per training row of the class; with many more, the errors of the model prevail."""


class ArmLine(Result):
    """Performance on held-out rows after one way of training; (value, low, high) with 95 % intervals."""

    name: str
    rows: int
    rare: int
    average_precision: tuple[float, float, float]
    auroc: tuple[float, float, float]
    recall_of_as_many: tuple[float, float, float]
    recall: tuple[float, float, float]
    precision: float


class AugmentResult(Result):
    """Comparison of the ways to train on the class, and the path of its page."""

    rare: str
    sentence: str
    arms: tuple[ArmLine, ...]
    gain: tuple[float, float, float]
    drawn: int
    held_out: int
    held_out_rare: int
    model_version: str
    path: Path
    seconds: float


@dataclass(frozen=True, slots=True)
class _RareClass:
    """A class, and the condition that its rows satisfy."""

    column: str
    value: str
    where: Condition


def augment(
    job_path: str | Path,
    rare: str,
    *,
    rows: int | None = None,
    seed: int = 0,
    model: str = "champion",
    progress: Progress | None = None,
) -> AugmentResult:
    """Write a page to <out>/reports that compares real rows alone, class weights, copied rows and synthetic rows.

    Args:
        rare: The class, as column=value.
        rows: Synthetic rows of the class, the same as `sample` draws under its condition; None: twice the
            training rows of the class, but not more of it than of all others.
        seed: Random seed.

    Raises:
        JobInvalid: The model cannot sample the class.
        EvaluationInvalid: The class has fewer than ten training rows or three held-out rows.
        DataUnreadable: The training rows are gone.
    """
    began = time.perf_counter()
    report = progress or no_progress
    job = read_rows_job(job_path, "augment")
    bundle = open_bundle(job, model)
    rare_class = _parse_class(bundle, rare)
    validate_constraints(job.samples.constraints, bundle.encoding)
    report("read", 0.0)
    generator = np.random.default_rng(seed)
    reference = Reference(
        *(
            rows.take(pa.array(np.sort(generator.permutation(rows.num_rows)[:MOST_ROWS])))
            for rows in reference_rows(job, bundle).sides
        )
    )
    masks = tuple(np.asarray(rare_class.where.mask(side)) for side in reference.sides)
    known = int(masks[0].sum())
    count = min(max(len(masks[0]) - 2 * known, 0), _PER_ROW * max(known, 1)) if rows is None else rows
    if not count:
        raise EvaluationInvalid(
            f"{rare} is not rare (half of the training rows have it). Set rows to sample it anyway."
        )
    report("sample", 0.0)
    drawn = _draw(job, bundle, rare_class, reference, count, seed)
    report("learn", 0.0)
    found = _compare(bundle, rare_class, reference, masks, drawn, seed)
    path = _write(job, bundle, rare_class, found, drawn=count, seed=seed)
    return AugmentResult(
        rare=rare,
        sentence=found.sentence,
        arms=tuple(ArmLine.model_validate(arm._asdict()) for arm in found.arms),
        gain=tuple(found.gain),
        drawn=count,
        held_out=found.held_out,
        held_out_rare=found.held_out_rare,
        model_version=bundle.version,
        path=path,
        seconds=time.perf_counter() - began,
    )


def _parse_class(bundle: Bundle, text: str) -> _RareClass:
    column, equals, value = text.partition("=")
    if not equals or not column or not value:
        raise ArgumentInvalid("rare", [f"expected column=value, such as income=>50K, got '{text}'"])
    if not bundle.encoding.layout.has_cells:
        raise ArgumentInvalid("rare", [f"{bundle.version} is a model of images or series: expected a table"])
    if column not in categories(bundle.encoding):
        if column in bundle.encoding.schema.labels and column not in {each.name for each in bundle.encoding.sampled}:
            raise ArgumentInvalid("rare", [unknown_column(bundle, column, (), what="a category")])
        known = ", ".join(sorted(categories(bundle.encoding)))
        raise ArgumentInvalid(
            "rare", [f"'{column}' is not a category of {bundle.version}: expected one of {known or 'none'}"]
        )
    where = value_condition(bundle, column, value)
    refuse_unknown_values(bundle, where, subject="rare")
    return _RareClass(column, value, where)


def _draw(job: Job, bundle: Bundle, rare: _RareClass, reference: Reference, rows: int, seed: int) -> pa.Table:
    constraints = ConstraintFilter(job.samples.constraints, bundle.encoding.schema, reference.train)
    source = Source(bundle, seed, job.samples.prior, job.run.device)
    return pa.Table.from_batches(list(draw_rows(source, (Group(rows, rare.where),), constraints)))


def _compare(
    bundle: Bundle,
    rare: _RareClass,
    reference: Reference,
    masks: tuple[np.ndarray, ...],
    drawn: pa.Table,
    seed: int,
) -> Augmentation:
    # another label would tell the class of a row
    labels = {codec.name for codec in bundle.encoding.labels} - {rare.column}
    names = [name for name in reference.train.column_names if name not in labels]
    sides = [rows.select(names) for rows in (*reference.sides, drawn)]
    columns, (train, held_out, synthetic) = align(sides, categories(bundle.encoding))
    return augmentation(
        columns,
        column=rare.column,
        is_rare=(masks[0], masks[1]),
        train=train,
        held_out=held_out,
        synthetic=synthetic,
        seed=seed,
    )


def _write(job: Job, bundle: Bundle, rare: _RareClass, found: Augmentation, *, drawn: int, seed: int) -> Path:
    page = AugmentPage(
        job=job.name,
        model_version=bundle.version,
        column=rare.column,
        value=rare.value,
        drawn=drawn,
        command=f"aepipe sample {job.source.name} --where {shlex.quote(str(rare.where))} --rows {drawn} --seed {seed}",
        found=found,
    )
    name = re.sub(r"[^A-Za-z0-9]+", "-", f"{rare.column}-{rare.value}")[:60].strip("-")
    path = job.out_path / "reports" / f"augment-{name}-{digest_of(str(rare.where))[-6:]}.html"
    put_if_changed(path, render_augmentation(page).encode())
    return path
