"""Plan of a backfill: partitions, the model of each, and the expected time."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Literal, NamedTuple

from aepipe.batch.partition_scorer import partition_key
from aepipe.batch.series.partition import neighbours_of, series_key
from aepipe.bundles.active_calibration import with_active_calibration
from aepipe.bundles.bundle import Bundle
from aepipe.bundles.job_bundle import open_bundle
from aepipe.bundles.registry import Registry
from aepipe.config.job import Job, read_job
from aepipe.errors import AepipeError, ArgumentInvalid, DataUnreadable, SchemaMismatch
from aepipe.jobs.results import Result
from aepipe.jobs.score import score_settings, table_as_of
from aepipe.progress import seconds_text
from aepipe.storage import SCORE, Outputs, digest_of, source_digest
from aepipe.tables.parquet_reader import read_footer
from aepipe.tables.partition_dates import date_of_partition, day_end, end_of
from aepipe.tables.partitions import Partition, discover, discover_as_of, select, well_placed

AS_OF = "as-of"
"""Model of a backfill: the version that was champion on the day of each partition, which is read as of that day."""

StepStatus = Literal["due", "already done", "no model", "unreadable"]


class BackfillStep(Result):
    """One partition of a backfill.

    `version` is None without a model; `key` identifies the output folder, data, model, calibration and settings, and is
    the same as long as the step writes the same scores to the same place.
    """

    partition: str
    version: str | None
    status: StepStatus
    rows: int
    key: str = ""
    reason: str = ""


class BackfillPlan(Result):
    """Steps of a backfill in the order of the partitions; `seconds` is None if no earlier run was timed."""

    job: str
    model: str
    steps: tuple[BackfillStep, ...]
    seconds: float | None

    @property
    def due(self) -> tuple[BackfillStep, ...]:
        """Steps that are left to do."""
        return tuple(step for step in self.steps if step.status == "due")

    @property
    def impossible(self) -> tuple[BackfillStep, ...]:
        """Steps that cannot be done, with their reasons."""
        return tuple(step for step in self.steps if step.status in ("no model", "unreadable"))

    def runs(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield version and partitions of consecutive due steps of the same model."""
        for version, steps in groupby(self.due, key=lambda step: step.version):
            if version is not None:
                yield version, tuple(step.partition for step in steps)

    @property
    def sentence(self) -> str:
        """Describe the plan, for a terminal."""
        rows = sum(step.rows for step in self.due)
        count = f"{len(self.due)} of {len(self.steps)} partitions are due, {rows:,} rows"
        if self.seconds is not None:
            expected = f", about {seconds_text(self.seconds)} by the speed of earlier runs"
        else:
            expected = "; the duration is unknown until one partition is scored" if self.due else ""
        failed = f"; {len(self.impossible)} cannot be scored" if self.impossible else ""
        return f"{count}{expected}{failed}"


def plan_backfill(
    job_path: str | Path, *, first: str | None = None, last: str | None = None, model: str = "champion"
) -> BackfillPlan:
    """Plan which partitions from `first` to `last` are scored, and by which model. Nothing is written.

    Args:
        job_path: job file, or the folder that holds job.toml.
        first: first partition; None: the first of the source. `[score] from` and `to` do not apply.
        last: last partition, inclusive; None: the last of the source.
        model: alias or version; `as-of`: the version that was champion at the end of each partition's day, in UTC.

    Raises:
        ArgumentInvalid: `as-of` for a partition without a date.
        BundleNotFound: there is no such model.
        DataUnreadable: no partition lies between the bounds.
    """
    job = read_job(job_path)
    found = discover_as_of(job, day_end) if model == AS_OF else discover(job)
    partitions = well_placed(select(found, first, last))
    versions = _versions(job, partitions, model)
    planner = _Planner(job, as_of=model == AS_OF)
    steps = tuple(planner.step(each, version) for each, version in zip(partitions, versions, strict=True))
    return BackfillPlan(job=job.name, model=model, steps=steps, seconds=_expected_seconds(job, steps))


class _Model(NamedTuple):
    """Opened version, or the reason that there is none."""

    bundle: Bundle | None
    reason: str = ""


class _Planner:
    """Planner of the steps of one job; opens each version once."""

    def __init__(self, job: Job, *, as_of: bool) -> None:
        self._job = job
        self._as_of = as_of
        self._outputs = Outputs(job.out_path)
        self._settings = score_settings(job)
        self._models: dict[str, _Model] = {}

    def step(self, partition: Partition, version: str | None) -> BackfillStep:
        """Return the step of a partition; version: None if there was no champion."""
        try:
            rows = sum(read_footer(file).rows for file in partition.files)
        except DataUnreadable as error:
            return _step(partition, version, "unreadable", reason=str(error))
        if version is None:
            reason = "there was no champion on its day. Name a version to score it with"
            return _step(partition, None, "no model", rows, reason)
        model = self._open(version)
        if model.bundle is None:
            return _step(partition, version, "no model", rows, model.reason)
        bundle = model.bundle
        try:
            key = self._key(bundle, partition)
        except (DataUnreadable, SchemaMismatch) as error:
            return _step(partition, version, "unreadable", rows, reason=str(error))
        is_done = self._outputs.done(SCORE, partition.name, key) is not None
        return BackfillStep(
            partition=partition.name,
            version=version,
            status="already done" if is_done else "due",
            rows=rows,
            key=digest_of(str(self._outputs.root), partition.name, key),
        )

    def _key(self, bundle: Bundle, partition: Partition) -> str:
        inputs = [source_digest(file) for file in partition.files]
        if bundle.series is None:
            return partition_key(bundle, inputs, self._settings)
        settings = table_as_of(self._job, self._settings, partition.name) if self._as_of else self._settings
        neighbours = neighbours_of(bundle, bundle.series, partition, settings)
        context = neighbours.digests(check=lambda: None)
        return series_key(bundle, settings, inputs, list(context.values()))

    def _open(self, version: str) -> _Model:
        if version not in self._models:
            try:
                bundle = open_bundle(self._job, version)
                self._models[version] = _Model(with_active_calibration(self._job.out_path, bundle))
            except AepipeError as error:
                self._models[version] = _Model(None, str(error))
        return self._models[version]


def _step(
    partition: Partition, version: str | None, status: StepStatus, rows: int = 0, reason: str = ""
) -> BackfillStep:
    return BackfillStep(partition=partition.name, version=version, status=status, rows=rows, reason=reason)


def _versions(job: Job, partitions: Sequence[Partition], model: str) -> list[str | None]:
    """Return the version for each partition; None where there was no champion yet."""
    registry = Registry(job.bundle_path)
    if model != AS_OF:
        return [registry.resolve(model).name] * len(partitions)
    registry.resolve()  # raises without a champion
    history = [naming for naming in registry.history() if naming.alias == "champion"]
    found: list[str | None] = []
    for partition in partitions:
        date = date_of_partition(partition.name)
        if date is None:
            raise ArgumentInvalid(
                "model", [f"as-of needs the date of each partition: '{partition.name}' has none. Name a version."]
            )
        moment = end_of(date)
        found.append(next((naming.version for naming in reversed(history) if naming.when <= moment), None))
    return found


def _expected_seconds(job: Job, steps: Sequence[BackfillStep]) -> float | None:
    """Estimate the time of the due steps from the median speed of the scored partitions."""
    speeds = [
        manifest.details.rows_per_s
        for manifest in Outputs(job.out_path).manifests(SCORE)
        if manifest.details.rows_per_s
    ]
    if not speeds:
        return None
    return sum(step.rows for step in steps if step.status == "due") / median(speeds)
