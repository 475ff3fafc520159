"""Partitions in quarantine: what is wrong with each, another try, and removal."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal

from aepipe.config.device import Device
from aepipe.config.job import Job, read_job
from aepipe.errors import ArgumentInvalid, DataUnreadable, did_you_mean
from aepipe.jobs.results import Result
from aepipe.jobs.score import ScoreResult, score
from aepipe.progress import Progress
from aepipe.storage import SCORE, Outputs
from aepipe.storage.run_details import RunName
from aepipe.tables.partitions import Partition, discover, named, natural_order

_WAIT_S = 60.0


class QuarantinedFile(Result):
    """File that a note of the quarantine names."""

    path: str
    state: Literal["unchanged", "changed", "gone"]
    """Since the note was written."""


class Quarantined(Result):
    """Partition in quarantine."""

    partition: str
    kind: RunName
    """Kind of run that failed: `score`, or `sample` and others whose rows failed a check."""
    reason: str
    when: str
    files: tuple[QuarantinedFile, ...]
    """Source files, or the rows and pages that failed."""
    has_source: bool
    has_outputs: bool
    """Outputs of an earlier run are there."""

    @property
    def is_changed(self) -> bool:
        """True if a file was written or removed since: another try may succeed."""
        return any(file.state != "unchanged" for file in self.files)

    def lines(self) -> list[str]:
        """Return the lines of a terminal summary."""
        lines = [f"{self.partition}: {self.kind} failed at {self.when or 'an unknown time'}", f"  {self.reason}"]
        lines += [f"  {file.state:<9} {file.path}" for file in self.files]
        if self.kind == "score":
            lines.append(f"  earlier scores {'are kept' if self.has_outputs else 'do not exist'}")
        if not self.has_source and self.kind == "score":
            lines.append("  the source has no such partition any more")
        return lines


class QuarantineResult(Result):
    """Partitions in quarantine, in order."""

    partitions: tuple[Quarantined, ...]


class DropResult(Result):
    """Partitions that were removed from the quarantine, and the removed files."""

    partitions: tuple[str, ...]
    files: tuple[Path, ...]


def list_quarantine(job_path: str | Path, partitions: Sequence[str] = ()) -> QuarantineResult:
    """Return what is in quarantine, with the reasons.

    Args:
        job_path: job file, or the folder that holds job.toml.
        partitions: names of partitions; empty: all.

    Raises:
        ArgumentInvalid: a partition is not in quarantine.
    """
    job = read_job(job_path)
    found = _quarantined(job)
    wanted = _named(found, partitions)
    return QuarantineResult(partitions=tuple(each for each in found if not partitions or each.partition in wanted))


def retry_quarantine(
    job_path: str | Path,
    partitions: Sequence[str] = (),
    *,
    device: Device | None = None,
    progress: Progress | None = None,
) -> ScoreResult | None:
    """Score partitions in quarantine again; None if there is none.

    Args:
        job_path: job file, or the folder that holds job.toml.
        partitions: names of partitions; empty: all that the source still has.
        device: None: the job's.
        progress: receives the name of a partition and the fraction that is done.

    Raises:
        ArgumentInvalid: a partition is not in quarantine, or was not scored.
    """
    job = read_job(job_path)
    found = _quarantined(job)
    wanted = _named(found, partitions)
    scored = {each.partition for each in found if each.kind == "score" and (partitions or each.has_source)}
    others = [name for name in wanted if name not in scored]
    if others:
        raise ArgumentInvalid(
            "partition",
            [
                f"'{name}' was not scored: its rows failed a check. Write them again, with aepipe sample"
                for name in others
            ],
        )
    names = [name for name in (wanted or sorted(scored, key=natural_order)) if name in scored]
    return score(job_path, partitions=names, device=device, progress=progress) if names else None


def drop_quarantine(job_path: str | Path, partitions: Sequence[str] = (), *, is_all: bool = False) -> DropResult:
    """Remove partitions from the quarantine, with rows that failed a check. Outputs and source stay.

    A partition that its source still has is tried again by the next run.

    Args:
        job_path: job file, or the folder that holds job.toml.
        partitions: names of partitions.
        is_all: all partitions.

    Raises:
        ArgumentInvalid: nothing is named, names and `is_all` are given, or a partition is not in quarantine.
        Busy: another process writes a partition.
    """
    job = read_job(job_path)
    if bool(partitions) == is_all:
        raise ArgumentInvalid("all", ["expected names of partitions, or all of them, and only one of the two"])
    found = _quarantined(job)
    names = list(dict.fromkeys(_named(found, partitions) or [each.partition for each in found]))
    outputs = Outputs(job.out_path)
    files = [path for name in names for path in outputs.drop_quarantined(name, wait_s=_WAIT_S)]
    return DropResult(partitions=tuple(names), files=tuple(files))


def _quarantined(job: Job) -> tuple[Quarantined, ...]:
    outputs = Outputs(job.out_path)
    try:
        sources = {partition.name for partition in discover(job)}
    except DataUnreadable:
        sources = set()
    found = [
        Quarantined(
            partition=note.partition,
            kind=note.kind,
            reason=note.reason,
            when=note.when,
            files=tuple(QuarantinedFile(path=file, state=_state(file, note.when)) for file in note.files),
            has_source=note.partition in sources,
            has_outputs=note.partition in outputs.known(SCORE),
        )
        for note in outputs.quarantine_notes()
    ]
    return tuple(sorted(found, key=lambda each: natural_order(each.partition)))


def _state(file: str, when: str) -> Literal["unchanged", "changed", "gone"]:
    try:
        changed = Path(file).stat().st_mtime > datetime.fromisoformat(when).timestamp()
    except ValueError:
        return "unchanged"
    except OSError:
        return "gone"
    return "changed" if changed else "unchanged"


def _named(found: Sequence[Quarantined], names: Sequence[str]) -> list[str]:
    """Return the names in full, without a final slash. Raises ArgumentInvalid if one is not in quarantine."""
    known = list(dict.fromkeys(each.partition for each in found))
    partitions = [Partition(name, ()) for name in known]
    wanted = {name: named(partitions, name.rstrip("/")) for name in names}
    faults = [
        f"'{name.rstrip('/')}' is not in quarantine{did_you_mean(name, known, listed=5)}"
        for name, partition in wanted.items()
        if partition is None
    ]
    if faults:
        raise ArgumentInvalid("partition", faults)
    return list(dict.fromkeys(partition.name for partition in wanted.values() if partition is not None))
