"""State of all jobs of a folder: champion, scored partitions, alarms, failures, and what is running now."""

import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from aepipe.bundles.registry import Registry
from aepipe.config.job import Job, read_job
from aepipe.errors import AepipeError, JobInvalid, describe_failure
from aepipe.jobs.results import Result
from aepipe.storage import HIDDEN, SCORE, Outputs
from aepipe.storage.listing import files_below
from aepipe.storage.locks import holder
from aepipe.tables.partitions import natural_order

LATEST = 20
"""Partitions whose alarms are listed for each job."""
_DEEPEST = 3


class JobState(Result):
    """State of one job; counts are 0 and names None as long as there is nothing yet."""

    job: Path
    name: str
    champion: str | None = None
    nights: int = 0
    """number of scored partitions"""
    last: str | None = None
    """latest scored partition"""
    last_scored_at: str | None = None
    rows: int = 0
    """of the latest partition, as are flagged and invalid"""
    flagged: int = 0
    invalid: int = 0
    alarms: tuple[int, ...] = ()
    """flagged rows of the latest partitions, oldest first"""
    quarantined: int = 0
    running: tuple[str, ...] = ()
    """stages in progress, such as `train` or `score dt=2026-01-05`"""
    fault: str = ""
    """why the job cannot be read; empty if it can"""


class Overview(Result):
    """State of all jobs at a time."""

    at: str
    jobs: tuple[JobState, ...]


def overview(places: Sequence[str | Path]) -> Overview:
    """Return the state of the jobs at these places.

    Args:
        places: job files, or folders that hold jobs at most three levels down.

    Raises:
        JobInvalid: There is no job at a place.
    """
    jobs = [path for place in places for path in _jobs_at(Path(place))]
    states = []
    for path in dict.fromkeys(jobs):
        try:
            states.append(_state_of(read_job(path), path))
        except AepipeError as error:
            states.append(JobState(job=path, name=path.resolve().parent.name, fault=str(error)))
        except OSError as error:
            fault = f"{error.filename or path} cannot be read: {describe_failure(error)}"
            states.append(JobState(job=path, name=path.resolve().parent.name, fault=fault))
    return Overview(at=datetime.now(UTC).isoformat(timespec="seconds"), jobs=tuple(states))


def _jobs_at(place: Path) -> list[Path]:
    if place.suffix == ".toml":
        return [place]
    found = [path for depth in range(_DEEPEST + 1) for path in sorted(place.glob("*/" * depth + "job.toml"))]
    if not found:
        raise JobInvalid(str(place), ["has no job.toml: expected a job file or a folder of jobs. Name another place."])
    return found


def _state_of(job: Job, path: Path) -> JobState:
    outputs = Outputs(job.out_path)
    manifests = sorted(outputs.manifests(SCORE), key=lambda manifest: natural_order(manifest.partition))
    last = manifests[-1] if manifests else None
    return JobState(
        job=path,
        name=job.name,
        champion=Registry(job.bundle_path).aliases().get("champion"),
        nights=len(manifests),
        last=None if last is None else last.partition,
        last_scored_at=None if last is None else last.created_at,
        rows=0 if last is None else last.details.rows,
        flagged=0 if last is None else last.details.flagged,
        invalid=0 if last is None else sum(last.details.invalid.values()),
        alarms=tuple(manifest.details.flagged for manifest in manifests[-LATEST:]),
        quarantined=len(outputs.quarantined()),
        running=tuple(_running(job)),
    )


def _running(job: Job) -> Iterator[str]:
    """Name the stages whose lock is held by a process that runs."""
    if holder(job.bundle_path / ".training.lock") is not None:
        yield "train"
    folder = job.out_path / HIDDEN / "locks"
    for path in sorted(path for path in files_below(folder, "*.lock") if path.parent != folder):
        if holder(path) is not None:
            yield f"{path.parent.name} {path.stem.replace(os.sep, '/')}"
