"""Drift of scored partitions against the reference of their model, with its state over the partitions."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from aepipe.batch.scan_plan import plan_scan
from aepipe.bundles.bundle import Bundle
from aepipe.bundles.drift_reference import (
    DriftReference,
    ReferenceStream,
    StreamKey,
    StreamKind,
    channel_streams,
    input_streams,
    read_drift_reference,
)
from aepipe.bundles.job_bundle import open_bundle
from aepipe.config.drift import Drift, Retrain
from aepipe.config.job import Job, read_job
from aepipe.errors import AepipeError, BundleNotFound, DataUnreadable
from aepipe.jobs.drift.window import Counts, Window, WindowDrift, compare_counts, compare_window
from aepipe.jobs.results import Result
from aepipe.metrics.drift import LASTING_RUN, evidence, next_martingale
from aepipe.progress import Progress, no_progress
from aepipe.series.stage import SeriesRows, SeriesStage
from aepipe.storage import SCORE, Manifest, Outputs, ScoreDetails, put_json, read_parquet
from aepipe.storage.listing import files_below
from aepipe.storage.paths import drift_folder
from aepipe.stores import as_path
from aepipe.tables.parquet_reader import READ_ROWS, read_footer, slices
from aepipe.tables.partitions import full_names, natural_order

log = logging.getLogger(__name__)

C = TypeVar("C")
"""Counts of a stream in one partition, as an array or as they are stored."""

MOST_ROWS = 50_000
"""Rows per partition that are compared, evenly spaced: enough for a distance of 0.01."""


class StreamDrift(Result):
    """Change of one column, latent or score in one partition.

    `distance` is the Kolmogorov distance with its 95 % interval, `shift` the change in standard deviations of a normal
    distribution, `martingale` the evidence so far, `alarm` whether it or the evidence of the window is enough and no
    cool-down holds it back.
    """

    name: str
    kind: StreamKind
    distance: float
    low: float
    high: float
    shift: float
    p_value: float
    martingale: float
    alarm: bool
    cool_down: int
    """partitions in which this stream raises no alarm yet"""
    tolerance: float = 0.0
    """distance that is no drift: that of the job, or by which training partitions differ, if they differ by more"""
    is_sudden: bool = False
    """enough evidence without the window, in a cool-down too; the partition is left out of the window"""
    run: int = 0
    """partitions in a row that add to the evidence, this one included"""
    window: WindowDrift | None = None
    """change of the last partitions together; None until there are enough"""

    @property
    def is_lasting(self) -> bool:
        """True if the change is that of the window, or has shown in each of the last LASTING_RUN partitions."""
        return self.run >= LASTING_RUN or (self.window is not None and self.window.alarm)

    @property
    def key(self) -> StreamKey:
        """Kind and name."""
        return self.kind, self.name


class PartitionDrift(Result):
    """Drift of one partition, largest distance first; `skipped` says why it was not compared."""

    partition: str
    model_version: str
    key: str
    """key of the commit of the scores"""
    rows: int
    streams: tuple[StreamDrift, ...] = ()
    skipped: str = ""
    counts: Mapping[StreamKind, Mapping[str, tuple[int, ...]]] = Field({}, exclude=True, repr=False)
    """counts by stream as in the reference, without zeros at their end; in the file only, for later windows"""

    @property
    def counts_by_key(self) -> dict[StreamKey, tuple[int, ...]]:
        """Counts by kind and name of the stream."""
        return {(kind, name): counts for kind, of_kind in self.counts.items() for name, counts in of_kind.items()}

    @property
    def alarms(self) -> tuple[StreamDrift, ...]:
        """Streams with an alarm."""
        return tuple(stream for stream in self.streams if stream.alarm)


class DriftResult(Result):
    """Drift of the partitions that one model version has scored, in order."""

    model_version: str
    partitions: tuple[PartitionDrift, ...]

    @property
    def alarms(self) -> tuple[tuple[str, StreamDrift], ...]:
        """Partition and stream of every alarm."""
        return tuple((each.partition, stream) for each in self.partitions for stream in each.alarms)

    def needs_challenger(self, retrain: Retrain) -> bool:
        """Return whether `[drift] retrain` trains a challenger for these alarms."""
        lasting = any(stream.is_lasting for _, stream in self.alarms)
        return lasting if retrain == "lasting" else retrain and bool(self.alarms)

    @property
    def lines(self) -> list[str]:
        """Describe every alarm, for a terminal."""
        return [f"{partition}: {describe(stream)}" for partition, stream in self.alarms]


def describe(stream: StreamDrift) -> str:
    """Describe the change of a stream in one sentence."""
    what = {"column": f"column {stream.name}", "latent": f"latent {stream.name}", "score": "the score"}[stream.kind]
    found, when = shown_change(stream), ""
    if isinstance(found, WindowDrift):
        when = f" over the last {found.partitions} partitions"
    interval = f"95 % interval {found.low:.3f} to {found.high:.3f}"
    shift = f"shift {found.shift:+.2f} standard deviations"
    return f"{what} drifted{when}: distance {found.distance:.3f} ({interval}), {shift}"


def shown_change(stream: StreamDrift) -> StreamDrift | WindowDrift:
    """Return the change that a stream is described by: that of the window if it raised the alarm."""
    return stream.window if stream.window is not None and stream.window.alarm else stream


def measure_drift(
    job_path: str | Path,
    *,
    model: str = "champion",
    partitions: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> DriftResult:
    """Compare scored partitions with the reference of their model; compared ones are not compared again.

    Partitions that the model was trained on raise no alarm.

    Args:
        job_path: job file, or the folder that holds job.toml.
        model: alias or version.
        partitions: names, `2026-01-05` for `dt=2026-01-05`; None: every partition that the version has scored.
        progress: callback for progress.

    Raises:
        ArgumentInvalid: a partition has no scores of this version.
        BundleNotFound: the bundle has no reference, since an older version trained it.
    """
    job = read_job(job_path)
    if partitions is not None:
        version = open_bundle(job, model).version
        scored = [m.partition for m in Outputs(job.out_path).manifests(SCORE) if m.model_version == version]
        partitions = full_names(scored, partitions, what=f"scores of {version}")
    return _measure(job, model, partitions, progress)


def _measure(job: Job, model: str, partitions: Sequence[str] | None, progress: Progress | None = None) -> DriftResult:
    bundle = open_bundle(job, model)
    reference = read_drift_reference(bundle)
    if reference is None:
        raise BundleNotFound(f"{bundle.path} has no drift reference. Train again: aepipe train {job.source} --force")
    outputs = Outputs(job.out_path)
    manifests = [m for m in outputs.manifests(SCORE) if m.model_version == bundle.version]
    monitor = _Monitor(job, bundle, reference)
    found = []
    for index, manifest in enumerate(manifests):
        (progress or no_progress)(f"drift {manifest.partition}", index / len(manifests))
        if partitions is None or manifest.partition in partitions:
            found.append(monitor.measure(manifest))
    return DriftResult(model_version=bundle.version, partitions=tuple(found))


def measure_if_possible(job: Job, *, model: str = "champion", partitions: Sequence[str]) -> DriftResult | None:
    """Measure the drift of partitions in a nightly run; None if `[drift]` or the bundle does not provide for it.

    A fault is logged: it never stops a night.
    """
    if not job.drift.check or not partitions:
        return None
    try:
        if read_drift_reference(open_bundle(job, model)) is None:
            return None
        result = _measure(job, model, partitions)
    except AepipeError as error:
        log.warning("drift was not measured: %s", error)
        return None
    for line in result.lines:
        log.warning("%s", line)
    return result


class _Monitor:
    """Monitor of one model version; its state is in the records of the partitions."""

    def __init__(self, job: Job, bundle: Bundle, reference: DriftReference) -> None:
        self._job = job
        self._bundle = bundle
        self._trained = frozenset(bundle.manifest.train_partitions)
        self._reference = reference
        self._outputs = Outputs(job.out_path)
        self._records = {record.partition: record for record in read_drift(job.out_path, bundle.version)}

    def measure(self, manifest: Manifest[ScoreDetails]) -> PartitionDrift:
        """Compare a partition, or return its record if its scores have not changed since."""
        known = self._records.get(manifest.partition)
        if known is not None and known.key == manifest.key:
            return known
        record = self._compare(manifest)
        path = drift_folder(self._job.out_path, self._bundle.version) / f"{manifest.partition}.json"
        put_json(path, record.model_dump(mode="json") | {"counts": record.counts})
        self._records[record.partition] = record
        return record

    def _compare(self, manifest: Manifest[ScoreDetails]) -> PartitionDrift:
        blank = PartitionDrift(
            partition=manifest.partition,
            model_version=self._bundle.version,
            key=manifest.key,
            rows=manifest.details.rows,
        )
        if manifest.details.rows < self._job.drift.min_rows:
            reason = (
                f"it has {manifest.details.rows:,} rows, fewer than [drift] min_rows = {self._job.drift.min_rows:,}"
            )
            return blank.model_copy(update={"skipped": reason})
        try:
            counts = count_partition(self._bundle, self._reference, self._outputs, manifest)
        except (AepipeError, OSError) as error:
            return blank.model_copy(update={"skipped": str(error)})
        if manifest.partition in self._trained:
            # what a model has learned, and a promotion scores again, is no drift since
            streams = tuple(map(_without_alarm, compare_streams(self._reference, counts, {}, self._job.drift, {})))
        else:
            before, windows = self._state_before(manifest.partition)
            streams = compare_streams(self._reference, counts, before, self._job.drift, windows)
        stored: dict[StreamKind, dict[str, tuple[int, ...]]] = {}
        for (kind, name), found in counts.items():
            stored.setdefault(kind, {})[name] = tuple(np.trim_zeros(found, "b").tolist())
        return blank.model_copy(update={"streams": streams, "counts": stored})

    def _state_before(self, partition: str) -> tuple[Mapping[StreamKey, StreamDrift], Mapping[StreamKey, Window]]:
        """Return streams and windows after the latest compared partition before this one, which may be a late one."""
        place = natural_order(partition)
        compared = [each for each in self._records.values() if each.streams and each.partition not in self._trained]
        earlier = [each for each in compared if natural_order(each.partition) < place]
        streams, stored = dict[StreamKey, StreamDrift](), dict[StreamKey, tuple[tuple[int, ...], ...]]()
        for record in sorted(earlier, key=lambda each: natural_order(each.partition)):
            streams = {stream.key: stream for stream in record.streams}
            stored = next_windows(stored, record.counts_by_key, streams, self._job.drift.window)
        sizes = {stream.key: len(stream.counts) for stream in self._reference.streams}
        windows = {
            key: tuple(np.array(found + (0,) * (sizes[key] - len(found)), np.int64) for found in window)
            for key, window in stored.items()
            if key in sizes
        }
        return streams, windows


def compare_streams(
    reference: DriftReference,
    counts: Counts,
    before: Mapping[StreamKey, StreamDrift],
    settings: Drift,
    windows: Mapping[StreamKey, Window],
) -> tuple[StreamDrift, ...]:
    """Compare the counts of one partition with the reference, given the state after the partition before.

    Args:
        reference: reference of the bundle.
        counts: counts by stream, as `ReferenceStream.count`; a stream without counts is left out.
        before: state of the streams after the partition before.
        settings: `[drift]` of the job.
        windows: counts of the partitions before by stream, as `next_windows`.

    Returns:
        Streams, largest distance first.
    """
    streams = [stream for stream in reference.streams if stream.key in counts and counts[stream.key].sum()]
    tests = len(reference.streams) * (2 if settings.window else 1)
    enough = tests / settings.false_alarm
    found = [
        _compare_stream(
            stream,
            counts[stream.key],
            before.get(stream.key),
            settings,
            windows.get(stream.key, ()),
            enough=enough,
        )
        for stream in streams
    ]
    return tuple(sorted(found, key=lambda stream: -stream.distance))


def next_windows(
    windows: Mapping[StreamKey, tuple[C, ...]],
    counts: Mapping[StreamKey, C],
    streams: Mapping[StreamKey, StreamDrift],
    size: int,
) -> dict[StreamKey, tuple[C, ...]]:
    """Return the windows after a partition: empty after their alarm, and without sudden changes.

    Args:
        windows: counts of the latest partitions by stream.
        counts: counts of the partition.
        streams: its streams.
        size: number of partitions of a full window, the one to be compared included.
    """
    found = dict(windows)
    for key, stream in streams.items():
        if stream.window is not None and stream.window.alarm:
            found[key] = ()
        elif key in counts and not stream.is_sudden:
            found[key] = (*found.get(key, ()), counts[key])[-(size - 1) :] if size > 1 else ()
    return found


def _compare_stream(
    stream: ReferenceStream,
    current: NDArray[np.int64],
    before: StreamDrift | None,
    settings: Drift,
    window: Window,
    *,
    enough: float,
) -> StreamDrift:
    """Compare one stream; enough: evidence that raises an alarm, shared among all tests (Bonferroni)."""
    between = 0.0 if stream.spread is None else stream.spread.bound(1 / enough)
    change, tolerance, p_value = compare_counts(stream, current, settings, between=between, enough=enough)
    martingale = next_martingale(1.0 if before is None else before.martingale, p_value)
    waiting = 0 if before is None else before.cool_down
    # what is left of an odd night never raises an alarm on an ordinary one
    is_sudden = martingale >= enough and evidence(p_value) > 1
    lasting = (
        None
        if is_sudden
        else compare_window(stream, (*window, current), settings, enough=enough, can_alarm=waiting == 0)
    )
    alarm = (is_sudden and waiting == 0) or (lasting is not None and lasting.alarm)
    return StreamDrift(
        name=stream.name,
        kind=stream.kind,
        distance=change.distance,
        low=change.low,
        high=change.high,
        shift=change.shift,
        tolerance=tolerance,
        p_value=p_value,
        martingale=1.0 if is_sudden else martingale,  # in a cool-down too: it would last beyond it
        alarm=alarm,
        cool_down=settings.cool_down if alarm else max(0, waiting - 1),
        is_sudden=is_sudden,
        run=0 if evidence(p_value) <= 1 else 1 + (0 if before is None else before.run),
        window=lasting,
    )


def _without_alarm(stream: StreamDrift) -> StreamDrift:
    """Return the change of a stream without any evidence."""
    return stream.model_copy(
        update={"alarm": False, "is_sudden": False, "martingale": 1.0, "run": 0, "cool_down": 0, "window": None}
    )


def count_partition(
    bundle: Bundle, reference: DriftReference, outputs: Outputs, manifest: Manifest[ScoreDetails]
) -> dict[StreamKey, NDArray[np.int64]]:
    """Count the values of a partition in the bins of the reference, on at most MOST_ROWS evenly spaced rows.

    Raises DataUnreadable if an output is gone.
    """
    step = max(1, -(-manifest.details.rows // MOST_ROWS))
    if bundle.series is None:
        named = list(input_streams(bundle.encoding, _encoded(bundle, manifest, step)))
    else:
        named = list(channel_streams(bundle.series, _points(bundle.series, manifest, step)))
    found: dict[StreamKey, NDArray[np.generic]] = {(kind, name): values for name, kind, values in named}
    latents = [stream.name for stream in reference.streams if stream.kind == "latent"]
    outputs_of: tuple[tuple[str, StreamKind, list[str]], ...] = (
        ("scores", "score", ["score"]),
        ("features", "latent", latents),
    )
    for output, kind, names in outputs_of:
        if output in manifest.files and names:
            table = read_parquet(outputs.root / manifest.files[output].path, names)
            for name in names:
                values = np.asarray(table[name].to_numpy(), np.float64)[::step]
                found[kind, name] = values[np.isfinite(values)]
    return {stream.key: stream.count(found[stream.key]) for stream in reference.streams if stream.key in found}


def _encoded(bundle: Bundle, manifest: Manifest[ScoreDetails], step: int) -> Mapping[str, NDArray[np.generic]]:
    """Read and encode every step-th row of the source."""
    if not bundle.encoding.layout.has_cells:
        return {}
    names = [column.name for column in bundle.encoding.schema.without_keys().columns]
    parts: list[Mapping[str, NDArray[np.generic]]] = []
    for path in map(as_path, manifest.details.inputs):
        present = set(read_footer(path).schema.names)
        for batch in slices([path], [name for name in names if name in present], rows=READ_ROWS):
            rows = pa.Table.from_batches([batch]).take(np.arange(0, batch.num_rows, step))
            parts.append(bundle.encoding.encode_table(rows, rows=READ_ROWS).arrays)
    if not parts:
        raise DataUnreadable(f"{manifest.partition} has no source file.")
    return {port: np.concatenate([part[port] for part in parts]) for port in parts[0]}


def _points(stage: SeriesStage, manifest: Manifest[ScoreDetails], step: int) -> SeriesRows:
    """Read every step-th row of the source of a series job."""
    plan = plan_scan([as_path(path) for path in manifest.details.inputs], stage.source.encoding)
    batches = [batch.take(np.arange(0, batch.num_rows, step)) for scan in plan.files for batch in scan.batches()]
    return stage.source.read(batches)


def read_drift(out: Path, model_version: str) -> tuple[PartitionDrift, ...]:
    """Return the records of a model version in the order of the partitions; unreadable records count as absent."""
    found = []
    for path in files_below(drift_folder(out, model_version), "*.json"):
        try:
            found.append(PartitionDrift.model_validate(json.loads(path.read_bytes())))
        except (ValueError, ValidationError):
            log.warning("%s cannot be read; the partition is compared again", path)
    return tuple(sorted(found, key=lambda record: natural_order(record.partition)))
