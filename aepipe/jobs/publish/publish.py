"""Publish committed outputs to Delta and Iceberg tables: an idempotent step after the commit.

Plain Parquet stays the source of truth. A partition whose digest the log of the table has is not published again, so
that the next run heals what a killed one left out.
"""

import importlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from aepipe.config.job import Job, read_job
from aepipe.config.run_sections import Publish
from aepipe.jobs.publish.target import Publication, Target
from aepipe.jobs.results import Result
from aepipe.progress import Progress
from aepipe.storage import SAMPLE, SCORE, Outputs, RunKind
from aepipe.tables.partitions import full_names
from aepipe.versions import named_extras

log = logging.getLogger(__name__)


class Published(Result):
    """Partitions and rows that were published to one table."""

    table: str
    output: str
    partitions: tuple[str, ...]
    """Partitions whose rows were replaced; the others were published before."""
    rows: int


class PublishResult(Result):
    """Result of `aepipe publish`."""

    tables: tuple[Published, ...]

    def lines(self) -> list[str]:
        """Return the lines of a terminal summary."""
        return [
            f"published {each.output} to {each.table}: {len(each.partitions)} partitions, {each.rows:,} rows"
            for each in self.tables
        ]


def publish(
    job_path: str | Path, *, partitions: Sequence[str] | None = None, progress: Progress | None = None
) -> PublishResult:
    """Publish the committed outputs of a job to the tables of its `[[publish]]` sections.

    Args:
        job_path: job file, or the folder that holds job.toml.
        partitions: names, `2026-01-05` for `dt=2026-01-05`; None: all that have outputs.
        progress: receives the name of a partition and the share that is done.

    Raises:
        ArgumentInvalid: a partition has no outputs.
        ExtraMissing: the package of the table format is not installed.
        PublishFailed: a table cannot be written; partitions before it are published.
    """
    job = read_job(job_path)
    if partitions is not None:
        outputs = Outputs(job.out_path)
        kinds: tuple[RunKind[Any], ...] = (SCORE, SAMPLE)
        known = dict.fromkeys(manifest.partition for kind in kinds for manifest in outputs.manifests(kind))
        partitions = full_names(known, partitions, what="outputs")
    return publish_job(job, partitions=partitions, progress=progress)


def publish_job(
    job: Job, *, partitions: Sequence[str] | None = None, progress: Progress | None = None
) -> PublishResult:
    """Publish from a job in memory, as `publish`."""
    return PublishResult(tables=tuple(_publish(job, section, partitions, progress) for section in job.publish))


def _publish(job: Job, section: Publish, partitions: Sequence[str] | None, progress: Progress | None) -> Published:
    target, done, rows = _open(job, section), list[str](), 0
    found = [each for each in _publications(job, section) if partitions is None or each.partition in partitions]
    for index, publication in enumerate(found, start=1):
        if target.digest(publication) != publication.digest:
            table = publication.rows()
            target.replace(publication, table)
            done.append(publication.partition)
            rows += table.num_rows
            log.info("published %s of %s to %s", publication.output, publication.partition, section.table)
        if progress is not None:
            progress(publication.partition, index / len(found))
    return Published(table=section.table, output=section.output, partitions=tuple(done), rows=rows)


def _publications(job: Job, section: Publish) -> Iterator[Publication]:
    """Yield the committed outputs in the order of the partitions."""
    outputs = Outputs(job.out_path)
    kind: RunKind[Any] = SAMPLE if section.output == "samples" else SCORE
    for manifest in outputs.manifests(kind):
        record = manifest.files.get(section.output)
        if record is not None and record.has_size(outputs.root / record.path):
            path = outputs.root / record.path
            yield Publication(job.name, section.output, manifest.partition, path, record.digest)


def _open(job: Job, section: Publish) -> Target:
    with named_extras("[[publish]]"):
        if section.iceberg is not None:
            module = importlib.import_module("aepipe.jobs.publish.iceberg_table")
            iceberg = section.iceberg
            target: Target = module.IcebergTarget(iceberg.catalog, iceberg.table, iceberg.properties)
        else:
            module = importlib.import_module("aepipe.jobs.publish.delta_table")
            target = module.DeltaTarget(job.resolve(str(section.delta)))
    return target
