"""Memory of a series job: the training steps that windows are compared with, and the scales of their scores."""

import numpy as np

from aepipe.encoding import Encoding
from aepipe.inference.batch_runner import Runner
from aepipe.inference.series_scores import score_windows
from aepipe.inference.session import Session
from aepipe.jobs.train.series_rows import SeriesTraining, spaced
from aepipe.series.cutting import steps_read
from aepipe.series.memory import OF_STEPS, SeriesMemory
from aepipe.series.nearest import Floats, Segment
from aepipe.series.windows import window_starts

MOST_WINDOWS = 20_000
"""Windows that the median score of the model is taken of, equally spaced over all entities."""


def fit_memory(series: SeriesTraining, encoding: Encoding, runner: Runner[Session]) -> SeriesMemory:
    """Fit the memory on all training rows: the thresholds stay honest, since no window is compared with itself."""
    grid, stage, values = series.grid, series.stage, series.calibration.values
    starts = spaced(window_starts(grid, stage.window), MOST_WINDOWS)
    model_at = np.full(grid.steps, np.nan)  # by first step of the window
    model_at[starts] = score_windows(runner, encoding, values, starts, window=stage.window)
    segments, scores = dict[str, list[Segment]](), dict[str, list[Floats]]()
    lengths = grid.segment_lengths
    for at in np.argsort(grid.segment_number, kind="stable").tolist():
        entity, begin = int(grid.segment_entity[at]), int(grid.segment_starts[at])
        segment = Segment.of(int(grid.segment_number[at]), values[begin : begin + int(lengths[at])])
        segments.setdefault(series.names[entity], []).append(segment)
        scores.setdefault(series.names[entity], []).append(model_at[begin : begin + segment.windows(stage.window)])
    return SeriesMemory.fit(
        segments,
        scores,
        window=stage.window,
        day=stage.steps_per_day,
        is_aligned=stage.step is not None,
        weights=OF_STEPS if steps_read(encoding.schema, stage.window) == 1 else None,
    )
