"""Training rows of a series job: windows of the training, dev and calibration parts of a long table."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe.calibration.conformal import rows_needed
from aepipe.config.job import Job
from aepipe.config.series import MOST_CHANNELS_OF_WINDOWS, Series, parse_duration
from aepipe.encoding import fit
from aepipe.encoding.number import NumberCodec
from aepipe.errors import DataUnreadable, JobInvalid, SchemaMismatch, did_you_mean
from aepipe.jobs.inspect import infer_schema, read_footers, refuse_training_faults
from aepipe.jobs.role_warnings import taken_label_warnings
from aepipe.jobs.train.series_nights import Origin, shares_before
from aepipe.jobs.train.split import CALIBRATION, DEV, TRAIN
from aepipe.jobs.train.training_rows import FEWEST_ROWS, TrainingRows, refuse_reserved, training_batches
from aepipe.models import families
from aepipe.series.cutting import window_schema, window_table
from aepipe.series.dead_channels import longest_runs
from aepipe.series.grid import Grid, filled
from aepipe.series.scaling import Scaling
from aepipe.series.stage import SeriesRows, SeriesSource, SeriesStage
from aepipe.series.step_size import find_window, modal_step, phases
from aepipe.series.windows import covered_steps, window_starts, windows_at
from aepipe.tables.parquet_reader import Footer
from aepipe.tables.partitions import Partition
from aepipe.tables.schema_check import Schema

log = logging.getLogger(__name__)

MOST_WINDOWS = 4_000
"""Training windows are this many at most, equally spaced; neighbouring windows differ in two steps.

On a series of 10,000 points, 3,000 instead of 6,900 windows take 10 instead of 15 CPU seconds.
"""

MOST_STEPS = 20_000
"""Training rows of a network of single steps, equally spaced."""

_MOST_CALIBRATION_STEPS = 200_000
_MOST_GOLDEN_WINDOWS = 2_000
_TRAIN_ENDS, _DEV_ENDS = 0.7, 0.8
"""Shares of the rows where the parts of the network end; the memory knows all of them.

On 19 series of the Numenta Anomaly Benchmark, a network that also learns from the calibration part raises the mean
VUS-PR from .568 to .572 (one seed), most of it on one series; honest thresholds would need a second training.
"""

_REGULAR = 0.9
"""Least share of the rows in windows of regular steps; below it, the order of the rows tells more than the time."""


@dataclass(frozen=True, slots=True)
class CalibrationWindows:
    """Windows whose scores calibrate, and the points that they give a score."""

    values: NDArray[np.float32]
    """(S, F) scaled steps without missing values"""
    starts: NDArray[np.int64]
    """(W,) first step of each window"""
    counts: NDArray[np.bool_]
    """(S,) steps that calibrate"""
    last: NDArray[np.int64] | None
    """(S,) last step that is known when the step is scored; None: later steps are waited for"""
    window: int
    origin: Origin
    """(S,) partition and moment of each step"""


@dataclass(frozen=True, slots=True)
class SeriesTraining:
    """Stage of a series job, its windows as training rows, and the windows that calibrate."""

    stage: SeriesStage
    rows: TrainingRows
    calibration: CalibrationWindows
    grid: Grid
    names: tuple[str, ...]
    """Name of each entity of the grid"""
    source_rows: SeriesRows
    """The rows that the windows are cut from"""
    origin: Origin
    """(R,) partition and moment of each row"""


class _Parts(NamedTuple):
    """Part and origin of each row or step, int64 (R,) or (S,)."""

    part: NDArray[np.int64]
    partition: NDArray[np.int64]
    moment: NDArray[np.int64]


def read_series(job: Job, partitions: tuple[Partition, ...]) -> SeriesTraining:
    """Read the long table that `[train]` selects and cut the windows of its parts.

    The earliest 70 % of the rows train and the latest 20 % calibrate. No calibration window contains a training step,
    unless the series are too short for that.

    Raises:
        SchemaMismatch: Files do not fit the schema.
        JobInvalid: The job names an unknown column, or a step that does not fit the event time.
        DataUnreadable: There are too few rows, or no series is as long as a window.
    """
    settings = job.series or Series()
    partitions, rows_left_out = newest(job, partitions)
    footers = read_footers(partitions)
    schema = source_schema(job, partitions, footers)
    refuse_reserved(schema)
    refuse_training_faults(schema, footers)
    source, rows, partition = _read(job, settings, schema, partitions)
    part = _split(rows)
    stage = _fit_stage(job, settings, source, rows, part)
    if not stage.context:
        rows = of_partitions(rows, partition)
    grid, origin = stage.grid(rows), Origin.of(rows, partition)
    steps = _of_steps(grid, _Parts(part, *origin))
    warnings = [*rows_left_out, *taken_label_warnings(schema), *_notes(job, stage, rows, grid)]
    rows_each = sum(footer.rows for footer in footers) / len(partitions)
    training = _cut(job, stage, grid, steps, rows=rows, origin=origin, schema_per_partition=rows_each)
    points = int(training.calibration.counts.sum())
    if points < stage.window * rows_needed(job.calibration.alpha):
        log.info("%d calibration points hold %d independent windows", points, points // stage.window)
    for warning in warnings:
        log.warning("%s", warning)
    return replace(training, rows=replace(training.rows, warnings=tuple(warnings)))


def source_schema(job: Job, partitions: Sequence[Partition], footers: Sequence[Footer]) -> Schema:
    """Return the schema of a long table: channels are numbers; all columns but keys, times and labels are ignored.

    Raises:
        SchemaMismatch: A channel is no number, there is none, or a column is missing.
    """
    series = job.series or Series()
    _refuse_unknown(job, series, footers)
    named = {name: "number" for name in series.values if job.columns.get(name) is None}
    raw = job.model_dump(mode="json", by_alias=True)["columns"] | {name: {"kind": kind} for name, kind in named.items()}
    asked = Job.model_validate(job.model_dump(by_alias=True) | {"columns": raw, "source": job.source})
    schema = infer_schema(asked, partitions, footers)
    channels = series.values or tuple(column.name for column in schema.columns if column.kind == "number")
    if not channels:
        raise SchemaMismatch(
            "the table", ["has no number to be a channel of a series. Name one under [series] values."]
        )
    ignored = {"kind": "ignore", "why": "no channel of the series"}
    columns = [
        column
        if column.name in channels or column.kind in ("key", "label", "ignore")
        else column.model_copy(update=ignored)
        for column in schema.columns
    ]
    return Schema.of(columns, schema.arrow, event_time=schema.event_time, entity=schema.entity)


def _refuse_unknown(job: Job, series: Series, footers: Sequence[Footer]) -> None:
    """Raise SchemaMismatch if the section names a column that the newest file lacks."""
    names = footers[-1].schema.names
    faults = [
        f"has no column '{name}', which [series] {key} names{did_you_mean(name, names)}"
        for key, columns in {"entity": series.entity, "values": series.values}.items()
        for name in columns
        if name not in names
    ]
    if faults:
        raise SchemaMismatch(str(job.data_path), faults)


def of_partitions(rows: SeriesRows, partition: NDArray[np.int64]) -> SeriesRows:
    """Make the rows of each partition series of their own; partition: number of each row's partition, (R,)."""
    pairs, entity = np.unique(partition * len(rows.names) + rows.entity, return_inverse=True)
    return replace(rows, names=tuple(rows.names[pair % len(rows.names)] for pair in pairs), entity=entity)


def newest(job: Job, partitions: tuple[Partition, ...]) -> tuple[tuple[Partition, ...], list[str]]:
    """Return the newest partitions with at most `[train] max_rows` rows together, and a sentence about the others."""
    counts = [sum(footer.rows for footer in read_footers([partition])) for partition in partitions]
    newest_first = np.cumsum(counts[::-1])
    kept = max(1, int(np.searchsorted(newest_first, job.train.max_rows, side="right")))
    if kept >= len(partitions):
        return partitions, []
    return partitions[-kept:], [
        f"{sum(counts):,} rows are more than [train] max_rows, {job.train.max_rows:,}: the newest {kept} of "
        f"{len(partitions)} partitions are learned from"
    ]


def _read(
    job: Job, settings: Series, schema: Schema, partitions: tuple[Partition, ...]
) -> tuple[SeriesSource, SeriesRows, NDArray[np.int64]]:
    """Return the source, its rows, and the number of each row's partition, (R,)."""
    batches, numbers = [], []
    numbered = {partition.name: number for number, partition in enumerate(partitions)}
    for partition, batch in chosen_batches(job, schema, partitions):
        batches.append(batch)
        numbers.append(np.full(batch.num_rows, numbered[partition.name], np.int64))
    total = sum(batch.num_rows for batch in batches)
    if total < FEWEST_ROWS:
        chosen = f" where {job.train.where}" if job.train.where else ""
        raise DataUnreadable(
            f"{job.data_path}{chosen} has too few rows: expected at least {FEWEST_ROWS}, got {total}. Widen [train]."
        )
    encoding = fit(schema, batches)
    may_be_missing = tuple(
        codec.model_copy(update={"number": codec.number.model_copy(update={"may_be_missing": True})})
        for codec in encoding.codecs
        if isinstance(codec, NumberCodec)
    )
    source = SeriesSource(
        encoding=encoding.model_copy(update={"codecs": may_be_missing}), entity=settings.entity, time=schema.event_time
    )
    return source, source.read(batches), np.concatenate(numbers)


def chosen_batches(
    job: Job, schema: Schema, partitions: Sequence[Partition]
) -> Iterator[tuple[Partition, pa.RecordBatch]]:
    """Yield the rows that `[train]` selects, with their partition."""
    for partition, batch in training_batches(job, schema, partitions):
        yield partition, batch if job.train.condition is None else batch.filter(job.train.condition.mask(batch))


def _split(rows: SeriesRows) -> NDArray[np.int64]:
    """Assign each row to TRAIN, DEV or CALIBRATION by its time; without a time, by its place in its series."""
    used = rows.reasons == 0
    if rows.time is not None:
        times = np.sort(rows.time[used])
        if not len(times):
            return np.zeros(rows.rows, np.int64)
        ends = [times[min(int(share * len(times)), len(times) - 1)] for share in (_TRAIN_ENDS, _DEV_ENDS)]
        return np.searchsorted(ends, rows.time, side="right")
    return np.searchsorted([_TRAIN_ENDS, _DEV_ENDS], shares_before(rows), side="right")


def _fit_stage(
    job: Job, settings: Series, source: SeriesSource, rows: SeriesRows, part: NDArray[np.int64]
) -> SeriesStage:
    chosen = (part == TRAIN) & (rows.reasons == 0)
    entity = rows.entity[chosen]
    time = None if rows.time is None else rows.time[chosen]
    step = _step(job, settings, source, entity, time)
    phase, own = 0.0, dict[str, float]()
    if step is not None and time is not None and len(time):
        (phase,) = phases(np.zeros(len(time), np.int64), time, step, entities=1).tolist()
        shares = phases(entity, time, step, entities=len(rows.names))
        own = {name: float(share) for name, share in zip(rows.names, shares, strict=True) if np.isfinite(share)}
    stage = SeriesStage(
        source=source,
        step=step,
        phase=phase,
        phases=own,
        window=1,
        longest_gap=settings.longest_gap,
        context=settings.context,
        revise=settings.revise,
        scaling=Scaling.fit(rows.names, entity, rows.values[chosen], scale=settings.scale),
        longest_runs=longest_runs(rows),
    )
    learned = replace(rows, values=np.where((part == TRAIN)[:, None], rows.values, np.nan).astype(np.float32))
    in_time = _with_window(stage, settings, learned)
    if settings.step != "auto" or stage.step is None or (share := _share_in_windows(in_time, rows)) >= _REGULAR:
        return in_time
    in_order = _with_window(stage.model_copy(update={"step": None}), settings, learned)
    if _share_in_windows(in_order, rows) <= share:
        return in_time
    log.warning(
        "only %.0f %% of the rows lie in stretches of %d regular steps: steps follow the order of the rows. "
        "Set [series] step or gap to keep the time",
        100 * share,
        in_time.window,
    )
    return in_order


def _with_window(stage: SeriesStage, settings: Series, learned: SeriesRows) -> SeriesStage:
    if settings.window != "auto":
        return stage.model_copy(update={"window": settings.window})
    window = find_window(stage.grid(learned))
    log.info("windows of %d steps", window)
    return stage.model_copy(update={"window": window})


def _share_in_windows(stage: SeriesStage, rows: SeriesRows) -> float:
    """Return the share of the rows that lie in a segment as long as a window."""
    grid = stage.grid(rows)
    step = grid.row_step[grid.row_step >= 0]
    is_long = grid.segment_lengths >= stage.window
    segment = np.searchsorted(grid.segment_starts, step, side="right") - 1
    return float(is_long[segment].mean()) if len(step) else 1.0


def _step(
    job: Job, settings: Series, source: SeriesSource, entity: NDArray[np.int64], time: NDArray[np.int64] | None
) -> int | None:
    """Return the time between two steps; None for the order alone."""
    if time is None or settings.step == "row":
        return None
    if settings.step == "auto":
        step = modal_step(entity, time)
        if step is None:
            log.warning("no difference of '%s' is usual: steps follow the order of the rows", source.time)
        return step
    kind = source.encoding.schema.arrow.field(source.time or "").type
    if pa.types.is_integer(kind):
        raise JobInvalid(
            str(job.source),
            [
                f"series.step is a duration, but '{source.time}' holds integers: expected auto or row, got "
                f"{settings.step}. Use auto, or write '{source.time}' as a timestamp"
            ],
        )
    return parse_duration(settings.step)


def _of_steps(grid: Grid, rows: _Parts) -> _Parts:
    """Return part and partition of each step: the latest of its rows; a missing step belongs to the step before."""
    found = []
    on_grid = grid.row_step >= 0
    for of_rows in rows:
        of_steps = np.full(grid.steps, -1, np.int64)
        np.maximum.at(of_steps, grid.row_step[on_grid], of_rows[on_grid])
        known = np.maximum.accumulate(np.where(of_steps >= 0, np.arange(grid.steps), 0))
        found.append(of_steps[known])
    return _Parts(*found)


def _cut(
    job: Job,
    stage: SeriesStage,
    grid: Grid,
    steps: _Parts,
    *,
    rows: SeriesRows,
    origin: Origin,
    schema_per_partition: float,
) -> SeriesTraining:
    """Cut the windows of the parts."""
    window, values = stage.window, filled(grid, longest_gap=stage.longest_gap)
    starts = window_starts(grid, window)
    latest = steps.part[starts + window - 1]  # of each window: parts never decrease along a segment
    learned = starts[latest == TRAIN]
    if not len(learned):
        longest = int(grid.segment_lengths.max(initial=0))
        raise DataUnreadable(
            f"{job.data_path} has no series to learn from: expected {window} steps without a gap in the first 70 % of "
            f"the rows, got a longest series of {longest} steps. Set a smaller window, a larger gap, or step under "
            "[series]."
        )
    reads_single = _reads_single_steps(job, len(stage.source.channels))
    schema = window_schema(stage.source.channels, 1 if reads_single else window, by_step=_reads_by_step(job))
    dev = starts[latest == DEV]
    fewest = rows_needed(job.calibration.alpha)
    calibration = _calibration(stage, values, starts, steps, grid, fewest=fewest)

    def table(chosen: NDArray[np.int64], most: int) -> pa.Table:
        if reads_single:
            return window_table(
                windows_at(values, spaced(covered_steps(chosen, window, steps=grid.steps), MOST_STEPS), 1), schema
            )
        return window_table(windows_at(values, spaced(chosen, most), window), schema)

    none = table(learned[:0], 1)
    windows = TrainingRows(
        schema=schema,
        train=table(learned, MOST_WINDOWS),
        dev=table(dev if len(dev) else learned, MOST_WINDOWS // 4),
        calibration=table(calibration.starts, _MOST_GOLDEN_WINDOWS),
        anomalies=none,
        others=none,
        per_partition=schema_per_partition,
    )
    return SeriesTraining(stage, windows, calibration, grid, rows.names, rows, origin)


def _calibration(
    stage: SeriesStage,
    values: NDArray[np.float32],
    starts: NDArray[np.int64],
    steps: _Parts,
    grid: Grid,
    *,
    fewest: int,
) -> CalibrationWindows:
    """Return the newest windows without a training step; all windows if these have fewer points than alpha needs."""
    window = stage.window
    counts = steps.part == CALIBRATION
    fresh = starts[steps.part[starts] != TRAIN]  # parts never decrease along a segment
    kept = fresh if len(fresh) else starts[steps.part[starts + window - 1] == CALIBRATION]
    ends = np.bincount(kept, minlength=grid.steps) - np.bincount(kept + window, minlength=grid.steps)[: grid.steps]
    has_window = np.cumsum(ends) > 0
    if (counts & has_window).sum() < fewest:
        kept, counts = starts, np.ones(grid.steps, np.bool_)
    last = None if stage.revise else _last_known(grid, steps.partition)
    origin = Origin(steps.partition, steps.moment)
    return CalibrationWindows(values, kept[-_MOST_CALIBRATION_STEPS:], counts, last, window, origin)


def _last_known(grid: Grid, partition: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the last step of the segment that lies in the partition of each step or an earlier one, (S,)."""
    segment = np.repeat(np.arange(len(grid.segment_starts)), grid.segment_lengths)
    is_last = np.ones(grid.steps, np.bool_)
    is_last[:-1] = (partition[1:] != partition[:-1]) | (segment[1:] != segment[:-1])
    ends = np.flatnonzero(is_last)
    return ends[np.searchsorted(ends, np.arange(grid.steps))]


def spaced(starts: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Return at most `most` of the windows, equally spaced."""
    if len(starts) <= most:
        return starts
    return starts[np.linspace(0, len(starts) - 1, most).astype(np.int64)]


def _reads_by_step(job: Job) -> bool:
    """Return whether the network reads windows step by step."""
    family = families.find(job.model.family)
    return job.model.trunk == "recurrent" or set(family.backbones) == {"recurrent"}


def _reads_single_steps(job: Job, channels: int) -> bool:
    """Return whether the network reads single steps. Raises JobInvalid if the job asks for it and its trunk cannot."""
    asked = "auto" if job.series is None else job.series.reads
    can = job.model.trunk in (None, "mlp") and not _reads_by_step(job)
    if asked == "steps" and not can:
        raise JobInvalid(
            str(job.source), [f"series.reads = 'steps' needs trunk mlp, got {job.model.trunk or 'recurrent'}. Set it"]
        )
    return can and (asked == "steps" or (asked == "auto" and channels > MOST_CHANNELS_OF_WINDOWS))


def _notes(job: Job, stage: SeriesStage, rows: SeriesRows, grid: Grid) -> Iterator[str]:
    """Yield what a user should know about the rows before relying on the model."""
    if grid.duplicates:
        yield (
            f"{grid.duplicates:,} training rows share series and step with another row: the last row of a step counts"
        )
    reasons = stage.source.row_reasons
    for code in np.unique(rows.reasons[rows.reasons > 0]).tolist():
        yield f"{int((rows.reasons == code).sum()):,} training rows are left out: {reasons[code - 1]}"
    short = int((grid.segment_lengths < stage.window).sum())
    if short:
        yield (
            f"{short:,} of {len(grid.segment_lengths):,} stretches without a gap are shorter than a window of "
            f"{stage.window} steps: their points have no score"
        )
