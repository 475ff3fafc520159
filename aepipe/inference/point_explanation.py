"""Evidence for the score of one point of a series: its windows, the highest of them, and what was expected there."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe.encoding.number import NumberCodec
from aepipe.inference.series_scores import (
    ScoredSteps,
    channel_scores,
    pieces_of,
    reason_codes,
    score_steps,
    score_windows,
    scores_of_rows,
    series_reasons,
)
from aepipe.inference.table_model import TableModel
from aepipe.series.cutting import steps_read, window_table
from aepipe.series.memory import Parts
from aepipe.series.nearest import Segment
from aepipe.series.stage import SeriesRows, SeriesStage
from aepipe.series.windows import windows_at
from aepipe.tables.text_values import short_time

Values = NDArray[np.float64]

_MOST_OF_DIFFERENCE = 0.8


class KnownWindow(NamedTuple):
    """Known window that the highest window of a point is nearest to."""

    values: Values
    """(window, F) in the units of the source"""
    first: int | None
    """time of its first step; None if the order of steps is not time"""
    distance: float
    """root mean squared difference in standard deviations"""
    is_past: bool
    """of the recent past of the series; False: of the training rows"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PointEvidence:
    """Evidence for the score of a point."""

    row: int
    """of the point"""
    scored: ScoredSteps
    starts: NDArray[np.int64]
    """(W,) first step of each window that contains the point"""
    scores: Values
    """(W,)"""
    highest: int
    """first step of the window with the highest score; all that follows is about it"""
    rows: NDArray[np.int64]
    """(window,) row of each step, -1 for a missing one"""
    read: Values
    """(window, F) in the units of the source, NaN where missing"""
    expected: Values
    """(window, F) reconstruction by the model"""
    differences: Values
    """(window, F) of scaled steps from the reconstruction, in standard deviations"""
    shares: Values
    """(window,) share of each step in the squared difference from the known window, else from the reconstruction"""
    order: NDArray[np.int64]
    """(F,) channels, the one without which the window would score lowest first"""
    terms: Parts | None
    """Terms of the score of the window; None for a model without a memory"""
    known: KnownWindow | None

    @property
    def at(self) -> int:
        """Step of the point within the highest window."""
        return int(self.scored.grid.row_step[self.row]) - self.highest


def explain_point(model: TableModel, stage: SeriesStage, rows: SeriesRows, row: int) -> PointEvidence | str:
    """Return the evidence for the score of a row, or why it has no score.

    Args:
        model: the model.
        stage: its stage.
        rows: rows of the series of the point, context included.
        row: index of the row.
    """
    bundle, runner, window = model.bundle, model.scorer, stage.window
    wanted = np.arange(rows.rows) == row
    scored = score_steps(runner, bundle.encoding, stage, rows, wanted, bundle.memory)
    code = int(reason_codes(stage, rows, scored)[row])
    if code:
        return series_reasons(stage)[code]
    highest = int(scored.points.highest[scored.grid.row_step[row]])
    steps = slice(highest, highest + window)
    start = np.array([highest], np.int64)
    entity = rows.names[rows.entity[row]]
    to_source = _Units.of(stage, entity)
    scaled = scored.values[steps].astype(np.float64)
    expected = _reconstruction(model, scored, start, window)
    terms, known = None, None
    if bundle.memory is not None:
        of_model = score_windows(runner, bundle.encoding, scored.values, start, window=window)
        terms, known = _of_memory(model, stage, scored, highest, float(of_model[0]), entity)
    other = expected if known is None else known.values
    squares = np.nansum((np.clip(scaled, -1e3, 1e3) - other) ** 2, axis=1)
    last_row = np.full(scored.grid.steps, -1, np.int64)
    on_grid = np.flatnonzero(scored.grid.row_step >= 0)
    by_time = on_grid if rows.time is None else on_grid[np.argsort(rows.time[on_grid], kind="stable")]
    last_row[scored.grid.row_step[by_time]] = by_time  # the last row of a step gives its values
    without = channel_scores(runner, bundle.encoding, stage, scored.values, start)[:, 0]
    return PointEvidence(
        row=row,
        scored=scored,
        starts=scored.starts,
        scores=scored.window_scores,
        highest=highest,
        rows=last_row[steps],
        read=to_source(scored.grid.values[steps]),
        expected=to_source(expected),
        differences=scaled - expected,
        shares=squares / max(float(squares.sum()), 1e-12),
        order=np.argsort(without, kind="stable"),
        terms=terms,
        known=None if known is None else known._replace(values=to_source(known.values)),
    )


def score_of(evidence: PointEvidence, model: TableModel) -> tuple[float, float]:
    """Return score and p-value of the point."""
    step = evidence.scored.grid.row_step[[evidence.row]]
    found = scores_of_rows(evidence.scored, step, model.bundle.calibration)
    return float(found.score[0]), float(found.p_value[0])


def main_steps(squares: Values) -> slice:
    """Return the shortest stretch of steps that holds 80 % of the squared differences, (window,).

    >>> main_steps(np.array([0.0, 1, 9, 8, 1]))
    slice(2, 4, None)
    """
    total, sums = float(squares.sum()), np.concatenate([[0.0], np.cumsum(squares)])
    best = slice(0, len(squares))
    end = 0
    for begin in range(len(squares)):
        end = max(end, begin)
        while end < len(squares) and sums[end] - sums[begin] < _MOST_OF_DIFFERENCE * total:
            end += 1
        if sums[end] - sums[begin] < _MOST_OF_DIFFERENCE * total:
            break
        if end - begin < best.stop - best.start:
            best = slice(begin, end)
    return best


class _Units(NamedTuple):
    """Means and deviations of the channels of an entity, and their offsets."""

    mean: Values
    deviation: Values

    @classmethod
    def of(cls, stage: SeriesStage, entity: str) -> "_Units":
        scaling = stage.scaling
        mean, deviation = scaling.entities.get(entity, (scaling.mean, scaling.deviation))
        codecs = {codec.name: codec for codec in stage.source.encoding.codecs if isinstance(codec, NumberCodec)}
        offsets = [float(codecs[name].offset) for name in stage.source.channels]
        return cls(np.array(mean) + np.array(offsets), np.array(deviation))

    def __call__(self, scaled: NDArray[np.floating]) -> Values:
        """Return scaled values (S, F) in the units of the source."""
        return np.asarray(scaled.astype(np.float64) * self.deviation + self.mean)


def _reconstruction(model: TableModel, scored: ScoredSteps, start: NDArray[np.int64], window: int) -> Values:
    """Return the scaled reconstruction of a window, (window, F); NaN where the model gives no step."""
    schema = model.bundle.encoding.schema
    read = steps_read(schema, window)
    starts = start[0] + np.arange(0, window, read)
    windows = windows_at(scored.values, starts, read)
    table = model.reconstruct(window_table(windows, schema))
    found = np.full((window, windows.shape[1]), np.nan)
    if schema.columns[0].kind == "vector":
        for channel, column in enumerate(schema.columns):
            found[:, channel] = np.array(table[column.name].to_pylist(), np.float64).reshape(-1)
        return found
    steps = np.array(table[schema.columns[0].name][0].as_py() or [], np.float64).reshape(-1, windows.shape[1])
    found[: len(steps)] = steps[:window]
    return found


def _of_memory(
    model: TableModel, stage: SeriesStage, scored: ScoredSteps, highest: int, of_model: float, entity: str
) -> tuple[Parts, KnownWindow | None]:
    """Return the terms of a window's score, and the nearest known window with scaled values."""
    memory, grid, window = model.bundle.memory, scored.grid, stage.window
    assert memory is not None, "explain_point() asks"
    segment = int(np.searchsorted(grid.segment_starts, highest, side="right")) - 1
    first = int(grid.segment_number[segment]) + highest - int(grid.segment_starts[segment])
    entity_code = int(grid.segment_entity[segment])
    pieces = pieces_of(grid, entity_code, since=first - memory.history, until=first + window)
    segments = [Segment.of(number, scored.values[steps]) for number, steps in pieces]
    scores = [np.full(each.windows(window), np.nan) for each in segments]
    scores[-1][first - segments[-1].first] = of_model
    (*_, parts) = memory.parts(entity, segments, scores, first=first)
    terms = Parts(*(part[:1] for part in parts)).terms(memory.scales(entity), memory.weights)
    match = memory.nearest(entity, segments, first)
    if match is None:
        return terms, None
    time = stage.time_of(entity, match.first)
    return terms, KnownWindow(match.values.T, time, match.distance, match.is_past)


def rows_of_entity(rows: SeriesRows, row: int) -> tuple[SeriesRows, int]:
    """Return the rows of the series of a row, and the index of the row among them."""
    chosen = rows.entity == rows.entity[row]
    mine = replace(
        rows,
        entity=rows.entity[chosen],
        time=None if rows.time is None else rows.time[chosen],
        values=rows.values[chosen],
        reasons=rows.reasons[chosen],
    )
    return mine, int(np.count_nonzero(chosen[:row]))


def time_texts(stage: SeriesStage, times: NDArray[np.int64]) -> list[str]:
    """Return times as people write them in the type of the event time, (T,)."""
    kind = None if stage.source.time is None else stage.source.encoding.schema.arrow.field(stage.source.time).type
    if kind is None or pa.types.is_integer(kind):
        return [str(time) for time in times.tolist()]
    zone = kind.tz if pa.types.is_timestamp(kind) else None
    texts = pa.array(times, pa.int64()).cast(pa.timestamp("us", zone)).cast(pa.string()).to_pylist()
    return [short_time(text) for text in texts]
