"""Writes synthetic rows, through ONNX only, and publishes those that clear the job's bars."""

import time
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple, cast

import numpy as np
import pyarrow as pa
from pydantic import Field

from aepipe.bundles.bundle import Bundle
from aepipe.config.job import Device, Job, read_job
from aepipe.config.sample_requirements import check_shares
from aepipe.errors import ArgumentInvalid
from aepipe.inference.sampler import refuse_where
from aepipe.jobs.results import Result
from aepipe.jobs.sample.class_shares import Group, build_groups
from aepipe.jobs.sample.constraints import ConstraintFilter, validate_constraints
from aepipe.jobs.sample.output_rows import to_source_rows
from aepipe.jobs.sample.quality_gate import GateResult, QualityGate, page_name
from aepipe.jobs.sample.reference_data import Reference, reference_rows
from aepipe.jobs.sample.rejection_sampling import Source, draw_rows
from aepipe.jobs.sample.sample_quality import validate_quality_thresholds
from aepipe.progress import Progress, no_progress
from aepipe.storage import SAMPLE, Commit, Manifest, Outputs, SampleDetails, digest_of, put_bytes, remove

Prior = Literal["mixture", "normal"]

CONTRACT = "sample/2"
PAGE = "report.html"


class SampleResult(Result):
    """Where the rows are, and whether this call wrote them; `missed` has a sentence for each bar that was missed.

    Rows that missed one are published nowhere: `path` is where they are quarantined.
    """

    path: Path
    rows: int
    seed: int
    prior: Prior
    where: str | None
    model_version: str
    created: bool
    seconds: float
    missed: tuple[str, ...] = ()
    quality: dict[str, float] = Field({}, description="what was measured, by the names of the bars")
    rejected: dict[str, int] = Field({}, description="rows that were drawn again, by constraint")
    report: Path | None = None

    @property
    def rows_per_s(self) -> float:
        """How fast rows were drawn, judged and written; 0 where they were there already."""
        return self.rows / self.seconds if self.created else 0.0

    @property
    def fault(self) -> str:
        """One sentence that names each bar missed; empty where none was."""
        if not self.missed:
            return ""
        return f"{self.rows:,} synthetic rows are quarantined in {self.path.parent}: {'; '.join(self.missed)}"


class _Wanted(NamedTuple):
    """What is asked for, with the job's answers where the call has none."""

    rows: int
    seed: int
    prior: Prior
    where: str | None
    shares: Mapping[str, Mapping[str, float]]

    def key(self, job: Job, bundle: Bundle) -> str:
        """What the rows depend on, and whether they are published."""
        given = [str(value) for value in (self.where, self.shares) if value]
        demands = job.samples.model_dump_json(include={"constraints", "quality"})
        return digest_of(CONTRACT, bundle.version, str(self.rows), str(self.seed), self.prior, demands, *given)

    @property
    def details(self) -> dict[str, object]:
        """For the manifest."""
        return {name: value for name, value in self._asdict().items() if value not in (None, {})}


class _Made(NamedTuple):
    """A set that was drawn, published or quarantined."""

    path: Path
    missed: tuple[str, ...]
    quality: Mapping[str, float]
    rejected: Mapping[str, int]
    report: Path | None


def sample(
    job_path: str | Path,
    *,
    rows: int | None = None,
    seed: int | None = None,
    prior: str | None = None,
    where: str | None = None,
    shares: Mapping[str, Mapping[str, float]] | None = None,
    partition: str | None = None,
    model: str = "champion",
    progress: Progress | None = None,
) -> SampleResult:
    """Synthetic rows in <out>/samples/<partition>, with the source's own columns and types, the seed and the model.

    The same model, seed, prior, where and shares give the same rows; asked for again, nothing is written. Without a
    seed, each partition has its own, made of the job's and its name. where: a condition on the model's condition
    columns, which have the values of training rows for which it holds; on any column of a family that can be asked.
    shares: of the values of one column.
    A set that misses a bar of [samples.quality] is quarantined with its report; what was published before stays.
    Raises JobInvalid for what can hold for no sample, BundleNotFound where the family cannot sample, DataUnreadable
    where the rows to judge by are gone, EvaluationInvalid where they cannot be judged by.
    """
    began = time.perf_counter()
    job = read_job(job_path)
    bundle = Bundle.open(f"{job.bundle_path}@{model}")
    name = partition or today()
    wanted = _Wanted(
        rows=job.samples.rows if rows is None else rows,
        seed=partition_seed(job.samples.seed, name) if seed is None else seed,
        prior=_prior(prior or job.samples.prior),
        where=where or job.samples.where,
        shares=_shares(job.samples.shares if shares is None else shares),
    )
    groups = _refuse_impossible(job, bundle, wanted)
    outputs = Outputs(job.out_path)
    with outputs.commit(SAMPLE, name, wanted.key(job, bundle)) as commit:
        if commit.done is None:
            made = _make(commit, job, bundle, wanted, groups, name=name, progress=progress or no_progress)
        else:
            made = _made_before(outputs, commit.done, _page_path(job, name))
        created = commit.done is None
    return SampleResult(
        **made._asdict(),
        rows=wanted.rows,
        seed=wanted.seed,
        prior=wanted.prior,
        where=wanted.where,
        model_version=bundle.version,
        created=created,
        seconds=time.perf_counter() - began,
    )


def _refuse_impossible(job: Job, bundle: Bundle, wanted: _Wanted) -> tuple[Group, ...]:
    """The groups to draw; what cannot be drawn or judged is refused before anything is written."""
    groups = build_groups(bundle, wanted.rows, where=wanted.where, shares=wanted.shares)
    for group in groups:
        refuse_where(bundle, group.where)
    validate_constraints(job.samples.constraints, bundle.encoding.schema)
    validate_quality_thresholds(job, bundle)
    return groups


def _make(
    commit: Commit[SampleDetails],
    job: Job,
    bundle: Bundle,
    wanted: _Wanted,
    groups: tuple[Group, ...],
    *,
    name: str,
    progress: Progress,
) -> _Made:
    """Draw, judge, then publish or quarantine."""
    reference = _reference(job, bundle, wanted)
    rules = ConstraintFilter(
        job.samples.constraints, bundle.encoding.schema, None if reference is None else reference.train
    )
    is_judged = reference is not None and job.samples.quality.check and wanted.rows > 0
    gate = (
        QualityGate(job, bundle, reference, where=wanted.where, shares=wanted.shares)
        if reference and is_judged
        else None
    )
    _write(commit, bundle, wanted, groups, rules, gate=gate, device=job.run.device, progress=progress)
    verdict = (
        GateResult() if gate is None else gate.evaluate(wanted.seed, rules.rejected, partition=name, progress=progress)
    )
    if verdict.failed_checks:
        path = commit.quarantine("; ".join(verdict.failed_checks), attachments={PAGE: verdict.page})
        return _Made(path, verdict.failed_checks, verdict.quality, rules.rejected, path.with_name(PAGE))
    page = _page_path(job, name)
    if verdict.page:
        put_bytes(page, verdict.page)
    else:
        remove(page)  # of a set that this one replaces
    judged = {"quality": dict(verdict.quality), "rejected": dict(rules.rejected)}
    details = SampleDetails.model_validate(wanted.details | {key: value for key, value in judged.items() if value})
    manifest = commit.publish(model_version=bundle.version, details=details)
    return _made_before(Outputs(job.out_path), manifest, page)


def _made_before(outputs: Outputs, manifest: Manifest[SampleDetails], page: Path) -> _Made:
    details = manifest.details
    quality = {name: value for name, value in details.quality.items() if value is not None}
    report = page if quality else None
    path = outputs.root / manifest.files["samples"].path
    return _Made(path, (), quality, details.rejected, report)


def _reference(job: Job, bundle: Bundle, wanted: _Wanted) -> Reference | None:
    """The real rows, where something is held against them."""
    is_judged = job.samples.quality.check and wanted.rows > 0
    is_needed = is_judged or any(each.combination for each in job.samples.constraints)
    return reference_rows(job, bundle) if is_needed else None


def _page_path(job: Job, name: str) -> Path:
    return job.out_path / "reports" / page_name(name)


def _write(
    commit: Commit[SampleDetails],
    bundle: Bundle,
    wanted: _Wanted,
    groups: tuple[Group, ...],
    rules: ConstraintFilter,
    *,
    gate: QualityGate | None,
    device: Device,
    progress: Progress,
) -> None:
    sink, at = None, 0
    for drawn in draw_rows(Source(bundle, wanted.seed, wanted.prior, device), groups, rules):
        batch = _whole_row(bundle, drawn, seed=wanted.seed, start=at)
        sink = sink or commit.open("samples", batch.schema)
        sink.write(batch)
        at += batch.num_rows
        if gate is not None:
            gate.add(drawn)
        progress("sample", at / max(wanted.rows, 1))


def _whole_row(bundle: Bundle, drawn: pa.RecordBatch, *, seed: int, start: int) -> pa.RecordBatch:
    """Rows of the source with new keys, their seed and their model."""

    def keys(_: str, kind: pa.DataType) -> pa.Array:
        return _new_keys(kind, drawn.num_rows, seed=seed, start=start)

    seeds = pa.array(np.full(drawn.num_rows, seed, np.int64))
    return pa.RecordBatch.from_pydict(to_source_rows(bundle, drawn, keys=keys, own={"seed": seeds}))


def _new_keys(kind: pa.DataType, rows: int, *, seed: int, start: int) -> pa.Array:
    """Keys that no source row has: text says where it is from, numbers count down from -1, others are null."""
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return pa.array([f"sample-{seed}-{row}" for row in range(start, start + rows)], kind)
    if pa.types.is_signed_integer(kind) and kind.bit_width >= 32:
        return pa.array(-1 - np.arange(start, start + rows)).cast(kind)
    return pa.nulls(rows, kind)


def today() -> str:
    """The partition that samples are written to where none is named."""
    return f"dt={datetime.now(UTC):%Y-%m-%d}"


def partition_seed(job_seed: int, partition: str) -> int:
    """A seed of its own for every partition, so that each week draws other rows and a repeated run the same.

    >>> seed_of(0, "dt=2026-01-08") == seed_of(0, "dt=2026-01-08") != seed_of(0, "dt=2026-01-15")
    True
    """
    return zlib.crc32(partition.encode(), job_seed & 0xFFFFFFFF)


def _prior(name: str) -> Prior:
    if name not in {"mixture", "normal"}:
        raise ArgumentInvalid("prior", [f"expected mixture or normal, got '{name}'"])
    return cast(Prior, name)


def _shares(shares: Mapping[str, Mapping[str, float]]) -> Mapping[str, Mapping[str, float]]:
    try:
        return check_shares({column: dict(wanted) for column, wanted in shares.items()})
    except ValueError as error:
        raise ArgumentInvalid("share", [str(error)]) from None
