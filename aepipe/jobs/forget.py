"""Removal of partitions on request, and of what `[output] keep` no longer keeps. Sources are never touched."""

import calendar
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

from aepipe.bundles.registry import Registry
from aepipe.config.job import Job, read_job
from aepipe.errors import ArgumentInvalid, DataUnreadable, did_you_mean
from aepipe.jobs.results import Result
from aepipe.storage import (
    IMPUTE,
    RECOMMEND,
    RUN_KINDS,
    SAMPLE,
    SCORE,
    Outputs,
    is_comparison_of,
    page_of,
    samples_page_of,
)
from aepipe.storage.listing import entries
from aepipe.tables.partition_dates import date_of_partition
from aepipe.tables.partitions import Partition, discover, named, natural_order, select, well_placed

_WAIT_S = 60.0


class Forgotten(Result):
    """Files of one partition that are removed."""

    partition: str
    files: tuple[Path, ...]
    bytes: int
    has_source: bool


class ForgetResult(Result):
    """Partitions and bundle versions that were removed, or would be."""

    partitions: tuple[Forgotten, ...]
    bundles: tuple[Path, ...]
    is_done: bool

    @property
    def is_empty(self) -> bool:
        """True if there is nothing to remove."""
        return not self.partitions and not self.bundles

    def lines(self) -> Iterator[str]:
        """Yield the lines of a terminal summary."""
        verb = "removed" if self.is_done else "would remove"
        for each in self.partitions:
            yield f"{verb} {each.partition}: {len(each.files)} files, {each.bytes:,} bytes"
        yield from (f"{verb} bundle {path}" for path in self.bundles)
        sources = sum(each.has_source for each in self.partitions)
        if sources:
            yield f"the source of {sources} of them is kept, and is scored again only if its partition is named"


def forget(
    job_path: str | Path,
    partitions: Sequence[str] = (),
    *,
    first: str | None = None,
    last: str | None = None,
    is_expired: bool = False,
    is_confirmed: bool = False,
) -> ForgetResult:
    """Remove outputs, manifests, quarantined files and pages of partitions; without confirmation only list them.

    Args:
        job_path: job file, or the folder that holds job.toml.
        partitions: names of partitions.
        first: first partition of a range; None: no bound.
        last: last partition of a range, inclusive; None: no bound.
        is_expired: remove what `[output] keep` no longer keeps, with bundles that nothing refers to.
        is_confirmed: remove; False: list what would be removed.

    Raises:
        ArgumentInvalid: nothing, or more than one thing, is asked for, or a partition has no outputs.
        Busy: another process writes a partition.
    """
    job = read_job(job_path)
    is_range = first is not None or last is not None
    if [bool(partitions), is_range, is_expired].count(True) != 1:
        raise ArgumentInvalid(
            "partition", ["expected names of partitions, a range (from, to), or expired, and only one of them"]
        )
    outputs = Outputs(job.out_path)
    if is_confirmed:
        outputs.finish_forgetting(wait_s=_WAIT_S)
    if is_expired:
        if job.output.retention is None:
            raise ArgumentInvalid("expired", [f"{job.source} has no [output] keep. Set it, such as keep = '90 days'."])
        return _forget_expired(job, outputs, is_confirmed=is_confirmed)
    there = _known(outputs)
    if is_range:
        chosen = [partition.name for partition in select(there, first, last)]
    else:
        chosen = [_named(there, name) for name in partitions]
    return _remove(job, outputs, list(dict.fromkeys(chosen)), (), is_kept=True, is_confirmed=is_confirmed)


def forget_expired(job: Job) -> ForgetResult | None:
    """Remove what `[output] keep` no longer keeps; None if the job keeps all. Raises Busy."""
    if job.output.retention is None:
        return None
    return _forget_expired(job, Outputs(job.out_path), is_confirmed=True)


def expired_partitions(job: Job, outputs: Outputs, sources: Sequence[str]) -> frozenset[str]:
    """Return the partitions that `[output] keep` no longer keeps, of the source and of the outputs.

    An age counts from today, UTC, to the last day of a partition by its name; a scored partition without a date in its
    name counts from its commit. A number keeps the latest partitions of source and scores. Other outputs, such as
    samples, follow the dates in their names.
    """
    retention = job.output.retention
    if retention is None:
        return frozenset()
    scored = {
        manifest.partition: datetime.fromisoformat(manifest.created_at).date() for manifest in outputs.manifests(SCORE)
    }
    ordered = sorted({*sources, *scored}, key=natural_order)
    if retention.partitions is not None:
        gone = set(ordered[: -retention.partitions])
        days = [day for name in ordered[-retention.partitions :] if (day := _last_day(name)) is not None]
        oldest = min(days, default=date.min)
    else:
        oldest = retention.oldest_kept(datetime.now(UTC).date())
        gone = {name for name in ordered if (_last_day(name) or scored.get(name) or oldest) < oldest}
    others = {name for kind in (SAMPLE, IMPUTE, RECOMMEND) for name in outputs.partitions(kind)} - set(ordered)
    return frozenset(gone | {name for name in others if (_last_day(name) or oldest) < oldest})


def _forget_expired(job: Job, outputs: Outputs, *, is_confirmed: bool) -> ForgetResult:
    gone = expired_partitions(job, outputs, sorted(_sources(job)))
    gone &= {partition.name for partition in _known(outputs)}
    kept = {m.model_version for kind in RUN_KINDS for m in outputs.manifests(kind) if m.partition not in gone}
    bundles = Registry(job.bundle_path).unused(kept)
    return _remove(job, outputs, sorted(gone, key=natural_order), bundles, is_kept=False, is_confirmed=is_confirmed)


def _remove(
    job: Job,
    outputs: Outputs,
    names: Sequence[str],
    bundles: Sequence[str],
    *,
    is_kept: bool,
    is_confirmed: bool,
) -> ForgetResult:
    sources = _sources(job)
    found = []
    for name in names:
        reports = [path.name for path in entries(job.out_path / "reports")]
        pages = (page_of(name), samples_page_of(name), *(page for page in reports if is_comparison_of(page, name)))
        files = outputs.files_of(name, pages)
        size = sum(path.stat().st_size for path in files)
        found.append(Forgotten(partition=name, files=files, bytes=size, has_source=name in sources))
        if is_confirmed:
            was_scored = outputs.manifest(SCORE, name) is not None
            outputs.forget(name, pages, is_kept=is_kept and (name in sources or was_scored), wait_s=_WAIT_S)
    registry = Registry(job.bundle_path)
    if is_confirmed and bundles:
        registry.remove(bundles)
    paths = tuple(registry.folder / version for version in bundles)
    return ForgetResult(partitions=tuple(found), bundles=paths, is_done=is_confirmed)


def _sources(job: Job) -> frozenset[str]:
    """Return the names of the partitions of the source; empty if it was removed too."""
    try:
        return frozenset(partition.name for partition in well_placed(discover(job)))
    except DataUnreadable:
        return frozenset()


def _known(outputs: Outputs) -> tuple[Partition, ...]:
    """Return the partitions that have outputs, manifests or notes."""
    names = {name for kind in RUN_KINDS for name in outputs.known(kind)} | set(outputs.quarantined())
    return tuple(Partition(name, ()) for name in sorted(names, key=natural_order))


def _named(there: Sequence[Partition], name: str) -> str:
    found = named(there, name)
    if found is None:
        names = [partition.name for partition in there]
        hint = did_you_mean(name, names) or (f"; the latest are {', '.join(names[-3:])}" if names else "")
        raise ArgumentInvalid("partition", [f"'{name}' has no outputs{hint}"])
    return found.name


def _last_day(name: str) -> date | None:
    """Return the last day of a partition by its name; None if the name has no date.

    >>> _last_day("year=2026/month=2"), _last_day("dt=2026-02-16")
    (datetime.date(2026, 2, 28), datetime.date(2026, 2, 16))
    """
    found = date_of_partition(name)
    if found is None:
        return None
    year, month, day = (*found, *(12, 31)[len(found) - 1 :])
    return date(year, month, min(day, calendar.monthrange(year, month)[1]))
