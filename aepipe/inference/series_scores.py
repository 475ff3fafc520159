"""Scores of windows and points of a grid, by the scorer of a bundle. The only place where windows meet the graph."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from aepipe.calibration.conformal import Calibration
from aepipe.encoding import Encoding
from aepipe.inference.batch_runner import Runner
from aepipe.inference.series_columns import PointPredictions
from aepipe.inference.session import Session
from aepipe.series.cutting import steps_read, window_tensors
from aepipe.series.grid import Grid, filled
from aepipe.series.memory import SeriesMemory
from aepipe.series.nearest import Segment
from aepipe.series.stage import SeriesRows, SeriesStage
from aepipe.series.windows import PointScores, covered_steps, point_scores, window_starts, windows_at

_WINDOWS_AT_ONCE = 4_096


def score_windows(
    runner: Runner[Session],
    encoding: Encoding,
    values: NDArray[np.float32],
    starts: NDArray[np.int64],
    *,
    window: int,
    without: int | None = None,
) -> NDArray[np.float64]:
    """Return the score of each window, (W,); only one batch of windows is copied at a time.

    The score of a window is the mean over its steps if the network reads single steps.

    Args:
        runner: runner of the scorer.
        encoding: encoding of windows.
        values: (S, F) scaled steps without missing values.
        starts: (W,) first step of each window.
        window: steps of a window.
        without: channel to replace by its mean; None: none.
    """
    read = steps_read(encoding.schema, window)
    if read == window:
        return _run(runner, encoding, values, starts, window=window, without=without)
    steps = covered_steps(starts, window, steps=len(values))
    of_step = np.full(len(values), np.nan)
    of_step[steps] = _run(runner, encoding, values, steps, window=read, without=without)
    scores = np.empty(len(starts))
    for begin in range(0, len(starts), _WINDOWS_AT_ONCE):
        part = slice(begin, begin + _WINDOWS_AT_ONCE)
        scores[part] = sliding_window_view(of_step, window)[starts[part]].mean(axis=1)
    return scores


def _run(
    runner: Runner[Session],
    encoding: Encoding,
    values: NDArray[np.float32],
    starts: NDArray[np.int64],
    *,
    window: int,
    without: int | None,
) -> NDArray[np.float64]:
    """Return the score of the network for the `window` steps from each start, (W,)."""
    scores = np.empty(len(starts), np.float32)
    for begin in range(0, len(starts), _WINDOWS_AT_ONCE):
        part = slice(begin, begin + _WINDOWS_AT_ONCE)
        windows = windows_at(values, starts[part], window)
        if without is not None:
            windows[:, without] = 0
        runner.run_into(window_tensors(windows, encoding), {"score": scores[part]})
    return scores.astype(np.float64)


def scores_with_memory(
    memory: SeriesMemory,
    grid: Grid,
    values: NDArray[np.float32],
    starts: NDArray[np.int64],
    model_scores: NDArray[np.float64],
    *,
    names: Sequence[str],
    is_training: bool = False,
) -> NDArray[np.float64]:
    """Return the scores of windows by the model and by the memory together, (W,).

    Args:
        memory: known steps of all entities.
        grid: steps, from `memory.history` before the first window of each entity.
        values: (S, F) scaled steps without missing values.
        starts: (W,) first step of each window, ascending.
        model_scores: (W,) scores of the windows by the model.
        names: name of each entity.
        is_training: the grid is the one that the memory was fitted on.
    """
    model_at, found_at = np.full(grid.steps, np.nan), np.full(grid.steps, np.nan)  # by first step of the window
    model_at[starts] = model_scores
    segment_of = np.searchsorted(grid.segment_starts, starts, side="right") - 1
    numbers = grid.segment_number[segment_of] + starts - grid.segment_starts[segment_of]
    entities, firsts, counts = np.unique(grid.segment_entity[segment_of], return_index=True, return_counts=True)
    for entity, at, count in zip(entities.tolist(), firsts.tolist(), counts.tolist(), strict=True):
        first, last = int(numbers[at]), int(numbers[at + count - 1])
        pieces = pieces_of(grid, entity, since=first - memory.history, until=last + memory.window)
        segments = [Segment.of(number, values[steps]) for number, steps in pieces]
        windows = [slice(steps.start, max(steps.stop - memory.window + 1, steps.start)) for _, steps in pieces]
        of_model = [model_at[part] for part in windows]
        scores = memory.score(names[entity], segments, of_model, first=first, is_training=is_training)
        for part, of_segment in zip(windows, scores, strict=True):
            found_at[part] = of_segment
    return found_at[starts]


def pieces_of(grid: Grid, entity: int, *, since: int, until: int) -> list[tuple[int, slice]]:
    """Return the number of the first step, and the steps, of the segments of an entity within numbers of steps.

    Args:
        grid: the steps.
        entity: code of the entity.
        since: number of the first step.
        until: number after the last step.
    """
    low, high = np.searchsorted(grid.segment_entity, [entity, entity + 1])
    found, lengths = [], grid.segment_lengths
    for segment in range(low, high):
        number, start = int(grid.segment_number[segment]), int(grid.segment_starts[segment])
        begin, end = max(since - number, 0), min(until - number, int(lengths[segment]))
        if begin < end:
            found.append((number + begin, slice(start + begin, start + end)))
    return found


@dataclass(frozen=True, slots=True)
class ScoredSteps:
    """Scores of the steps of a grid."""

    grid: Grid
    values: NDArray[np.float32]
    """(S, F) scaled steps without missing values"""
    points: PointScores
    """Scores of the steps that `wanted` rows lie on, and of others that share a window with them."""
    starts: NDArray[np.int64]
    """(W,) first step of each window that contains a step of the wanted rows"""
    window_scores: NDArray[np.float64]
    """(W,)"""


def score_steps(
    runner: Runner[Session],
    encoding: Encoding,
    stage: SeriesStage,
    rows: SeriesRows,
    wanted: NDArray[np.bool_],
    memory: SeriesMemory | None = None,
) -> ScoredSteps:
    """Score every window that contains a step of the wanted rows, and average at each step.

    Args:
        runner: runner of the scorer.
        encoding: encoding of windows.
        stage: stage of the model.
        rows: R rows of the long table, context included.
        wanted: (R,) rows that need a score.
        memory: known steps that windows are compared with; None: the model scores alone.
    """
    grid = stage.grid(rows)
    values = filled(grid, longest_gap=stage.longest_gap)
    is_wanted = np.zeros(grid.steps + 1, np.int64)
    on_grid = wanted & (grid.row_step >= 0)
    is_wanted[grid.row_step[on_grid] + 1] = 1
    before = np.cumsum(is_wanted)  # wanted steps before each step
    starts = window_starts(grid, stage.window)
    starts = starts[before[starts + stage.window] > before[starts]]
    scores = score_windows(runner, encoding, values, starts, window=stage.window)
    if memory is not None:
        scores = scores_with_memory(memory, grid, values, starts, scores, names=rows.names)
    points = point_scores(scores, starts, steps=grid.steps, window=stage.window)
    return ScoredSteps(grid, values, points, starts, scores)


def strongest_channels(
    runner: Runner[Session], encoding: Encoding, stage: SeriesStage, scored: ScoredSteps, steps: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the channel without which the highest window of each step would score lowest, (B,).

    A channel is taken out by its mean over the training part.

    Args:
        runner: runner of the scorer.
        encoding: encoding of windows.
        stage: stage of the model.
        scored: scores of the steps.
        steps: (B,) steps with a score.
    """
    channels = len(stage.source.channels)
    if channels == 1 or not len(steps):
        return np.zeros(len(steps), np.int64)
    starts, of_step = np.unique(scored.points.highest[steps], return_inverse=True)
    without = channel_scores(runner, encoding, stage, scored.values, starts)
    found: NDArray[np.int64] = np.argmin(without, axis=0)[of_step]
    return found


def channel_scores(
    runner: Runner[Session],
    encoding: Encoding,
    stage: SeriesStage,
    values: NDArray[np.float32],
    starts: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return the score of each window without each channel, (F, W), by the model alone.

    Args:
        runner: runner of the scorer.
        encoding: encoding of windows.
        stage: stage of the model.
        values: (S, F) scaled steps without missing values.
        starts: (W,) first step of each window.
    """
    channels = range(len(stage.source.channels))
    return np.stack(
        [score_windows(runner, encoding, values, starts, window=stage.window, without=channel) for channel in channels]
    )


def series_reasons(stage: SeriesStage) -> tuple[str, ...]:
    """Return the reasons why a row of a series job has no score, by code; code 0 is empty.

    Reasons beyond `stage.source.row_reasons` are no faults of the row.
    """
    window, gap = stage.window, stage.longest_gap
    return (
        "",
        *stage.source.row_reasons,
        f"the series has fewer than {window} steps",
        f"fewer than {window} steps lie between two gaps of more than {gap} steps",
        "the score is not finite",
    )


def reason_codes(stage: SeriesStage, rows: SeriesRows, scored: ScoredSteps) -> NDArray[np.int64]:
    """Return why each row has no score, (R,), as index into `series_reasons`; 0 for a row with a score."""
    grid, faults = scored.grid, len(stage.source.row_reasons)
    codes = rows.reasons.copy()
    on_grid = grid.row_step >= 0
    step = grid.row_step[on_grid]
    segment = np.searchsorted(grid.segment_starts, step, side="right") - 1
    entity_of_segment = np.zeros(len(grid.segment_starts), np.int64)
    entity_of_segment[segment] = rows.entity[on_grid]
    segments = np.bincount(entity_of_segment, minlength=len(rows.names))
    is_short = grid.segment_lengths[segment] < stage.window
    why = np.where(segments[rows.entity[on_grid]] > 1, faults + 2, faults + 1)
    codes[on_grid] = np.where(np.isfinite(scored.points.score[step]), 0, np.where(is_short, why, faults + 3))
    return codes


class RowScores(NamedTuple):
    """Scores of rows, (R,) each; NaN and 0 windows for a row without a score."""

    score: NDArray[np.float32]
    p_value: NDArray[np.float64]
    p_extrapolated: NDArray[np.bool_]
    windows: NDArray[np.int32]


def scores_of_rows(scored: ScoredSteps, step: NDArray[np.int64], calibration: Calibration) -> RowScores:
    """Return the scores of rows by their steps, (R,), -1 for a row without one."""
    score = np.full(len(step), np.nan, np.float32)
    windows = np.zeros(len(step), np.int32)
    has_score = step >= 0
    score[has_score] = scored.points.score[step[has_score]]
    windows[has_score] = scored.points.windows[step[has_score]]
    return RowScores(score, calibration.p_values(score), calibration.is_extrapolated(score) & has_score, windows)


def point_predictions(
    stage: SeriesStage,
    scores: RowScores,
    *,
    reason: NDArray[np.int64],
    is_anomaly: NDArray[np.bool_],
    channel: NDArray[np.int64],
) -> PointPredictions:
    """Return the predictions of rows from their scores, flags, channels and reasons, (R,) each.

    Args:
        stage: stage of the model.
        scores: scores of the rows.
        reason: why a row has no score, as index into `series_reasons`; 0: it has one.
        is_anomaly: flags.
        channel: channel of each flagged row, else -1.
    """
    return PointPredictions(
        score=scores.score,
        p_value=scores.p_value,
        p_extrapolated=scores.p_extrapolated,
        is_anomaly=is_anomaly,
        channel=channel,
        windows=scores.windows,
        reason=reason,
        channels=stage.source.channels,
        reasons=series_reasons(stage),
    )


def predict_rows(
    runner: Runner[Session],
    encoding: Encoding,
    stage: SeriesStage,
    rows: SeriesRows,
    scored: ScoredSteps,
    calibration: Calibration,
) -> PointPredictions:
    """Return the predictions of all rows, flagged by the calibration."""
    reason = reason_codes(stage, rows, scored)
    step = np.where(reason == 0, scored.grid.row_step, -1)
    scores = scores_of_rows(scored, step, calibration)
    is_anomaly = (step >= 0) & calibration.is_anomaly(scores.p_value)
    channel = np.full(rows.rows, -1, np.int64)
    channel[is_anomaly] = strongest_channels(runner, encoding, stage, scored, step[is_anomaly])
    return point_predictions(stage, scores, reason=reason, is_anomaly=is_anomaly, channel=channel)
