"""Synthetic rows: `python flows/synthesize.py --job data/digits/job.toml --rows 1000`."""

import zlib
from datetime import UTC, datetime

from pydantic import Field

from aepipe.config import read_job
from aepipe.jobs.sample import SampleResult
from aepipe.jobs.sample import sample as sample_job
from flows.engine import pipeline, step
from flows.options import Options
from flows.terminal import run


class SynthesizeOptions(Options):
    """Write synthetic rows, with the source's own columns and types."""

    rows: int | None = Field(None, ge=0, description="how many; by default the job's")
    seed: int | None = Field(None, ge=0, description="by default made of the job's and the partition's name")
    partition: str | None = Field(None, description="where to write; by default dt=<today>")
    model: str = Field("champion", description="an alias or a version of the job's model")


@pipeline
def synthesize(options: SynthesizeOptions) -> SampleResult:
    """Write synthetic rows, with the source's own columns and types."""
    return sample(options)


@step
def sample(options: SynthesizeOptions) -> SampleResult:
    """One partition of synthetic rows; asked for again, it is already there."""
    partition = options.partition or f"dt={datetime.now(UTC):%Y-%m-%d}"
    seed = options.seed if options.seed is not None else seed_of(read_job(options.job).samples.seed, partition)
    return sample_job(options.job, rows=options.rows, seed=seed, partition=partition, model=options.model)


def seed_of(job_seed: int, partition: str) -> int:
    """A seed of its own for every partition, so that each week draws other rows and a repeated run the same.

    >>> seed_of(0, "dt=2026-01-08") == seed_of(0, "dt=2026-01-08") != seed_of(0, "dt=2026-01-15")
    True
    """
    return zlib.crc32(partition.encode(), job_seed & 0xFFFFFFFF)


def show_sample(result: SampleResult) -> None:
    """For a terminal."""
    print(f"{'wrote' if result.created else 'already there:'} {result.rows:,} rows in {result.path}")


if __name__ == "__main__":
    run(synthesize, SynthesizeOptions, show_sample)
