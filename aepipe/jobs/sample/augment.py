"""Whether synthetic rows of a rare class help to find it: drawn, learned from, and held against what costs nothing."""

import re
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from aepipe.bundles.bundle import Bundle
from aepipe.config.job import Job, read_job
from aepipe.errors import ArgumentInvalid, EvaluationInvalid
from aepipe.expressions import evaluate as where
from aepipe.jobs.results import Result
from aepipe.jobs.sample.class_shares import Group, value_condition
from aepipe.jobs.sample.constraints import ConstraintFilter, validate_constraints
from aepipe.jobs.sample.reference_data import Reference, reference_rows
from aepipe.jobs.sample.rejection_sampling import Source, draw_rows
from aepipe.jobs.sample.sample_quality import categories
from aepipe.progress import Progress, no_progress
from aepipe.quality.alignment import align
from aepipe.quality.augmentation import MOST_ROWS, Arm, Augmentation, augmentation
from aepipe.report.augmentation import AugmentPage, render_augmentation
from aepipe.storage import digest_of, put_bytes


class ArmLine(Result):
    """What a learner reaches on held-out rows; each measure with the ends of its 95 % interval."""

    name: str
    rows: int
    rare: int
    average_precision: tuple[float, float, float]
    auroc: tuple[float, float, float]
    recall_of_as_many: tuple[float, float, float]
    recall: tuple[float, float, float]
    precision: float


class AugmentResult(Result):
    """Every way to learn the class, and the page that shows them side by side."""

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


class _Rare(NamedTuple):
    """The class, and the condition that stands for it."""

    column: str
    value: str
    where: str


def augment(
    job_path: str | Path,
    rare: str,
    *,
    rows: int | None = None,
    seed: int = 0,
    model: str = "champion",
    progress: Progress | None = None,
) -> AugmentResult:
    """A page in <out>/reports about a class, `column=value`: real rows alone, class weights, copies, synthetic rows.

    rows: synthetic ones of the class; by default as many as make it as frequent as all others together. The rows
    themselves are those of `aepipe sample --where` with the same seed.
    Raises JobInvalid where the class is none that the model can be asked for, EvaluationInvalid where it has fewer
    than ten rows among training or held-out ones, DataUnreadable where those are gone.
    """
    began = time.perf_counter()
    report = progress or no_progress
    job = read_job(job_path)
    bundle = Bundle.open(f"{job.bundle_path}@{model}")
    wanted = _rare(bundle, rare)
    validate_constraints(job.samples.constraints, bundle.encoding.schema)
    report("read", 0.0)
    reference = _bounded(reference_rows(job, bundle), seed)
    masks = tuple(np.asarray(where.apply(wanted.where, side)) for side in reference)
    count = max(len(masks[0]) - 2 * int(masks[0].sum()), 0) if rows is None else rows
    if not count:
        raise EvaluationInvalid(
            f"{rare} is not rare (half of the training rows have it). Set rows to sample it anyway."
        )
    report("sample", 0.0)
    drawn = _draw(job, bundle, wanted, reference, count, seed)
    report("learn", 0.0)
    found = _compared(bundle, wanted, reference, masks, drawn, seed)
    path = _write(job, bundle, wanted, found, drawn=count, seed=seed)
    return AugmentResult(
        rare=rare,
        sentence=found.sentence,
        arms=tuple(_line(arm) for arm in found.arms),
        gain=tuple(found.gain),
        drawn=count,
        held_out=found.held_out,
        held_out_rare=found.held_out_rare,
        model_version=bundle.version,
        path=path,
        seconds=time.perf_counter() - began,
    )


def _rare(bundle: Bundle, text: str) -> _Rare:
    column, equals, value = text.partition("=")
    if not equals or not column or not value:
        raise ArgumentInvalid("rare", [f"expected column=value, such as income=>50K, got '{text}'"])
    if bundle.encoding.layout.kind != "table":
        raise ArgumentInvalid("rare", [f"{bundle.version} is a model of images or series: expected a table"])
    if column not in categories(bundle.encoding.schema):
        known = ", ".join(sorted(categories(bundle.encoding.schema)))
        raise ArgumentInvalid(
            "rare", [f"'{column}' is not a category of {bundle.version}: expected one of {known or 'none'}"]
        )
    return _Rare(column, value, value_condition(bundle, column, value))


def _bounded(reference: Reference, seed: int) -> Reference:
    """At most 100,000 rows a side."""
    generator = np.random.default_rng(seed)
    return Reference(
        *(rows.take(pa.array(np.sort(generator.permutation(rows.num_rows)[:MOST_ROWS]))) for rows in reference)
    )


def _draw(job: Job, bundle: Bundle, wanted: _Rare, reference: Reference, rows: int, seed: int) -> pa.Table:
    rules = ConstraintFilter(job.samples.constraints, bundle.encoding.schema, reference.train)
    source = Source(bundle, seed, job.samples.prior, job.run.device)
    return pa.Table.from_batches(list(draw_rows(source, (Group(rows, wanted.where),), rules)))


def _compared(
    bundle: Bundle,
    wanted: _Rare,
    reference: Reference,
    masks: tuple[np.ndarray, ...],
    drawn: pa.Table,
    seed: int,
) -> Augmentation:
    sides = (*reference, drawn.select(reference.train.column_names))
    columns, (train, held_out, synthetic) = align(sides, categories(bundle.encoding.schema))
    return augmentation(
        columns,
        column=wanted.column,
        is_rare=(masks[0], masks[1]),
        train=train,
        held_out=held_out,
        synthetic=synthetic,
        seed=seed,
    )


def _write(job: Job, bundle: Bundle, wanted: _Rare, found: Augmentation, *, drawn: int, seed: int) -> Path:
    page = AugmentPage(
        job=job.name,
        model_version=bundle.version,
        column=wanted.column,
        value=wanted.value,
        drawn=drawn,
        command=f"aepipe sample {job.source.name} --where {_shell(wanted.where)} --rows {drawn} --seed {seed}",
        found=found,
    )
    name = re.sub(r"[^A-Za-z0-9]+", "-", f"{wanted.column}-{wanted.value}")[:60].strip("-")
    path = job.out_path / "reports" / f"augment-{name}-{digest_of(wanted.where)[-6:]}.html"
    put_bytes(path, render_augmentation(page).encode())
    return path


def _shell(text: str) -> str:
    """As a POSIX shell takes it."""
    return "'" + text.replace("'", "'\\''") + "'"


def _line(arm: Arm) -> ArmLine:
    values = {name: tuple(value) if isinstance(value, tuple) else value for name, value in arm._asdict().items()}
    return ArmLine.model_validate(values)
