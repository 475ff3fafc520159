"""Index page of all nights of all jobs of a folder."""

import math
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from aepipe.config.job import read_job
from aepipe.errors import AepipeError
from aepipe.jobs.drift.monitor import read_drift
from aepipe.jobs.results import Result
from aepipe.jobs.top import JobState, overview
from aepipe.report.index_page import JobLine, Night, render_index
from aepipe.storage import SCORE, Outputs, page_of, put_bytes
from aepipe.tables.partitions import natural_order


class IndexResult(Result):
    """Path of the page, and the number of jobs on it."""

    path: Path
    jobs: int


def write_index(places: Sequence[str | Path], path: str | Path) -> IndexResult:
    """Write one HTML page with the nights of all jobs at these places and links to their reports.

    Args:
        places: job files, or folders that hold jobs at most three levels down.
        path: the page; links are relative to its folder.

    Raises:
        JobInvalid: there is no job at a place.
    """
    page = Path(path)
    states = overview(places).jobs
    lines = [_job_line(state, page.resolve().parent) for state in states]
    put_bytes(page, render_index(lines, written_at=datetime.now(UTC)).encode())
    return IndexResult(path=page, jobs=len(lines))


def _job_line(state: JobState, folder: Path) -> JobLine:
    if state.fault:
        return JobLine(name=state.name, fault=state.fault)
    try:
        nights = _nights(state, folder)
    except (AepipeError, OSError) as error:
        return JobLine(name=state.name, fault=str(error))
    return JobLine(name=state.name, champion=state.champion or "", nights=nights, quarantined=state.quarantined)


def _nights(state: JobState, folder: Path) -> tuple[Night, ...]:
    job = read_job(state.job)
    manifests = sorted(Outputs(job.out_path).manifests(SCORE), key=lambda each: natural_order(each.partition))
    versions = {manifest.model_version for manifest in manifests}
    drift = {
        (version, record.partition): max((stream.distance for stream in record.streams), default=math.nan)
        for version in sorted(versions)
        for record in read_drift(job.out_path, version)
    }
    return tuple(
        Night(
            manifest.partition,
            manifest.details.rows,
            manifest.details.flagged,
            drift.get((manifest.model_version, manifest.partition), math.nan),
            _link(job.out_path / "reports" / page_of(manifest.partition), folder),
        )
        for manifest in manifests
    )


def _link(page: Path, folder: Path) -> str:
    """Return the link to a page from a folder; empty if there is no such page on this disk."""
    if not (isinstance(page, Path) and page.is_file()):
        return ""
    return quote(os.path.relpath(page.resolve(), folder).replace(os.sep, "/"))
