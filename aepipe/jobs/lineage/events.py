"""OpenLineage run events: plain values that follow version 2-0-2 of the specification (openlineage.io/spec)."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple

from aepipe.config.job import Job
from aepipe.errors import DataUnreadable
from aepipe.storage import FileRecord
from aepipe.tables.parquet_reader import Footer, read_footer
from aepipe.tables.source_facts import Fields, SourceFacts, fields_of, source_facts
from aepipe.versions import version

Event = dict[str, Any]
EventType = Literal["START", "COMPLETE", "FAIL", "ABORT"]

SPEC = "https://openlineage.io/spec"
EVENT_SCHEMA = f"{SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent"
PRODUCER = f"https://pypi.org/project/aepipe/{version('aepipe') or ''}"
FACETS = {
    "schema": ("1-2-0", "SchemaDatasetFacet"),
    "dataQualityMetrics": ("1-0-3", "DataQualityMetricsInputDatasetFacet"),
    "outputStatistics": ("1-0-2", "OutputStatisticsOutputDatasetFacet"),
    "parent": ("1-2-0", "ParentRunFacet"),
    "errorMessage": ("1-0-1", "ErrorMessageRunFacet"),
}
"""Version and name of the schema of each standard facet."""
OWN = "aepipe"
"""Facet of our own: partition, model version and counts."""
MOST_MESSAGE = 1_000


class RunId(NamedTuple):
    """A run, as other runs name it as their parent."""

    id: str
    namespace: str
    job: str

    @property
    def facet(self) -> Event:
        """Return the facet of a run that this one started."""
        return facet("parent", run={"runId": self.id}, job={"namespace": self.namespace, "name": self.job})


def facet(name: str, **content: object) -> Event:
    """Return a facet with its producer and schema."""
    if name == OWN:
        schema = f"{SPEC}/2-0-2/OpenLineage.json#/$defs/RunFacet"
    else:
        number, title = FACETS[name]
        schema = f"{SPEC}/facets/{number}/{title}.json#/$defs/{title}"
    return {"_producer": PRODUCER, "_schemaURL": schema, **content}


def run_event(
    kind: EventType,
    run: RunId,
    when: datetime,
    *,
    facets: Mapping[str, Event],
    inputs: Sequence[Event] = (),
    outputs: Sequence[Event] = (),
) -> Event:
    """Return one event of a run.

    Args:
        kind: transition of the run.
        run: the run and its job.
        when: time of the transition, with a zone.
        facets: facets of the run by name.
        inputs: datasets that are read.
        outputs: datasets that are written.
    """
    return {
        "eventType": kind,
        "eventTime": event_time(when),
        "producer": PRODUCER,
        "schemaURL": EVENT_SCHEMA,
        "run": {"runId": run.id, "facets": dict(facets)},
        "job": {"namespace": run.namespace, "name": run.job},
        "inputs": list(inputs),
        "outputs": list(outputs),
    }


def event_time(when: datetime) -> str:
    """Return a time as events hold it."""
    return when.isoformat(timespec="milliseconds")


def finished_run(
    run: RunId,
    *,
    ended: datetime,
    seconds: float,
    facets: Mapping[str, Event],
    inputs: Sequence[Event],
    outputs: Sequence[Event],
) -> tuple[Event, Event]:
    """Return the first and the last event of a run that is complete."""
    began = ended - timedelta(seconds=seconds)
    return (
        run_event("START", run, began, facets=facets, inputs=inputs),
        run_event("COMPLETE", run, ended, facets=facets, inputs=inputs, outputs=outputs),
    )


def failed_run(
    run: RunId, *, ended: datetime, message: str, facets: Mapping[str, Event], inputs: Sequence[Event]
) -> tuple[Event, Event]:
    """Return the first and the last event of a run that failed."""
    error = facet("errorMessage", message=message[:MOST_MESSAGE], programmingLanguage="Python")
    return (
        run_event("START", run, ended, facets=facets, inputs=inputs),
        run_event("FAIL", run, ended, facets={**facets, "errorMessage": error}, inputs=inputs),
    )


def aborted_run(run: RunId, *, ended: datetime) -> Event:
    """Return the last event of a run whose process ended without one."""
    message = "the process ended without a last event; the next run continues its work"
    error = facet("errorMessage", message=message, programmingLanguage="Python")
    return run_event("ABORT", run, ended, facets={"errorMessage": error})


def new_run(job: Job, action: str, namespace: str, *, of: str | None = None) -> RunId:
    """Return a run of an action, such as score.

    of: text that identifies the run, which then has the same identifier whenever it is described; None: a new one.
    """
    name = f"{job.name}.{action}"
    made = uuid.uuid4() if of is None else uuid.uuid5(uuid.NAMESPACE_URL, f"{PRODUCER}/{namespace}/{name}/{of}")
    return RunId(str(made), namespace, name)


def facts_of(files: Sequence[Path]) -> SourceFacts | None:
    """Return what the footers of source files say; files that are gone or damaged are left out. None: all are."""
    footers = [footer for path in files if (footer := _footer(path)) is not None]
    return source_facts(footers, [footer.path.stat().st_size for footer in footers]) if footers else None


def source_dataset(place: str, facts: SourceFacts | None) -> Event:
    """Return the source table at a place, with the schema and the quality metrics of the files that were read."""
    if facts is None:
        return dataset_at(place)
    metrics = facet(
        "dataQualityMetrics",
        rowCount=facts.rows,
        bytes=facts.bytes,
        fileCount=facts.files,
        columnMetrics={name: {"nullCount": count} for name, count in facts.nulls.items()},
    )
    return {**dataset_at(place, fields=facts.fields), "inputFacets": {"dataQualityMetrics": metrics}}


def fields_of_file(path: Path) -> Fields:
    """Return the columns of a Parquet file; none if it is gone or damaged."""
    footer = _footer(path)
    return () if footer is None else fields_of(footer.schema)


def output_dataset(place: str, record: FileRecord, fields: Fields) -> Event:
    """Return an output table at a place, with the columns and the size of the file that was written."""
    written = facet("outputStatistics", rowCount=record.rows, size=record.bytes, fileCount=1)
    return {**dataset_at(place, fields=fields), "outputFacets": {"outputStatistics": written}}


def written_bundle(folder: Path) -> Event:
    """Return a new bundle version, with its size."""
    files = [path for path in folder.iterdir() if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    written = facet("outputStatistics", size=size, fileCount=len(files))
    return {**dataset(folder), "outputFacets": {"outputStatistics": written}}


def dataset(path: Path) -> Event:
    """Return a folder as a dataset, by the naming conventions of OpenLineage for files and object stores.

    >>> dataset(Path("/data/rows"))["name"], dataset(Path("/data/rows"))["namespace"]
    ('/data/rows', 'file')
    """
    return dataset_at(place_of(path))


def place_of(path: Path) -> str:
    """Return a path without links, or the address of a place in a store."""
    return str(path.resolve())


def dataset_at(place: str, *, fields: Fields = ()) -> Event:
    """Return what is at a place, `place_of` its path, as a dataset with these columns."""
    scheme, is_remote, rest = place.partition("://")
    bucket, _, inside = rest.partition("/")
    named = (f"{scheme}://{bucket}", inside) if is_remote else ("file", scheme)
    described = [{"name": name, "type": kind} for name, kind in fields]
    facets = {"schema": facet("schema", fields=described)} if fields else {}
    return {"namespace": named[0], "name": named[1], "facets": facets}


def _footer(path: Path) -> Footer | None:
    try:
        return read_footer(path)
    except DataUnreadable:
        return None
