"""Draw synthetic rows through ONNX and publish the sets that pass the job's quality thresholds."""

import logging
import re
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa

from aepipe.bundles.bundle import Bundle
from aepipe.bundles.job_bundle import open_bundle
from aepipe.config.job import Job
from aepipe.config.sample_requirements import check_shares
from aepipe.config.text import MODEL_TOKENS, TokenChoice
from aepipe.errors import ArgumentInvalid, OptionInvalid
from aepipe.expressions.condition import Condition
from aepipe.inference.condition_values import refuse_unknown_values
from aepipe.inference.conditional import supports_conditioning
from aepipe.inference.sampler import draw, refuse_tokens, refuse_where
from aepipe.jobs.lineage.emit import emit_samples
from aepipe.jobs.sample.class_shares import Group, build_groups
from aepipe.jobs.sample.constraints import ConstraintFilter, validate_constraints
from aepipe.jobs.sample.copy_limit import PILOT_ROWS, CopyLimit, fit_copy_limit
from aepipe.jobs.sample.nightly_set import Prior, SampleResult, partition_seed, today
from aepipe.jobs.sample.output_rows import to_source_rows
from aepipe.jobs.sample.png_files import refuse_png, write_png_files
from aepipe.jobs.sample.quality_gate import GateResult, QualityGate
from aepipe.jobs.sample.reference_data import WITHOUT_SEQUENCES, Reference, reference_rows
from aepipe.jobs.sample.rejection_sampling import Source, draw_rows
from aepipe.jobs.sample.sample_quality import validate_quality_thresholds
from aepipe.jobs.sample.sequence_sampler import fit_sampler
from aepipe.jobs.series_support import read_rows_job
from aepipe.progress import Progress, count_rows, no_progress
from aepipe.storage import (
    SAMPLE,
    Commit,
    Manifest,
    Outputs,
    SampleDetails,
    digest_of,
    put_if_changed,
    remove,
    samples_page_of,
)

log = logging.getLogger(__name__)

CONTRACT = "sample/2"
PAGE = "report.html"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """Rows to draw: the arguments of `sample`, or the job's settings in their place."""

    rows: int
    seed: int
    prior: Prior
    where: str | None
    shares: Mapping[str, Mapping[str, float]]
    tokens: TokenChoice = MODEL_TOKENS

    def __post_init__(self) -> None:
        """Refuse an unknown prior and shares that are not of one column or do not add up.

        Raises:
            ArgumentInvalid: One of them is invalid.
        """
        if self.prior not in ("mixture", "normal"):
            raise ArgumentInvalid("prior", [f"expected mixture or normal, got '{self.prior}'"])
        try:
            check_shares({column: dict(shares) for column, shares in self.shares.items()})
        except ValueError as error:
            raise ArgumentInvalid("share", [str(error)]) from None

    @property
    def condition(self) -> Condition | None:
        """Condition that every row satisfies; None: rows as in training."""
        return None if self.where is None else Condition.parse(self.where)

    def key(self, job: Job, bundle: Bundle) -> str:
        """Return the digest of all inputs of the rows and of the decision to publish them."""
        given = [str(value) for value in (self.where, self.shares, self.tokens.named) if value]
        given += ["sequences"] if self.is_sequential(job, bundle) else []
        requirements = job.samples.model_dump_json(include={"constraints", "quality"})
        return digest_of(CONTRACT, bundle.version, str(self.rows), str(self.seed), self.prior, requirements, *given)

    def is_sequential(self, job: Job, bundle: Bundle) -> bool:
        """Tell whether rows are drawn as sequences of entities: without conditions, shares and constraints."""
        schema, samples = bundle.encoding.schema, job.samples
        has_order = bool(schema.entity) and schema.event_time is not None
        is_free = self.where is None and not self.shares and not samples.constraints
        is_free = is_free and bundle.manifest.privacy is None  # sequences are fitted to training rows
        return samples.sequences and has_order and is_free and supports_conditioning(bundle)

    def details(self, quality: Mapping[str, float], rejected: Mapping[str, int]) -> SampleDetails:
        """Return the details for the manifest, without empty ones."""
        found = asdict(self) | {"quality": dict(quality), "rejected": dict(rejected), "tokens": self.tokens.named}
        return SampleDetails.model_validate({name: value for name, value in found.items() if value not in (None, {})})


@dataclass(frozen=True, slots=True)
class _SampleRun:
    """Everything that drawing and checking one set needs."""

    job: Job
    bundle: Bundle
    request: SampleRequest
    groups: tuple[Group, ...]
    partition: str
    progress: Progress

    @property
    def is_checked(self) -> bool:
        return self.job.samples.quality.check and self.request.rows > 0

    @property
    def source(self) -> Source:
        request = self.request
        return Source(self.bundle, request.seed, request.prior, self.job.run.device, request.tokens)

    @property
    def page_path(self) -> Path:
        return self.job.out_path / "reports" / samples_page_of(self.partition)

    def reference(self) -> Reference | None:
        """Read the real rows if the checks, a constraint or sequences need them."""
        is_needed = self.is_checked or any(each.combination for each in self.job.samples.constraints)
        if not is_needed and self.request.is_sequential(self.job, self.bundle):
            return reference_rows(self.job, self.bundle, remedy=WITHOUT_SEQUENCES)
        return reference_rows(self.job, self.bundle) if is_needed else None


@dataclass(frozen=True, slots=True)
class _SampleSet:
    """A set on disk, published or quarantined."""

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
    name: str | None = None,
    model: str = "champion",
    tokens: TokenChoice = MODEL_TOKENS,
    png: Path | None = None,
    progress: Progress | None = None,
) -> SampleResult:
    """Write synthetic rows to <out>/samples/<partition>, with the source's columns and types, the seed and the model.

    The same model, seed, prior, condition and shares give the same rows; a repeated call writes nothing. A set that
    fails a check of [samples.quality] is quarantined with its report; the set published before stays.

    Args:
        rows: Number of rows; None: the job's.
        seed: Random seed; None: derived from the job's seed and the name of the partition.
        prior: Prior of the latents, "mixture" or "normal"; None: the job's.
        where: Condition that every row satisfies, on any columns of the samples; None: the job's.
        shares: Share of rows by value, for one column; None: the job's.
        partition: Partition to write; None: dt=<today>.
        name: Name of the set, in place of a partition: letters, digits, - and _. `run` never replaces a named set.
        tokens: Temperature and truncation of the tokens of texts; what it leaves open is the job's.
        png: Folder that the images of a published set are also written to, <row>.png; None: none.

    Raises:
        JobInvalid: The number of rows, the name or the shares are invalid, or no sample can satisfy what is asked.
        BundleNotFound: The family cannot sample.
        DataUnreadable, EvaluationInvalid: The reference rows of the checks are gone, or do not support one.
    """
    began, job = time.perf_counter(), read_rows_job(job_path, "sample")
    outputs, place, bundle = Outputs(job.out_path), place_of(partition, name), open_bundle(job, model)
    request = SampleRequest(
        rows=check_rows(job, rows),
        seed=partition_seed(job.samples.seed, place) if seed is None else seed,
        prior=cast(Prior, prior or job.samples.prior),
        where=where or job.samples.where,
        shares=job.samples.shares if shares is None else shares,
        tokens=tokens.over(job.samples.token_choice),
    )
    refuse_png(bundle, png)
    run = _SampleRun(job, bundle, request, _validated_groups(job, bundle, request), place, progress or no_progress)
    outputs.claim(job.name)  # once nothing is refused
    with outputs.commit(SAMPLE, place, request.key(job, bundle)) as commit:
        found = _draw_and_publish(run, commit) if commit.done is None else _published_set(run, commit.done)
        created = commit.done is None
    return SampleResult(
        **asdict(found),
        **{name: getattr(request, name) for name in ("rows", "seed", "prior", "where")},
        model_version=bundle.version,
        created=created,
        seconds=time.perf_counter() - began,
        png=None if found.missed else write_png_files(bundle, found.path, png),
    )


def place_of(partition: str | None, name: str | None) -> str:
    """Return the folder of a set within samples/."""
    if name is None:
        return partition or today()
    if partition is not None:
        raise ArgumentInvalid("name", [f"expected a name or a partition, got '{name}' and '{partition}'"])
    if not _NAME.fullmatch(name):
        raise ArgumentInvalid("name", [f"expected up to 64 letters, digits, - and _, got '{name}'"])
    return name


def check_rows(job: Job, rows: int | None) -> int:
    """Return the number of rows to draw. Raises ArgumentInvalid."""
    if rows is None:
        if job.samples.rows < 1:
            raise ArgumentInvalid("rows", ["the job asks for none ([samples] rows = 0): expected at least 1"])
        return job.samples.rows
    if isinstance(rows, bool) or not isinstance(rows, int | np.integer) or rows < 1:
        raise ArgumentInvalid("rows", [f"expected a whole number of at least 1, got {rows!r}"])
    return int(rows)


def _validated_groups(job: Job, bundle: Bundle, request: SampleRequest) -> tuple[Group, ...]:
    """Return the groups to draw; refuse impossible requests before anything is written."""
    if request.condition is not None:
        refuse_where(bundle, request.condition)
        refuse_unknown_values(bundle, request.condition)
    refuse_tokens(bundle, request.tokens)
    groups = build_groups(bundle, request.rows, where=request.condition, shares=request.shares)
    for group in groups:
        refuse_where(bundle, group.where)
    _refuse_combinations(job, bundle)
    validate_constraints(job.samples.constraints, bundle.encoding)
    validate_quality_thresholds(job, bundle)
    return groups


def _refuse_combinations(job: Job, bundle: Bundle) -> None:
    """Raise OptionInvalid if rows of a private model are to be chosen by the combinations of training rows."""
    if bundle.manifest.privacy is not None and any(each.combination for each in job.samples.constraints):
        raise OptionInvalid(
            "[[samples.constraints]] combination reads training rows outside the privacy budget of the model: expected "
            "none. Leave it out, or train without epsilon."
        )


def _draw_and_publish(run: _SampleRun, commit: Commit[SampleDetails]) -> _SampleSet:
    """Draw a set, check it, then publish or quarantine it."""
    reference, request = run.reference(), run.request
    train, where = None if reference is None else reference.train, request.condition
    if train is not None and where is not None and not where.mask(train).true_count:
        log.warning("no training row satisfies %s: what the model makes of it is a guess", where)
    copies = None if reference is None else _copy_limit(run, reference)
    constraints = ConstraintFilter(run.job.samples.constraints, run.bundle.encoding.schema, train, copies)
    gate = None
    if reference is not None and run.is_checked:
        gate = QualityGate(run.job, run.bundle, reference, where=request.condition, shares=request.shares)
    _write(run, commit, _drawn(run, constraints, reference), gate)
    result = GateResult()
    if gate is not None:
        result = gate.evaluate(request.seed, constraints.rejected, partition=run.partition, progress=run.progress)
    if result.failed_checks:
        path = commit.quarantine("; ".join(result.failed_checks), attachments={PAGE: result.page})
        return _SampleSet(path, result.failed_checks, result.quality, constraints.rejected, path.with_name(PAGE))
    if result.page:
        put_if_changed(run.page_path, result.page)
    else:
        remove(run.page_path)  # page of a set that this one replaces
    details = request.details(result.quality, constraints.rejected)
    manifest = commit.publish(model_version=run.bundle.version, details=details)
    emit_samples(run.job, run.partition)
    return _published_set(run, manifest)


def _copy_limit(run: _SampleRun, reference: Reference) -> CopyLimit | None:
    """Return the limit of copies of training rows; None if copies are not checked or the draws need none."""
    request, bundle = run.request, run.bundle
    is_limited = run.is_checked and run.job.samples.quality.copies and supports_conditioning(bundle)
    is_limited = is_limited and bundle.manifest.privacy is None  # a row that is never drawn tells that it was there
    if not is_limited or request.is_sequential(run.job, bundle):
        return None
    batches = draw(bundle, PILOT_ROWS, seed=request.seed, prior=request.prior, device=run.job.run.device)
    return fit_copy_limit(reference, pa.Table.from_batches(batches), seed=request.seed)


def _published_set(run: _SampleRun, manifest: Manifest[SampleDetails]) -> _SampleSet:
    details = manifest.details
    quality = {name: value for name, value in details.quality.items() if value is not None}
    path = Outputs(run.job.out_path).root / manifest.files["samples"].path
    return _SampleSet(path, (), quality, details.rejected, run.page_path if quality else None)


def _drawn(run: _SampleRun, constraints: ConstraintFilter, reference: Reference | None) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a set: sequences of entities where the data have them, else independent rows."""
    request = run.request
    source = run.source
    if reference is not None and reference.order is not None and request.is_sequential(run.job, run.bundle):
        sampler = fit_sampler(source, reference.train, reference.order)
        if sampler is not None:

            def names(kind: pa.DataType, entities: np.ndarray) -> pa.Array:
                return new_keys(kind, entities, seed=request.seed, total=request.rows)

            yield from sampler.batches(request.rows, names)
            return
    yield from draw_rows(source, run.groups, constraints)


def _write(
    run: _SampleRun, commit: Commit[SampleDetails], batches: Iterator[pa.RecordBatch], gate: QualityGate | None
) -> None:
    request = run.request
    sink, start = None, 0
    for drawn in batches:
        batch = _source_rows(run, drawn, start=start)
        sink = sink or commit.open("samples", batch.schema)
        sink.write(batch)
        start += batch.num_rows
        if gate is not None:
            gate.add(drawn)
        count_rows(run.progress, "sample", start)
        run.progress("sample", start / max(request.rows, 1))


def _source_rows(run: _SampleRun, drawn: pa.RecordBatch, *, start: int) -> pa.RecordBatch:
    """Return source rows with new keys, the seed and the model version."""
    rows, seed = np.arange(start, start + drawn.num_rows), run.request.seed

    def keys(_: str, kind: pa.DataType) -> pa.Array:
        return new_keys(kind, rows, seed=seed, total=run.request.rows)

    seeds = pa.array(np.full(drawn.num_rows, seed, np.int64))
    return pa.RecordBatch.from_pydict(to_source_rows(run.bundle, drawn, keys=keys, own={"seed": seeds}))


def new_keys(kind: pa.DataType, rows: np.ndarray, *, seed: int, total: int) -> pa.Array:
    """Return keys that no source row has, and no set of another seed unless their 31-bit hashes collide.

    Text names the seed and the row; signed integers are negative; other types are null. Two sets of 32-bit keys overlap
    with a probability of about `total` / 2^30.

    Args:
        kind: Type of the key column.
        rows: Positions of the rows in the set, (B,).
        seed: Seed of the set.
        total: Number of rows of the set.
    """
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return pa.array([f"sample-{seed}-{row}" for row in rows], kind)
    number = zlib.crc32(str(seed).encode()) >> 1
    if pa.types.is_int64(kind):
        return pa.array(-1 - ((number << 31) + rows))
    if pa.types.is_int32(kind):
        return pa.array(-1 - (number % max(1, 2**31 - total) + rows)).cast(kind)
    return pa.nulls(len(rows), kind)
