"""State of everything that a report page shows, by which a page is known to be current. Nothing here builds a page."""

import logging
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import Field, ValidationError

from aepipe.bundles.active_calibration import active_digest
from aepipe.bundles.bundle import BundleManifest, read_manifest
from aepipe.bundles.registry import Registry
from aepipe.config.job import Job
from aepipe.errors import AepipeError
from aepipe.frozen import FrozenModel
from aepipe.jobs.feedback.verdicts import read_verdicts, utc_today
from aepipe.jobs.scored_manifests import LATEST, Manifests, scored_by
from aepipe.series.stage import FILE as SERIES
from aepipe.storage import (
    SAMPLE,
    SCORE,
    TRAVERSE,
    Manifest,
    Outputs,
    SampleDetails,
    TraversalDetails,
    digest_bytes,
    digest_of,
    page_of,
    put_if_changed,
)
from aepipe.storage.atomic_files import json_bytes
from aepipe.storage.paths import drift_folder, page_record
from aepipe.stores import StorePath, as_path
from aepipe.tables.partitions import discover, select
from aepipe.versions import versions

log = logging.getLogger(__name__)

CONTRACT = "report/2"
"""Part of every key; increased when the same state would give another page."""

_PACKAGES = ("aepipe", "matplotlib", "scikit-learn", "scipy")
"""Packages whose versions change figures or baselines; numpy and Arrow know their own."""


class PageState(NamedTuple):
    """Path of the page of a model, and the digest of everything that the page shows."""

    path: Path
    key: str


class PageRecord(FrozenModel):
    """Record of the last page of a model; written after the page, so that an interrupted run leaves no false key."""

    key: str = Field(description="digest of everything that the page shows")
    page: str = Field(description="digest of the page")


def page_state(job: Job, model: str, *, today: date | None = None) -> PageState | None:
    """Return the state that the page of a model would show now; None if a part of it cannot be read.

    Commits are known by their manifests. Files are known by inode, size and time, or in an object store by ETag and
    size, as no content is read.

    Args:
        job: the job.
        model: alias or version of the model.
        today: day on which verdicts apply; None: today, UTC.
    """
    try:
        folder = Registry(job.bundle_path).resolve(model)
        bundle, outputs = read_manifest(folder), Outputs(job.out_path)
        version = f"{bundle.name}/{folder.name}"
        every = outputs.manifests(SCORE)
        found, removed = scored_by(outputs, version, every)
        if not found:
            return None
        shown, samples = found[-LATEST:], latest_samples(outputs, version)
        walks = latest_traversals(outputs, version)
        sections = (
            _settings(job, model, version),
            _shown(outputs, version, shown),
            (manifest.partition for manifest in removed),
            outputs.unread(SCORE, every),
            (note.model_dump_json() for note in outputs.quarantine_notes()),
            _feedback(job, today or utc_today()),
            () if samples is None else _committed(outputs, samples),
            (part for walk in walks for part in _committed(outputs, walk)),
            _sources(job, bundle, has_samples=samples is not None),
        )
        key = digest_of(*(digest_of(*section) for section in sections))
    except (AepipeError, OSError) as error:
        log.info("the state of the report is not known: %s", error)
        return None
    return PageState(job.out_path / "reports" / page_of(shown[-1].partition), key)


def is_current(job: Job, model: str, state: PageState) -> bool:
    """Return whether the page is the one that was made last for this model, of this state."""
    try:
        record = PageRecord.model_validate_json(page_record(job.out_path, model).read_bytes())
        return record.key == state.key and record.page == digest_bytes(state.path.read_bytes())
    except (OSError, ValidationError):
        return False


def record_page(job: Job, model: str, state: PageState, page: bytes) -> None:
    """Record the state of a page that was written. A fault only costs making the page again."""
    record = PageRecord(key=state.key, page=digest_bytes(page))
    try:
        put_if_changed(page_record(job.out_path, model), json_bytes(record.model_dump()))
    except OSError as error:
        log.info("the state of the report was not recorded: %s", error)


def latest_samples(outputs: Outputs, version: str) -> Manifest[SampleDetails] | None:
    """Return the latest samples of a model version; None if there are none."""
    found = [manifest for manifest in outputs.manifests(SAMPLE) if manifest.model_version == version]
    return max(found, key=lambda manifest: manifest.created_at, default=None)


def latest_traversals(outputs: Outputs, version: str) -> tuple[Manifest[TraversalDetails], ...]:
    """Return the latest traversal of each kind that was made with a model version."""
    found = [manifest for manifest in outputs.manifests(TRAVERSE) if manifest.model_version == version]
    latest = {m.details.kind: m for m in sorted(found, key=lambda manifest: manifest.created_at)}
    return tuple(latest[kind] for kind in sorted(latest))


def _settings(job: Job, model: str, version: str) -> tuple[str, ...]:
    """Return what does not depend on partitions: aepipe and its packages, the job, the model and its calibration."""
    packages = {"numpy": np.__version__, "pyarrow": pa.__version__, **versions(_PACKAGES)}
    known_digests = "" if job.digests_path is None else _stamp(job.digests_path)
    calibration = active_digest(job.out_path, version) or ""
    settings = (str(job.source), job.model_dump_json(), known_digests)
    return (CONTRACT, str(sorted(packages.items())), *settings, model, version, calibration)


def _shown(outputs: Outputs, version: str, shown: Manifests) -> Iterator[str]:
    """Yield the commits of the partitions on the page, and the stamps of their outputs, sources and drift records."""
    drift = drift_folder(outputs.root, version)
    for manifest in shown:
        yield from _committed(outputs, manifest)
        yield from (_stamp(as_path(path)) for path in manifest.details.inputs)
        yield _stamp(drift / f"{manifest.partition}.json")


def _committed(outputs: Outputs, manifest: Manifest[Any]) -> Iterator[str]:
    yield manifest.model_dump_json()
    yield from (_stamp(outputs.root / record.path) for record in manifest.files.values())


def _feedback(job: Job, today: date) -> Iterator[str]:
    """Yield the digest of the feedback and which verdicts mute rows on a day, as some expire."""
    verdicts = read_verdicts(job)
    if verdicts is not None:
        yield verdicts.digest
        yield "".join(str(int(verdict.is_active(today))) for verdict in verdicts.latest)


def _sources(job: Job, bundle: BundleManifest, *, has_samples: bool) -> Iterator[str]:
    """Yield names and stamps of the source files that the page is made of, without the partitions on it.

    These are the training partitions of the model, partitions that `[train]` selects, whose first rows are compared
    with samples, and all partitions of a series, whose windows reach into others.
    """
    table = discover(job)
    trained = frozenset(bundle.train_partitions)
    read = [each for each in table if SERIES in bundle.files or each.name in trained]
    if has_samples:
        read += select(table, job.train.first, job.train.last)
    for partition in dict.fromkeys(read):
        yield partition.name
        yield partition.misplaced
        yield from (f"{file} {_stamp(file)}" for file in partition.files)


def _stamp(path: Path) -> str:
    """Return text that changes when a file is written again."""
    try:
        if isinstance(path, StorePath):
            return path.version_tag
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    return f"{found.st_ino} {found.st_size} {found.st_mtime_ns}"
