"""Score one partition of a series job and commit scores, events and the states of the thresholds.

The partition and the context of its windows are held in memory; earlier nights are not.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe.batch.input_files import InputFiles
from aepipe.batch.run_stats import RunStats, score_details
from aepipe.batch.scan_plan import ScanPlan, passthrough_columns, plan_scan
from aepipe.batch.score_settings import ScoreSettings
from aepipe.batch.series.context import with_context
from aepipe.batch.series.events import Alarms, event_rows, event_schema, find_events
from aepipe.batch.series.neighbours import Neighbours, find_neighbours
from aepipe.batch.series.thresholds import OUTPUT, SCHEMA, Thresholds, thresholds_before
from aepipe.bundles.bundle import Bundle
from aepipe.encoding.number import NumberCodec
from aepipe.errors import DataUnreadable, SchemaMismatch, TooManyInvalid
from aepipe.inference.batch_runner import Runner
from aepipe.inference.output_schema import without_taken_labels
from aepipe.inference.series_columns import PointPredictions, point_columns, point_schema
from aepipe.inference.series_scores import (
    ScoredSteps,
    point_predictions,
    reason_codes,
    score_steps,
    scores_of_rows,
    strongest_channels,
)
from aepipe.inference.session import Session
from aepipe.series.dead_channels import find_dead
from aepipe.series.stage import SeriesRows, SeriesStage
from aepipe.storage import SCORE, Commit, Outputs, PartitionResult, ScoreDetails, digest_of
from aepipe.storage.run_details import DeadChannel
from aepipe.tables.partitions import Partition

log = logging.getLogger(__name__)

MOST_DEAD = 100
"""Dead channels of single entities that a manifest lists."""

CONTRACT = "score series/1"
"""Part of every key; increased when the same rows and model would give other outputs."""


class ReadingSlot(Protocol):
    """Place of one partition in a run."""

    def acquire(self) -> None:
        """Wait for the right to read the partition."""

    def report_progress(self, fraction: float) -> None:
        """Report the fraction of rows that are written."""

    def check(self) -> None:
        """Raise the error that stopped the run, if any."""


def score_series(
    bundle: Bundle,
    stage: SeriesStage,
    partition: Partition,
    settings: ScoreSettings,
    runner: Runner[Session],
    *,
    slot: ReadingSlot,
) -> PartitionResult:
    """Score the points of a partition and commit its outputs, unless they are there already.

    Args:
        bundle: model.
        stage: stage of the model.
        partition: name and source files.
        settings: what to write, and where; its table names the partitions that windows reach into.
        runner: session of the calling thread.
        slot: place in the run.

    Raises:
        Busy: another process writes the partition.
        DataUnreadable: a file cannot be read, changed while it was read, or is misplaced.
        SchemaMismatch: a file has other columns than the bundle was trained on.
        TooManyInvalid: more rows than allowed have no time or no value.
    """
    if partition.misplaced:
        raise DataUnreadable(partition.misplaced)
    began, stats, outputs = perf_counter(), RunStats(), Outputs(settings.out)
    order_lock = outputs.in_turn(wait_s=settings.wait_s, check=slot.check) if settings.adaptive else nullcontext()
    opened = outputs.commit(SCORE, partition.name, force=settings.force, wait_s=settings.wait_s, check=slot.check)
    with opened as commit, order_lock:
        with stats.timed("digest"):
            plan = plan_scan(partition.files, stage.source.encoding)
            neighbours = neighbours_of(bundle, stage, partition, settings)
            all_files = [file for each in (partition, *neighbours.before, *neighbours.after) for file in each.files]
            files = InputFiles(all_files)
            inputs = InputFiles(partition.files).digest(check=slot.check, known=settings.known)
            context = neighbours.digests(check=slot.check)
        commit.take_key(series_key(bundle, settings, list(inputs.values()), list(context.values())))
        if commit.done is not None:
            return PartitionResult.of_manifest(commit.done, settings.out, "already done")
        slot.acquire()
        thresholds = None
        if settings.adaptive:
            thresholds = thresholds_before(outputs, partition.name, bundle, window=stage.window)
        scoring = _SeriesScoring(bundle, stage, plan, stats, thresholds)
        points = scoring.score(neighbours, runner)
        slot.report_progress(0.9)
        scoring.refuse_invalid(points, partition.name, settings.max_invalid_share)
        events = scoring.write(points, commit)
        files.refuse_changed()
        wall_s = perf_counter() - began
        details = score_details(bundle, stats, runner, plan, settings, inputs, wall_s=wall_s)
        own = {"context": context, "events": events, **points.details}
        manifest = commit.publish(model_version=bundle.version, details=details.model_copy(update=own))
        return PartitionResult.of_manifest(manifest, settings.out, "written")


def neighbours_of(bundle: Bundle, stage: SeriesStage, partition: Partition, settings: ScoreSettings) -> Neighbours:
    """Return the partitions that the windows of another one reach into, and its history."""
    history = 0 if bundle.memory is None else bundle.memory.history
    return find_neighbours(stage, partition, settings.table, history=history)


def series_key(bundle: Bundle, settings: ScoreSettings, inputs: Sequence[str], context: Sequence[str]) -> str:
    """Digest everything the outputs depend on: files, files of the context, model, calibration, settings, contract."""
    kind = "points, adaptive" if settings.adaptive else "points"
    if settings.adaptive and bundle.series is not None and bundle.series.step is None:
        kind += ", not after training partitions"
    return digest_of(CONTRACT, bundle.version, bundle.calibration.digest, kind, *inputs, "context", *context)


def score_points(
    bundle: Bundle, stage: SeriesStage, partition: Partition, table: Sequence[Partition], runner: Runner[Session]
) -> PointPredictions:
    """Score the points of a partition in memory, flagged by the calibration alone; nothing is written.

    Args:
        bundle: model.
        stage: stage of the model.
        partition: name and source files.
        table: all partitions of the table, which windows reach into.
        runner: session of the calling thread.

    Raises:
        DataUnreadable, SchemaMismatch: as for `score_series`.
    """
    plan = plan_scan(partition.files, stage.source.encoding)
    scoring = _SeriesScoring(bundle, stage, plan, RunStats(), None)
    history = 0 if bundle.memory is None else bundle.memory.history
    return scoring.score(find_neighbours(stage, partition, table, history=history), runner).predictions


@dataclass(frozen=True, slots=True)
class _Points:
    """Predictions of the rows of a partition, and its alarms."""

    predictions: PointPredictions
    alarms: Alarms
    names: Sequence[str]
    passthrough: Mapping[str, pa.Array]
    times: NDArray[np.int64] | None
    duplicates: int
    absent: tuple[str, ...]
    """Channels without a value in the partition."""
    dead: tuple[DeadChannel, ...]
    """Other channels of single entities that are dead in the partition."""

    @property
    def details(self) -> dict[str, object]:
        """Return what the manifest tells of the rows, by field of its details."""
        dead = {"dead": self.dead[:MOST_DEAD], "dead_count": len(self.dead)}
        return {"duplicates": self.duplicates, "absent": self.absent, **dead}


class _SeriesScoring:
    """Scoring of one partition.

    Raises:
        SchemaMismatch: a passthrough column that is not a label has the name of an output column.
    """

    def __init__(
        self, bundle: Bundle, stage: SeriesStage, plan: ScanPlan, stats: RunStats, thresholds: Thresholds | None
    ) -> None:
        self._bundle = bundle
        self._stage = stage
        self._plan = plan
        self._stats = stats
        self._thresholds = thresholds
        self._history = 0 if bundle.memory is None else bundle.memory.history
        self._copied = without_taken_labels(plan.passthrough, stage.source.encoding.schema.labels)
        self._schema = point_schema(self._copied)
        taken = [field.name for field in self._copied if self._schema.names.count(field.name) > 1]
        if taken:
            raise SchemaMismatch(
                "keys and labels cannot be copied to the outputs:",
                [
                    f"column '{name}' has the name of an output column of scores. Rename it in the source"
                    for name in taken
                ],
            )

    def score(self, neighbours: Neighbours, runner: Runner[Session]) -> _Points:
        """Read the partition with its context and score its points."""
        stats, stage = self._stats, self._stage
        with stats.timed("read"):
            own = [batch for scan in self._plan.files for batch in scan.batches()]
            passthrough = self._passthrough(own)
            mine = stage.source.read(own)
            rows, is_own = with_context(stage, mine, neighbours, history=self._history)
        with stats.timed("infer"):
            scored = score_steps(runner, self._bundle.encoding, stage, rows, is_own, self._bundle.memory)
        with stats.timed("write"):
            codes = reason_codes(stage, rows, scored)
            predictions, alarms = self._predict(scored, rows, is_own, codes, runner)
        self._count(predictions)
        on_grid = scored.grid.row_step[is_own & (scored.grid.row_step >= 0)]
        duplicates = len(on_grid) - len(np.unique(on_grid))
        times = None if mine.time is None else mine.time
        values = mine.values[mine.reasons == 0]
        is_absent = np.isnan(values).all(axis=0) & (len(values) > 0)
        absent = tuple(channel for channel, none in zip(stage.source.channels, is_absent, strict=True) if none)
        dead = self._dead(mine, absent)
        return _Points(predictions, alarms, rows.names, passthrough, times, duplicates, absent, dead)

    def _dead(self, mine: SeriesRows, absent: Sequence[str]) -> tuple[DeadChannel, ...]:
        """Return the dead channels of single entities in the units of the source."""
        codecs = self._stage.source.encoding.codecs
        offsets = {codec.name: codec.offset for codec in codecs if isinstance(codec, NumberCodec)}
        found = []
        for entity, at, value, longest in find_dead(mine, self._stage.longest_runs):
            channel = self._stage.source.channels[at]
            known = None if value is None else value + offsets[channel]
            if channel not in absent:
                found.append(DeadChannel(entity=entity, channel=channel, value=known, longest=longest))
        return tuple(found)

    def refuse_invalid(self, points: _Points, partition: str, allowed: float) -> None:
        """Raise TooManyInvalid if too many rows have no time or no value; points without a window do not count."""
        faulty = set(self._stage.source.row_reasons)
        found = {reason: count for reason, count in self._stats.invalid.items() if reason in faulty}
        invalid, rows = sum(found.values()), self._stats.rows
        if invalid > allowed * rows:
            reasons = "; ".join(f"{count:,} x {reason}" for reason, count in Counter(found).most_common())
            raise TooManyInvalid(
                f"partition {partition}: {invalid:,} of {rows:,} rows cannot be scored ({reasons}), more "
                f"than [score] max_invalid_share, {allowed:.1%}. Check the source, or raise the share."
            )

    def write(self, points: _Points, commit: Commit[ScoreDetails]) -> int:
        """Write all outputs and return the number of events."""
        with self._stats.timed("write"):
            sink = commit.open("scores", self._schema)
            arrays = [points.passthrough[field.name] for field in self._copied]
            arrays += point_columns(points.predictions, self._bundle.version)
            sink.write(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
            count = self._write_events(points, commit)
            if self._thresholds is not None:
                states = commit.open(OUTPUT, SCHEMA)
                for batch in self._thresholds.batches():
                    states.write(batch)
        with self._stats.timed("commit"):
            sink.close()
        return count

    def _write_events(self, points: _Points, commit: Commit[ScoreDetails]) -> int:
        fields = {field.name: field for field in self._plan.passthrough}
        source, alarms = self._stage.source, points.alarms
        schema = event_schema([fields[name] for name in source.entity], fields.get(source.time or ""))
        events = find_events(alarms, window=self._stage.window)
        firsts = [each.first for each in events]
        continues = [self._continues(points, int(alarms.row[at]), int(alarms.entity[at])) for at in firsts]
        self._remember(points)
        rows = event_rows(
            events,
            alarms,
            schema,
            passthrough=dict(points.passthrough),
            entity=source.entity,
            time=source.time,
            channels=source.channels,
            continues=continues,
            version=self._bundle.version,
        )
        commit.open("events", schema).write(rows)
        return len(events)

    def _continues(self, points: _Points, row: int, entity: int) -> bool:
        """Return whether an alarm lies less than a window after the last alarm of an earlier partition."""
        if self._thresholds is None or points.times is None or self._stage.step is None:
            return False
        last = self._thresholds.last_alarm(points.names[entity])
        return last is not None and 0 < points.times[row] - last < self._stage.window * self._stage.step

    def _remember(self, points: _Points) -> None:
        """Record the time of the last alarm of each entity, for the next partition."""
        if self._thresholds is None or points.times is None:
            return
        for row, entity in zip(points.alarms.row.tolist(), points.alarms.entity.tolist(), strict=True):
            self._thresholds.set_last_alarm(points.names[entity], int(points.times[row]))

    def _passthrough(self, batches: Sequence[pa.RecordBatch]) -> dict[str, pa.Array]:
        fields = self._plan.passthrough
        parts = [passthrough_columns(batch, fields) for batch in batches]
        return {
            field.name: pa.chunked_array([part[field.name] for part in parts], field.type).combine_chunks()
            for field in fields
        }

    def _predict(
        self,
        scored: ScoredSteps,
        rows: SeriesRows,
        is_own: NDArray[np.bool_],
        codes: NDArray[np.int64],
        runner: Runner[Session],
    ) -> tuple[PointPredictions, Alarms]:
        """Return the predictions of the own rows and their alarms, one per step."""
        step, reason = scored.grid.row_step[is_own], codes[is_own]
        has_score = reason == 0
        scores = scores_of_rows(scored, np.where(has_score, step, -1), self._bundle.calibration)
        score, p_value = scores.score, scores.p_value
        own_steps, first_row = np.unique(step[has_score], return_index=True)  # ascending: by entity, then time
        row = np.flatnonzero(has_score)[first_row]
        entity = rows.entity[is_own][row]
        is_flagged = self._flags(rows.names, entity, score[row], p_value[row])
        flagged = own_steps[is_flagged]
        channel = strongest_channels(runner, self._bundle.encoding, self._stage, scored, flagged)
        channel_of_row = np.full(len(step), -1, np.int64)
        is_anomaly = has_score & np.isin(step, flagged)
        channel_of_row[is_anomaly] = channel[np.searchsorted(flagged, step[is_anomaly])]
        alarmed = row[is_flagged]
        alarms = Alarms(
            alarmed, entity[is_flagged], flagged, score[alarmed].astype(np.float64), p_value[alarmed], channel
        )
        predictions = point_predictions(
            self._stage, scores, reason=reason, is_anomaly=is_anomaly, channel=channel_of_row
        )
        return predictions, alarms

    def _flags(
        self,
        names: Sequence[str],
        entity: NDArray[np.int64],
        score: NDArray[np.float32],
        p_value: NDArray[np.float64],
    ) -> NDArray[np.bool_]:
        """Return whether each point is flagged, (P,); points are in the order of entity and time."""
        if self._thresholds is None:
            return self._bundle.calibration.is_anomaly(p_value)
        found = np.zeros(len(score), np.bool_)
        codes, begins, counts = np.unique(entity, return_index=True, return_counts=True)
        for code, begin, count in zip(codes.tolist(), begins.tolist(), counts.tolist(), strict=True):
            mine = slice(begin, begin + count)
            found[mine] = self._thresholds.flags(names[code], score[mine])
        return found

    def _count(self, found: PointPredictions) -> None:
        stats = self._stats
        stats.rows, stats.flagged = len(found.score), int(found.is_anomaly.sum())
        channels = found.channel[found.is_anomaly]
        stats.flag_reasons.update(found.channels[channel] for channel in channels.tolist())
        counts = np.bincount(found.reason, minlength=len(found.reasons))
        codes = (np.flatnonzero(counts[1:]) + 1).tolist()
        stats.invalid.update({found.reasons[code]: int(counts[code]) for code in codes})
