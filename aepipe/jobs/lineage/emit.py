"""Emission of lineage: events are appended to a file per month, and posted where OPENLINEAGE_URL is set.

A failure is logged and never ends a run. The variables have the names that OpenLineage clients use.
"""

import json
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from aepipe.config.job import Job
from aepipe.errors import Busy, StoreUnavailable, describe_failure
from aepipe.jobs.lineage.events import (
    OWN,
    Event,
    RunId,
    aborted_run,
    dataset_at,
    event_time,
    facet,
    facts_of,
    failed_run,
    fields_of_file,
    finished_run,
    new_run,
    output_dataset,
    place_of,
    run_event,
    source_dataset,
    written_bundle,
)
from aepipe.storage import HIDDEN, SAMPLE, SCORE, Outputs, PartitionResult, RunKind, append_lines, lock
from aepipe.storage.listing import entries
from aepipe.storage.manifest import D, Manifest
from aepipe.storage.paths import manifests_folder
from aepipe.storage.run_details import ScoreDetails
from aepipe.stores import StorePath, as_path
from aepipe.tables.partitions import Partition
from aepipe.tables.source_facts import Fields, SourceFacts

log = logging.getLogger(__name__)

FOLDER = "lineage"
_NEVER = "9999"
_EVENT_TIME = re.compile(rb'"eventTime": "([^"]+)"')
_COMPLETE = re.compile(rb'\{"eventType": "COMPLETE", "eventTime": "([^"]+)"')

_parent: ContextVar[RunId | None] = ContextVar("parent", default=None)


def emit_scores(job: Job, results: Sequence[PartitionResult]) -> None:
    """Emit the runs of the partitions that were written or could not be scored.

    Partitions that were done already are no runs, unless the process that committed them this month or the last was
    killed before it could emit them.
    """
    if _is_disabled():
        return
    commits, events = CommitEvents(job), list[Event]()
    lost = _lost_runs(job, [result for result in results if result.status == "already done"])
    for result in results:
        if result.status == "written" or result.partition in lost:
            facets = {} if result.partition in lost else _parent_facet()
            events += commits.of_result(result, facets)
        elif result.status == "quarantined":
            facets = {**_parent_facet(), OWN: facet(OWN, partition=result.partition)}
            run = new_run(job, "score", _namespace())
            source = source_dataset(place_of(job.data_path), None)
            events += failed_run(run, ended=_now(), message=result.reason, facets=facets, inputs=[source])
    emit(job, events)


def emit_samples(job: Job, partition: str) -> None:
    """Emit the run that wrote a set of synthetic rows."""
    if not _is_disabled():
        emit(job, CommitEvents(job).of_commit(SAMPLE, partition, _parent_facet()))


def begin_lineage(job: Job) -> None:
    """Write an empty file into a new folder of outputs, so that runs that are killed before their events are known."""
    if _is_disabled() or isinstance(job.out_path, StorePath) or manifests_folder(job.out_path, SCORE).exists():
        return
    with suppress(OSError, Busy):  # a full disk fails the run later, with its sentence
        append_lines(_file_of_month(job), [])


def _lost_runs(job: Job, done: Sequence[PartitionResult]) -> frozenset[str]:
    """Return the partitions that were committed this month or the last, but whose runs have no last event.

    Commits before the first event, and in a folder without lineage, were made without it.
    """
    now = _now()
    months = (f"{now:%Y-%m}", f"{now.replace(day=1) - timedelta(days=1):%Y-%m}")
    recent = set[tuple[str, str]]()
    for result in done:
        if result.created_at.startswith(months):
            with suppress(ValueError):  # a manifest that was changed
                recent.add((result.partition, event_time(datetime.fromisoformat(result.created_at))))
    if not recent or isinstance(job.out_path, StorePath):
        return frozenset()
    try:
        files = _latest_files(job)
        lines = [line for path in files for line in path.read_bytes().splitlines()]
    except OSError:
        return frozenset()
    began = _EVENT_TIME.search(lines[0]) if lines and files == _files(job) else None
    since = began[1].decode() if began is not None else "" if files else _NEVER
    recent = {(partition, time) for partition, time in recent if time >= since}
    times = {time.encode() for _, time in recent}
    for line in lines:
        if (found := _COMPLETE.match(line)) and found[1] in times:
            with suppress(ValueError, KeyError, TypeError):  # a line that a power cut left incomplete
                recent.discard((json.loads(line)["run"]["facets"][OWN]["partition"], found[1].decode()))
    return frozenset(partition for partition, _ in recent)


def emit_training(
    job: Job,
    bundle: Path,
    partitions: Sequence[Partition],
    rows: Mapping[str, int],
    seconds: Mapping[str, float],
) -> None:
    """Emit the run that wrote a bundle.

    Args:
        job: the job.
        bundle: folder of the version.
        partitions: training partitions.
        rows: rows per split.
        seconds: seconds per stage.
    """
    run = new_run(job, "train", _namespace(), of=bundle.name)
    about = facet(OWN, model_version=f"{job.name}/{bundle.name}", rows=sum(rows.values()))
    facets = {**_parent_facet(), OWN: about}
    files = [file for partition in partitions for file in partition.files]
    inputs, written = [source_dataset(place_of(job.data_path), facts_of(files))], [written_bundle(bundle)]
    elapsed_s = sum(seconds.values())
    emit(job, finished_run(run, ended=_now(), seconds=elapsed_s, facets=facets, inputs=inputs, outputs=written))


@contextmanager
def parent_run(job: Job, action: str) -> Iterator[None]:
    """Emit a run that is the parent of all runs inside the block; it fails if the block raises.

    Runs of the action whose process was killed are ended first, by an event ABORT.
    """
    run = new_run(job, action, _namespace())
    facets = _parent_facet()
    with _ending_killed_runs(job, run) as killed:
        emit(job, [*killed, run_event("START", run, _now(), facets=facets)])
        with _children(job, run, facets):
            yield


@contextmanager
def _ending_killed_runs(job: Job, run: RunId) -> Iterator[list[Event]]:
    """Yield the last events of earlier runs that have none, unless another process is in such a run."""
    with ExitStack() as held:
        if isinstance(job.out_path, StorePath):
            yield []
            return
        try:
            held.enter_context(lock(job.out_path / HIDDEN / "locks" / f"lineage-{run.job}.lock"))
            killed = list(_unfinished(job, run.job))
        except (OSError, Busy):
            killed = []
        yield [aborted_run(each, ended=_now()) for each in killed]


def _files(job: Job) -> list[Path]:
    return entries(job.out_path / HIDDEN / FOLDER)


def _latest_files(job: Job) -> list[Path]:
    """Return the files of the two latest months. Raises OSError."""
    return _files(job)[-2:]


def _file_of_month(job: Job) -> Path:
    return job.out_path / HIDDEN / FOLDER / f"{_now():%Y-%m}.ndjson"


def _unfinished(job: Job, name: str) -> Iterator[RunId]:
    """Yield the runs of a job's action that have a first event and no last one, in the two latest files."""
    own = f'"name": {json.dumps(name, ensure_ascii=False)}}}, "inputs"'.encode()  # not as the parent of another run
    started: dict[str, RunId] = {}
    for path in _latest_files(job):
        for line in (line for line in path.read_bytes().splitlines() if own in line):
            with suppress(ValueError, KeyError, TypeError):  # a line that a power cut left incomplete
                event = json.loads(line)
                found = RunId(event["run"]["runId"], event["job"]["namespace"], name)
                started[found.id] = found
                if event["eventType"] != "START":
                    del started[found.id]
    yield from started.values()


@contextmanager
def _children(job: Job, run: RunId, facets: Mapping[str, Event]) -> Iterator[None]:
    """Make a run the parent of all runs inside the block, and emit its last event."""
    token = _parent.set(run)
    try:
        yield
    except BaseException as error:
        message = str(error) or type(error).__name__
        emit(job, failed_run(run, ended=_now(), message=message, facets=facets, inputs=[])[1:])
        raise
    else:
        emit(job, [run_event("COMPLETE", run, _now(), facets=facets)])
    finally:
        _parent.reset(token)


def emit(job: Job, events: Sequence[Event]) -> None:
    """Append events to the file of the month, and post them; OPENLINEAGE_DISABLED=true does neither."""
    if not events or _is_disabled():
        return
    path = _file_of_month(job)
    try:
        append_lines(path, [json.dumps(event, ensure_ascii=False) for event in events])
    except (OSError, StoreUnavailable, Busy) as error:
        log.warning("lineage is not written to %s: %s", path, describe_failure(error))
    url = os.environ.get("OPENLINEAGE_URL")
    if url:
        from aepipe.jobs.lineage.post import post_all  # HTTP

        post_all(url, events)


def _is_disabled() -> bool:
    """Return whether OPENLINEAGE_DISABLED switches lineage off."""
    return os.environ.get("OPENLINEAGE_DISABLED", "").lower() in ("true", "1")


class CommitEvents:
    """Events of the runs that committed partitions of a job."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._outputs = Outputs(job.out_path)
        self._places = cache(place_of)  # asks for each folder above the path

    def of_result(self, result: PartitionResult, facets: Mapping[str, Event]) -> tuple[Event, ...]:
        """Return the events of the run that scored a partition; facets: further ones of the run."""
        if result.written is None:
            return self.of_commit(SCORE, result.partition, facets)
        written = result.written
        return self._events(written.manifest, facets, source=written.source, fields=written.fields)

    def of_commit(self, kind: RunKind[D], partition: str, facets: Mapping[str, Event]) -> tuple[Event, ...]:
        """Return the events of the run that committed a partition, from its files; facets: further ones of the run."""
        manifest = self._outputs.manifest(kind, partition)
        return () if manifest is None else self._events(manifest, facets)

    def _events(
        self,
        manifest: Manifest[D],
        facets: Mapping[str, Event],
        *,
        source: SourceFacts | None = None,
        fields: Mapping[str, Fields] | None = None,
    ) -> tuple[Event, ...]:
        """Return the events of a run.

        Args:
            manifest: what it committed.
            facets: further facets of the run.
            source: what its source files held; None: they are read.
            fields: columns of its outputs; None: the outputs are read.
        """
        job, details, partition = self._job, manifest.details, manifest.partition
        of = f"{partition}/{manifest.key}/{manifest.created_at}"
        run = new_run(job, manifest.kind_of_run, _namespace(), of=of)
        counts: dict[str, object] = {"partition": partition, "model_version": manifest.model_version}
        inputs, seconds = [dataset_at(self._places(job.exported_path / manifest.model_version))], 0.0
        if isinstance(details, ScoreDetails):
            counts |= {
                "rows": details.rows,
                "flagged": details.flagged,
                "invalid": sum(details.invalid.values()),
                "alpha": details.alpha,
            }
            source = source or facts_of([as_path(path) for path in details.inputs])
            inputs = [source_dataset(self._places(job.data_path), source), *inputs]
            seconds = details.wall_s or 0.0
        root = self._outputs.root
        written = [
            output_dataset(
                self._places(root / output),
                record,
                fields_of_file(root / record.path) if fields is None else fields[output],
            )
            for output, record in sorted(manifest.files.items())
        ]
        ended = datetime.fromisoformat(manifest.created_at)
        about = {**facets, OWN: facet(OWN, **counts)}
        return finished_run(run, ended=ended, seconds=seconds, facets=about, inputs=inputs, outputs=written)


def _parent_facet() -> dict[str, Event]:
    """Return the facet that names the parent of a run, if it has one."""
    parent = _parent.get() or _parent_of_environment()
    return {} if parent is None else {"parent": parent.facet}


def _parent_of_environment() -> RunId | None:
    """Return the run that OPENLINEAGE_PARENT_ID names, as namespace/job/run."""
    parts = os.environ.get("OPENLINEAGE_PARENT_ID", "").rsplit("/", 2)
    return RunId(parts[2], parts[0], parts[1]) if len(parts) == 3 else None


def _namespace() -> str:
    return os.environ.get("OPENLINEAGE_NAMESPACE", "aepipe")


def _now() -> datetime:
    return datetime.now(UTC)
