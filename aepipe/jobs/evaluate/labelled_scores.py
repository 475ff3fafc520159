"""Scores joined with labels: the scored rows whose label is known."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from numpy.typing import NDArray

from aepipe.errors import EvaluationInvalid, SchemaMismatch
from aepipe.inference.output_schema import CELL_Z
from aepipe.jobs.ground_truth import LabelRule, Labels
from aepipe.jobs.scored_partitions import ScoredPartitions
from aepipe.storage import Manifest, ScoreDetails
from aepipe.stores import as_path
from aepipe.tables.arrow_arrays import numpy_of, rows_at
from aepipe.tables.entities import Entities
from aepipe.tables.parquet_reader import READ_ROWS, slices
from aepipe.tables.unification import parse_text_columns, unified_table

CHANGED = "its source is gone or was written again since it was scored"


@dataclass(frozen=True, slots=True)
class ScoredPartition:
    """Labelled rows of a partition; `rows` holds their positions."""

    manifest: Manifest[ScoreDetails]
    rows: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class LabelledScores:
    """Labelled rows of several partitions, one after the other."""

    nights: tuple[ScoredPartition, ...]
    truth: NDArray[np.bool_]
    """(B,)"""
    scores: NDArray[np.float64]
    """(B,), -inf for a row without a score, which raises no alarm"""
    flagged: NDArray[np.bool_]
    """(B,), by the active calibration"""
    in_time: NDArray[np.int64] | None
    """the rows that have an event time in its order; None where the job names no such column"""
    unlabelled: int
    """rows of these nights that are left out, since nothing says what they are"""
    left_out: Mapping[str, str]
    """partitions without a row here, and why"""

    @property
    def unscored(self) -> int:
        """Number of rows without a score."""
        return int(np.isneginf(self.scores).sum())

    def sample(self, most: int, *, seed: int = 0) -> "LabelledScores":
        """Draw at most this many rows at random, in their order."""
        if len(self.truth) <= most:
            return self
        chosen = np.sort(np.random.default_rng(seed).choice(len(self.truth), most, replace=False))
        ends = np.cumsum([len(night.rows) for night in self.nights])
        parts = np.split(chosen, np.searchsorted(chosen, ends[:-1]))
        begins = ends - [len(night.rows) for night in self.nights]
        nights = [
            replace(night, rows=night.rows[part - begin])
            for night, part, begin in zip(self.nights, parts, begins, strict=True)
        ]
        return replace(
            self,
            nights=tuple(nights),
            truth=self.truth[chosen],
            scores=self.scores[chosen],
            flagged=self.flagged[chosen],
            in_time=None,  # with gaps, one event would count as several
        )


def join_labels(scored: ScoredPartitions, truth: LabelRule) -> LabelledScores:
    """Join scores with labels, for partitions whose source is unchanged since it was scored.

    Raises:
        EvaluationInvalid: No night has labelled rows, or none of them has a score.
    """
    left_out: dict[str, str] = {}
    nights: list[ScoredPartition] = []
    truths, scores, flags, times = [], [], [], []
    unlabelled = 0
    for manifest in scored.manifests:
        why = _unfit(scored, manifest)
        read = why if why is not None else read_labels(scored, manifest, truth)
        if isinstance(read, str):
            left_out[manifest.partition] = read
            continue
        labels, when = read
        rows = np.flatnonzero(labels.known)
        unlabelled += len(labels.known) - len(rows)
        if not len(rows):
            left_out[manifest.partition] = f"{truth.words} labels none of its {len(labels.known):,} rows"
            continue
        found, flagged = _alarms(scored, manifest)
        nights.append(ScoredPartition(manifest, rows))
        truths.append(labels.is_anomaly[rows])
        scores.append(np.where(np.isnan(found), -np.inf, found)[rows])
        flags.append(flagged[rows])
        if when is not None:
            times.append(when.take(rows_at(rows)))
    if not nights:
        raise EvaluationInvalid(
            f"no scored night can be evaluated: {_reasons(left_out)}. Score one whose labels are known."
        )
    if all(np.isneginf(each).all() for each in scores):
        names = f"{nights[0].manifest.partition} to {nights[-1].manifest.partition}"
        raise EvaluationInvalid(
            f"the score column of {names} is null in all {sum(map(len, scores)):,} rows. See column invalid_reason "
            "for the cause."
        )
    return LabelledScores(
        tuple(nights),
        np.concatenate(truths),
        np.concatenate(scores),
        np.concatenate(flags),
        _in_time(times) if len(times) == len(nights) else None,
        unlabelled,
        left_out,
    )


def sources(scored: ScoredPartitions, labelled: LabelledScores) -> Iterator[pa.Table]:
    """Yield the labelled rows of the source, in order, in bounded tables; small nights of one schema together."""
    held: list[pa.RecordBatch] = []
    for batch in _labelled_batches(scored, labelled):
        if held and not _fits(batch, held):
            yield pa.Table.from_batches(held)
            held = []
        held.append(batch)
    if held:
        yield pa.Table.from_batches(held)


def _fits(batch: pa.RecordBatch, held: Sequence[pa.RecordBatch]) -> bool:
    """Return whether a batch may join others: few enough rows of one schema, without dictionaries, which may differ."""
    is_plain = not any(pt.is_dictionary(kind) for kind in batch.schema.types)
    rows = sum(each.num_rows for each in held) + batch.num_rows
    return rows <= READ_ROWS and is_plain and batch.schema.equals(held[0].schema, check_metadata=True)


def _labelled_batches(scored: ScoredPartitions, labelled: LabelledScores) -> Iterator[pa.RecordBatch]:
    for night in labelled.nights:
        begin = 0
        for batch in scored.sources(night.manifest):
            inside = night.rows[(night.rows >= begin) & (night.rows < begin + batch.num_rows)] - begin
            begin += batch.num_rows
            if len(inside):
                yield batch.take(rows_at(inside))


def _unfit(scored: ScoredPartitions, manifest: Manifest[ScoreDetails]) -> str | None:
    """Return why the scores of a partition cannot be evaluated; None if they can."""
    if not manifest.details.rows:
        return "it has no rows"
    if manifest.partition not in scored.unchanged:
        return CHANGED
    if manifest.details.stream is not None and not scored.has_active_calibration(manifest):
        return "its alarms adapted along a stream, under another calibration than the active one: score it again"
    return None


def _alarms(
    scored: ScoredPartitions, manifest: Manifest[ScoreDetails]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return scores and flags of the active calibration, (B,) each; flags are read if they were written under it."""
    calibration = scored.model.bundle.calibration
    columns = scored.model.bundle.source.schema.entity if calibration.entities else ()
    cells = [CELL_Z] if calibration.cells is not None and manifest.details.has_cells else []
    written = scored.read("scores", manifest, ["score", "is_anomaly", *columns, *cells])
    scores = numpy_of(written["score"]).astype(np.float64)
    if scored.has_active_calibration(manifest):
        return scores, numpy_of(written["is_anomaly"])
    flags = calibration.is_anomaly(calibration.p_values(scores, Entities.find(written, columns)))
    if cells and calibration.cells is not None:
        flags |= calibration.is_cell_anomaly(calibration.cells.p_values(numpy_of(written[CELL_Z])))
    return scores, flags


def read_labels(
    scored: ScoredPartitions, manifest: Manifest[ScoreDetails], truth: LabelRule
) -> tuple[Labels, pa.ChunkedArray | None] | str:
    """Read the labels and the event times of a partition; return a clause if one of its files lacks a column."""
    event_time = scored.job.data.event_time
    columns = sorted(truth.columns | ({event_time} if event_time else set()))
    paths = [as_path(path) for path in manifest.details.inputs]
    arrow = scored.model.bundle.source.schema.arrow
    try:  # conditions see what the model sees: numbers and times that are stored as text are parsed
        batches = [parse_text_columns(batch, arrow) for batch in slices(paths, columns, rows=READ_ROWS)]
    except SchemaMismatch as error:
        return f"it {error.faults[0]}"
    if not batches:
        return "it has no rows"
    table = unified_table(batches)
    return truth.of(table), table[event_time] if event_time else None


def _in_time(times: Sequence[pa.ChunkedArray]) -> NDArray[np.int64]:
    """Return the rows with an event time, sorted by it; ties keep their order."""
    values = unified_table([pa.table({"at": column}) for column in times])["at"]
    order = np.asarray(pc.array_sort_indices(values.combine_chunks()), np.int64)
    return order[: len(order) - values.null_count]


def _reasons(left_out: Mapping[str, str]) -> str:
    """List each reason once, with its partitions."""
    nights: dict[str, list[str]] = {}
    for name, why in left_out.items():
        nights.setdefault(why, []).append(name)
    more = {why: f" and {len(names) - 1} more" if len(names) > 1 else "" for why, names in nights.items()}
    return "; ".join(f"{names[0]}{more[why]}: {why}" for why, names in nights.items())
