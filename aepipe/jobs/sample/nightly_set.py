"""Set of synthetic rows of a night: where it goes, and whether it is there. Nothing here draws rows."""

import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import Field

from aepipe.bundles.registry import Registry
from aepipe.config.job import Job, read_job
from aepipe.jobs.results import Result
from aepipe.progress import Progress
from aepipe.storage import SAMPLE, Outputs, SampleDetails

Prior = Literal["mixture", "normal"]


class SampleResult(Result):
    """Path of a sample set, quarantined if `missed` (one sentence per failed check) is not empty."""

    path: Path
    rows: int
    seed: int
    prior: Prior
    where: str | None
    model_version: str
    created: bool
    seconds: float
    missed: tuple[str, ...] = ()
    quality: dict[str, float] = Field({}, description="measured values, by quality threshold")
    rejected: dict[str, int] = Field({}, description="rows rejected and drawn again, by constraint")
    report: Path | None = None
    png: Path | None = Field(None, description="folder of the images of the set, if asked for")

    @property
    def rows_per_s(self) -> float:
        """Rows drawn, checked and written per second; 0 if they existed already."""
        return self.rows / self.seconds if self.created else 0.0

    @property
    def fault(self) -> str:
        """One sentence about the failed checks; empty if none failed."""
        if not self.missed:
            return ""
        return f"{self.rows:,} synthetic rows are quarantined in {self.path.parent}: {'; '.join(self.missed)}"


def sample_nightly(job_path: str | Path, *, progress: Progress | None = None) -> SampleResult | None:
    """Write the set of a night to dt=<today>, or to nightly-<today> if dt=<today> holds a set made on request.

    Returns None if the champion has written the set of today before.
    """
    job = read_job(job_path)
    place, champion = nightly_partition(job), Registry(job.bundle_path).resolve().name
    manifest = Outputs(job.out_path).manifest(SAMPLE, place)
    if manifest is not None and manifest.model_version.rpartition("/")[2] == champion:
        return None
    from aepipe.jobs.sample.sample import sample  # checks and the graphs of the sampler

    return sample(job_path, partition=place, progress=progress)


def nightly_partition(job: Job) -> str:
    """Return the partition of the nightly set: dt=<today>, or nightly-<today> if a set made on request is there."""
    partition = today()
    manifest = Outputs(job.out_path).manifest(SAMPLE, partition)
    if manifest is None or _is_nightly(job, partition, manifest.details):
        return partition
    return f"nightly-{partition.removeprefix('dt=')}"


def _is_nightly(job: Job, partition: str, details: SampleDetails) -> bool:
    """Tell whether a set was drawn with the settings of the job, not with other ones on request."""
    settings = job.samples
    return (
        details.rows == settings.rows
        and details.seed == partition_seed(settings.seed, partition)
        and details.prior == settings.prior
        and details.where == settings.where
        and dict(details.tokens) == settings.token_choice.named
        and dict(details.shares) == settings.shares
    )


def today() -> str:
    """Return the default partition of samples, dt=<today> in UTC."""
    return f"dt={datetime.now(UTC):%Y-%m-%d}"


def partition_seed(job_seed: int, partition: str) -> int:
    """Derive a partition's seed: other rows for each partition, the same rows when a run is repeated.

    >>> partition_seed(0, "dt=2026-01-08") == partition_seed(0, "dt=2026-01-08") != partition_seed(0, "dt=2026-01-15")
    True
    """
    return zlib.crc32(partition.encode(), job_seed & 0xFFFFFFFF)
