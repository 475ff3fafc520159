"""Writes synthetic rows, through ONNX only."""

import time
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple, cast

import numpy as np
import pyarrow as pa

from aepipe.batch.conditions import Bank
from aepipe.batch.sampler import draw
from aepipe.bundle import Bundle
from aepipe.config import Device, read_job
from aepipe.errors import JobInvalid
from aepipe.jobs.result import Result
from aepipe.jobs.whole import whole_rows
from aepipe.progress import Progress
from aepipe.storage import Commit, Outputs, digest_of

Prior = Literal["mixture", "normal"]

CONTRACT = "sample/1"


class SampleResult(Result):
    """Where the rows are, and whether this call wrote them."""

    path: Path
    rows: int
    seed: int
    prior: Prior
    where: str | None
    model_version: str
    created: bool
    seconds: float

    @property
    def rows_per_s(self) -> float:
        """How fast rows were drawn and written; 0 where they were there already."""
        return self.rows / self.seconds if self.created else 0.0


class _Wanted(NamedTuple):
    """What is asked for, with the job's answers where the call has none."""

    rows: int
    seed: int
    prior: Prior
    where: str | None

    def key(self, bundle: Bundle) -> str:
        """What the rows depend on."""
        given = () if self.where is None else (self.where,)
        return digest_of(CONTRACT, bundle.version, str(self.rows), str(self.seed), self.prior, *given)

    @property
    def details(self) -> dict[str, object]:
        """For the manifest."""
        return {name: value for name, value in self._asdict().items() if value is not None}


def sample(
    job_path: str | Path,
    *,
    rows: int | None = None,
    seed: int | None = None,
    prior: str | None = None,
    where: str | None = None,
    partition: str | None = None,
    model: str = "champion",
    progress: Progress | None = None,
) -> SampleResult:
    """Synthetic rows in <out>/samples/<partition>, with the source's own columns and types, the seed and the model.

    The same model, seed, prior and where give the same rows; asked for again, nothing is written. Without a seed, each
    partition has its own, made of the job's and its name. where: a condition on the model's condition columns, which
    have the values of training rows for which it holds.
    Raises JobInvalid for a prior that is neither mixture nor normal or a where that can hold for no sample,
    BundleNotFound where the family cannot sample.
    """
    began = time.perf_counter()
    job = read_job(job_path)
    bundle = Bundle.open(f"{job.bundle_path}@{model}")
    name = partition or today()
    wanted = _Wanted(
        rows=job.samples.rows if rows is None else rows,
        seed=seed_of(job.samples.seed, name) if seed is None else seed,
        prior=_prior(prior or job.samples.prior),
        where=where or job.samples.where,
    )
    Bank(bundle, wanted.where)  # refused before anything is written
    outputs = Outputs(job.out_path)
    with outputs.commit(name, wanted.key(bundle), run="sample") as commit:
        manifest = commit.done
        if manifest is None:
            _write(commit, bundle, wanted, device=job.run.device, progress=progress)
            manifest = commit.publish(model_version=bundle.version, details=wanted.details)
        created = commit.done is None
    return SampleResult(
        path=outputs.root / manifest.files["samples"].path,
        rows=manifest.files["samples"].rows,
        seed=wanted.seed,
        prior=wanted.prior,
        where=wanted.where,
        model_version=bundle.version,
        created=created,
        seconds=time.perf_counter() - began,
    )


def _write(
    commit: Commit,
    bundle: Bundle,
    wanted: _Wanted,
    *,
    device: Device,
    progress: Progress | None,
) -> None:
    sink, at = None, 0
    batches = draw(bundle, wanted.rows, seed=wanted.seed, prior=wanted.prior, where=wanted.where, device=device)
    for drawn in batches:
        batch = _whole_row(bundle, drawn, seed=wanted.seed, start=at)
        sink = sink or commit.open("samples", batch.schema)
        sink.write(batch)
        at += batch.num_rows
        if progress is not None:
            progress("sample", at / max(wanted.rows, 1))


def _whole_row(bundle: Bundle, drawn: pa.RecordBatch, *, seed: int, start: int) -> pa.RecordBatch:
    """Rows of the source with new keys, their seed and their model."""

    def keys(_: str, kind: pa.DataType) -> pa.Array:
        return _new_keys(kind, drawn.num_rows, seed=seed, start=start)

    seeds = pa.array(np.full(drawn.num_rows, seed, np.int64))
    return pa.RecordBatch.from_pydict(whole_rows(bundle, drawn, keys=keys, own={"seed": seeds}))


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


def seed_of(job_seed: int, partition: str) -> int:
    """A seed of its own for every partition, so that each week draws other rows and a repeated run the same.

    >>> seed_of(0, "dt=2026-01-08") == seed_of(0, "dt=2026-01-08") != seed_of(0, "dt=2026-01-15")
    True
    """
    return zlib.crc32(partition.encode(), job_seed & 0xFFFFFFFF)


def _prior(name: str) -> Prior:
    if name not in {"mixture", "normal"}:
        raise JobInvalid("--prior", [f"is mixture or normal, found '{name}'"])
    return cast(Prior, name)
