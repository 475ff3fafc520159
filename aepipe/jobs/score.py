"""Score the partitions that have no scores of this model yet. Nothing here knows torch, pandas or Prefect."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Literal

from pydantic import Field, computed_field

from aepipe.batch.score_settings import ClusterSettings, MachineSettings, ScoreSettings
from aepipe.bundles.active_calibration import with_active_calibration
from aepipe.bundles.job_bundle import open_bundle
from aepipe.config.job import Device, Job, read_job
from aepipe.engines.engine import find_engine
from aepipe.errors import DataUnreadable, JobInvalid, did_you_mean
from aepipe.inference.session import usable_device
from aepipe.jobs.alarm_warnings import night_warnings
from aepipe.jobs.feedback.verdicts import feedback_digest
from aepipe.jobs.forget import expired_partitions
from aepipe.jobs.lineage.emit import begin_lineage, emit_scores
from aepipe.jobs.results import Result
from aepipe.jobs.top_alarms import Alarm, top_alarms
from aepipe.progress import Progress
from aepipe.storage import SCORE, Manifest, Outputs, PartitionResult, ScoreDetails, source_digest
from aepipe.storage.known_digests import KnownDigests, read_known_digests
from aepipe.tables.partition_dates import day_end
from aepipe.tables.partitions import Partition, discover, discover_as_of, named, natural_order, select, well_placed

_WAIT_S = 60.0


Outcome = Literal["complete", "partial", "failed"]


def outcome_of(nights: Sequence[PartitionResult]) -> Outcome:
    """Return whether all, some or none of the partitions have scores; complete if there are none.

    >>> night = PartitionResult(partition="dt=2026-01-01", status="written")
    >>> outcome_of([night]), outcome_of([night, night.model_copy(update={"status": "quarantined"})])
    ('complete', 'partial')
    """
    failed = sum(night.status == "quarantined" for night in nights)
    if not failed:
        return "complete"
    return "partial" if failed < len(nights) else "failed"


def describe_outcome(nights: Sequence[PartitionResult]) -> str:
    """Return the number of partitions that have scores, of all.

    >>> night = PartitionResult(partition="dt=2026-01-01", status="written")
    >>> describe_outcome([night, night.model_copy(update={"status": "quarantined"})])
    '1 of 2 partitions have scores, 1 is quarantined'
    """
    failed = sum(night.status == "quarantined" for night in nights)
    quarantined = f", {failed} {'is' if failed == 1 else 'are'} quarantined" if failed else ""
    return f"{len(nights) - failed} of {len(nights)} partitions have scores{quarantined}"


class ScoreResult(Result):
    """Results of the requested partitions, in order."""

    model_version: str
    nights: tuple[PartitionResult, ...]
    seconds: float
    invalid_reasons: dict[str, int] = Field(default_factory=dict)
    """rows without a score, by column and reason"""
    top_alarms: tuple[Alarm, ...] = ()
    notes: tuple[str, ...] = ()
    """Partitions that were left out, one sentence per reason."""
    warnings: tuple[str, ...] = ()
    """New partitions with far more flagged rows than alpha, and faults of the model."""

    @property
    def failed(self) -> bool:
        """True if a partition could not be scored."""
        return any(result.status == "quarantined" for result in self.nights)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def outcome(self) -> Outcome:
        """Outcome: all, some or none of the partitions have scores; complete if there were none."""
        return outcome_of(self.nights)

    @property
    def sentence(self) -> str:
        """Number of partitions that have scores, of all that were to be scored."""
        return describe_outcome(self.nights)


def score(
    job_path: str | Path,
    *,
    partitions: Sequence[str] | None = None,
    model: str = "champion",
    device: Device | None = None,
    workers: int | None = None,
    force: bool = False,
    as_of: bool = False,
    progress: Progress | None = None,
) -> ScoreResult:
    """Write scores and features of partitions.

    A partition that was scored with this model and these settings is not written again. One that cannot be scored is
    quarantined with its reason, and the others go on.

    Args:
        job_path: job file, or the folder that holds job.toml.
        partitions: names; None: those that `[score]` selects.
        model: alias or version of the job's model.
        device: None: the job's.
        workers: number of partitions or blocks scored at the same time; None: the job's.
        force: write partitions again although they are done.
        as_of: read the named partitions of a Delta or Iceberg table as they were on their days.
        progress: receives the name of a partition and the fraction that is done.

    Raises:
        BundleCorrupt: a file of the bundle has other bytes than were written.
        BundleNotFound: the job has no such bundle.
        DeviceUnavailable: the device cannot be used.
        JobInvalid: a fault in the job file, or no partition with a name.
        OutputsTaken: the folder of the outputs belongs to another job.
    """
    began, job = time.perf_counter(), read_job(job_path)
    usable_device(device := device or job.run.device)
    bundle = with_active_calibration(job.out_path, open_bundle(job, model, checks_graphs=False))
    outputs = Outputs(job.out_path)
    outputs.claim(job.name)
    outputs.finish_forgetting(wait_s=_WAIT_S)
    chosen, notes = (chosen_partitions(job, partitions, as_of=as_of), ()) if partitions else _selected(job)
    if job.calibration.adaptive:
        chosen = tuple(sorted(chosen, key=lambda partition: natural_order(partition.name)))
    due, kept = (chosen, ()) if partitions or force else keep_earlier(job, chosen)
    begin_lineage(job)
    engine = partial(find_engine(job.run.engine), bundle, machine=_machine(job, device, workers), progress=progress)
    runs = _runs(job, due, replace(score_settings(job), force=force), as_of=as_of)
    results = [*chain.from_iterable(engine(*run) for run in runs), *kept]
    if any(result.status == "written" for result in results):
        outputs.claim(job.name, has_written=True)
    nights = in_order(results, chosen)
    emit_scores(job, nights)
    return ScoreResult(
        model_version=bundle.version,
        nights=nights,
        seconds=time.perf_counter() - began,
        invalid_reasons=sum((Counter(night.details.invalid) for night in nights), Counter[str]()),
        top_alarms=top_alarms(nights, job.data.keys),
        notes=notes,
        warnings=night_warnings(job, bundle, results),
    )


def _machine(job: Job, device: Device, workers: int | None) -> MachineSettings:
    return MachineSettings(
        device=device,
        workers=workers or job.run.workers,
        batch_rows=job.run.batch_rows,
        memory_mb=job.run.memory_mb,
        gpu_memory_mb=job.run.gpu_memory_mb,
        cluster=ClusterSettings(**job.run.ray.model_dump()),
    )


def score_settings(job: Job) -> ScoreSettings:
    """Return what a job writes per partition."""
    return ScoreSettings(
        out=job.out_path,
        max_invalid_share=job.score.max_invalid_share,
        features=job.score.features,
        adaptive=job.calibration.adaptive,
        table=() if job.series is None else discover(job),
        feedback=feedback_digest(job),
        known=known_digests(job),
    )


def in_order(results: Iterable[PartitionResult], partitions: Sequence[Partition]) -> tuple[PartitionResult, ...]:
    """Return results in the order of their partitions."""
    places = {partition.name: place for place, partition in enumerate(partitions)}
    return tuple(sorted(results, key=lambda result: places[result.partition]))


def _runs(
    job: Job, partitions: Sequence[Partition], settings: ScoreSettings, *, as_of: bool
) -> list[tuple[Sequence[Partition], ScoreSettings]]:
    """Return the partitions that share settings; as of its day, each one of a series job has a context of its own."""
    if job.series is None or not as_of:
        return [(partitions, settings)]
    return [((partition,), table_as_of(job, settings, partition.name)) for partition in partitions]


def table_as_of(job: Job, settings: ScoreSettings, partition: str) -> ScoreSettings:
    """Return the settings with the table of a series job as it was on the day of a partition, without later ones."""
    moment, order = day_end(partition), natural_order(partition)
    found = discover_as_of(job, lambda _: moment)
    return replace(settings, table=tuple(each for each in found if natural_order(each.name) <= order))


def known_digests(job: Job) -> KnownDigests | None:
    """Return the digests that `[data] digests` names; None if the job names none. Raises JobInvalid."""
    return None if job.digests_path is None else read_known_digests(job.digests_path, data=job.data_path)


def keep_earlier(
    job: Job, partitions: Sequence[Partition]
) -> tuple[tuple[Partition, ...], tuple[PartitionResult, ...]]:
    """Separate the partitions to score from those that keep the scores of any earlier model.

    With `[score] rescore = false`, a partition keeps its scores while its source files are the ones that were scored.
    """
    if job.score.rescore:
        return tuple(partitions), ()
    outputs = Outputs(job.out_path)
    due, kept = [], []
    for partition in partitions:
        manifest = outputs.manifest(SCORE, partition.name)
        if manifest is not None and _is_current(manifest, partition, outputs):
            kept.append(PartitionResult.of_manifest(manifest, job.out_path, "already done"))
        else:
            due.append(partition)
    return tuple(due), tuple(kept)


def _is_current(manifest: Manifest[ScoreDetails], partition: Partition, outputs: Outputs) -> bool:
    """Return whether the outputs are there, and the source files are the ones that were scored."""
    if not manifest.has_all_files(outputs.root):
        return False
    inputs = manifest.details.inputs
    try:
        return list(inputs.values()) == [source_digest(file) for file in partition.files]
    except DataUnreadable:
        return False


def chosen_partitions(
    job: Job, names: Sequence[str] | None, *, as_of: bool = False, table: Sequence[Partition] | None = None
) -> tuple[Partition, ...]:
    """Return the named partitions; None: those that `[score]` selects, without removed and expired ones.

    Args:
        job: the job.
        names: names of partitions.
        as_of: read the named partitions of a Delta or Iceberg table as they were on their days.
        table: all partitions, to find the names in; None: they are listed.

    Raises:
        DataUnreadable: the table has no partition, or none in the range.
        JobInvalid: a name is unknown.
    """
    if not names:
        return _selected(job)[0]
    if table is not None:
        found = tuple(table)
    else:
        found = discover_as_of(job, day_end) if as_of else discover(job)
    known = {name: named(found, name) for name in names}
    absent = [name for name, partition in known.items() if partition is None]
    if absent:
        latest = f": expected a name such as {', '.join(partition.name for partition in found[-3:])}"

        def hint(name: str) -> str:
            return did_you_mean(name, [partition.name for partition in found]) or latest

        raise JobInvalid(str(job.source), [f"{job.data_path} has no partition '{name}'{hint(name)}" for name in absent])
    return tuple(partition for partition in known.values() if partition is not None)


def _selected(job: Job) -> tuple[tuple[Partition, ...], tuple[str, ...]]:
    """Return the partitions that `[score]` selects, and one note per reason to leave some of them out."""
    found, outputs = discover(job), Outputs(job.out_path)
    selected = select(found, job.score.first, job.score.last)
    forgotten = outputs.forgotten()
    expired = expired_partitions(job, outputs, [partition.name for partition in well_placed(found)]) - forgotten
    notes = []
    if names := [p.name for p in selected if p.name in forgotten]:
        notes.append(f"left out, since aepipe forget removed them: {_brief(names)}. Name one to score it again.")
    if names := [p.name for p in selected if p.name in expired]:
        notes.append(f"left out, since [output] keep is {job.output.retention}: {_brief(names)}.")
    kept = tuple(p for p in selected if p.name not in forgotten and p.name not in expired)
    return kept, tuple(notes)


def _brief(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} partitions, {names[0]} to {names[-1]}"
