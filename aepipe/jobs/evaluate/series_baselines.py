"""Baselines of a series job: random, max |z|, moving variance, PCA and isolation forest, on the windows of the model.

A point's score is the mean over the windows that contain it, as for the model.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aepipe.batch.scan_plan import plan_scan
from aepipe.batch.series.context import joined
from aepipe.batch.series.neighbours import find_neighbours, rows_in_reach
from aepipe.errors import AepipeError, EvaluationInvalid
from aepipe.jobs.evaluate.baselines import Rivals, alarm_threshold
from aepipe.jobs.evaluate.labelled_scores import LabelledScores, ScoredPartition
from aepipe.jobs.scored_partitions import ScoredPartitions
from aepipe.jobs.train.series_rows import SeriesTraining, read_series
from aepipe.jobs.training_provenance import as_trained
from aepipe.series.grid import filled
from aepipe.series.stage import SeriesRows, SeriesStage
from aepipe.series.windows import point_scores, window_starts, windows_at
from aepipe.stores import as_path
from aepipe.tables.parquet_reader import READ_ROWS
from aepipe.tables.partitions import Partition, discover

Floats = NDArray[np.float64]
WindowScore = Callable[[NDArray[np.float32]], Floats]
"""Windows (B, F, window) to scores (B,)."""

_COMPONENTS = 3
_FITTED_WINDOWS = 5_000
_WINDOWS_AT_ONCE = 4_096
RANDOM, MAX_Z = "random", "max |z|"


def rank_series_baselines(scored: ScoredPartitions, labelled: LabelledScores, stage: SeriesStage) -> Rivals:
    """Score the labelled rows by each baseline, fitted on the training windows of the model.

    Raises:
        EvaluationInvalid: A partition that the model was trained on no longer exists.
    """
    bundle = scored.model.bundle
    trained = as_trained(bundle, scored.job)
    if trained.gone:
        raise EvaluationInvalid(
            f"the training rows of {scored.model.version} are incomplete: {', '.join(sorted(trained.gone))} is gone, "
            "and baselines train on the same rows. Restore it, or train again."
        )
    learning = read_series(trained.job, trained.partitions)
    windows = _windows_of(learning, scored)
    fitted: dict[str, WindowScore | None] = {RANDOM: None, MAX_Z: None}
    absent: list[str] = []
    for name, fit in {"moving variance": _moving_variance, "PCA": _pca, "isolation forest": _forest}.items():
        try:
            fitted[name] = fit(windows)
        except (AepipeError, ImportError, np.linalg.LinAlgError, ValueError) as error:
            absent.append(f"the baseline '{name}' is left out: {error}")
    generator = np.random.default_rng(0)
    thresholds = _thresholds(learning, fitted, alpha=bundle.calibration.alpha, generator=generator)
    found: dict[str, list[Floats]] = {name: [] for name in fitted}
    table = discover(scored.job)
    for night in labelled.nights:
        for name, scores in _of_night(stage, night, table, fitted, generator).items():
            found[name].append(scores)
    whole = {name: np.concatenate(parts) for name, parts in found.items()}
    nothing = np.isneginf(labelled.scores)
    ranked = {name: np.where(nothing | np.isnan(scores), -np.inf, scores) for name, scores in whole.items()}
    return Rivals(ranked, thresholds, pa.table({}), tuple(absent))


def _windows_of(learning: SeriesTraining, scored: ScoredPartitions) -> NDArray[np.float32]:
    """Return at most 5,000 training windows, (B, F, window)."""
    rows, encoding = learning.rows.train, scored.model.bundle.encoding
    chosen = np.linspace(0, rows.num_rows - 1, min(rows.num_rows, _FITTED_WINDOWS)).astype(np.int64)
    arrays = encoding.encode_table(rows.take(pa.array(chosen)), rows=READ_ROWS).arrays
    window, channels = learning.stage.window, len(learning.stage.source.channels)
    if "steps" in arrays:
        return np.asarray(arrays["steps"].transpose(0, 2, 1), np.float32)
    return np.asarray(arrays["num"].reshape(-1, channels, window), np.float32)


def _moving_variance(windows: NDArray[np.float32]) -> WindowScore:
    return lambda some: np.asarray(some.std(axis=2).mean(axis=1), np.float64)


def _pca(windows: NDArray[np.float32]) -> WindowScore:
    flat = windows.reshape(len(windows), -1).astype(np.float64)
    mean = flat.mean(axis=0)
    _, _, directions = np.linalg.svd(flat - mean, full_matrices=False)
    plane = directions[:_COMPONENTS].T

    def score(some: NDArray[np.float32]) -> Floats:
        centred = some.reshape(len(some), -1) - mean
        return np.asarray(np.linalg.norm(centred - centred @ plane @ plane.T, axis=1), np.float64)

    return score


def _forest(windows: NDArray[np.float32]) -> WindowScore:
    from sklearn.ensemble import IsolationForest

    forest = IsolationForest(random_state=0).fit(windows.reshape(len(windows), -1))
    return lambda some: -np.asarray(forest.score_samples(some.reshape(len(some), -1)), np.float64)


def _thresholds(
    learning: SeriesTraining,
    fitted: dict[str, WindowScore | None],
    *,
    alpha: float,
    generator: np.random.Generator,
) -> dict[str, float]:
    calibration = learning.calibration
    values, starts, window = calibration.values, calibration.starts, calibration.window
    found = {}
    for name, score in fitted.items():
        if score is None:
            points = generator.random(len(values)) if name == RANDOM else _max_z(values)
        else:
            scores = _over(values, starts, window, score)
            points = point_scores(scores, starts, steps=len(values), window=window, last=calibration.last).score
        found[name] = alarm_threshold(points[calibration.counts], alpha)
    return found


def _of_night(
    stage: SeriesStage,
    night: ScoredPartition,
    table: Sequence[Partition],
    fitted: dict[str, WindowScore | None],
    generator: np.random.Generator,
) -> dict[str, Floats]:
    """Return the scores of the labelled rows of a night by baseline."""
    manifest = night.manifest
    partition = Partition(manifest.partition, tuple(as_path(path) for path in manifest.details.inputs))
    rows, own = _with_context(stage, partition, table)
    grid = stage.grid(rows)
    values, starts = filled(grid, longest_gap=stage.longest_gap), window_starts(grid, stage.window)
    step = grid.row_step[own][night.rows]
    found = {}
    for name, score in fitted.items():
        if name == RANDOM:
            found[name] = generator.random(len(step))
            continue
        points = _max_z(values)
        if score is not None:
            scores = _over(values, starts, stage.window, score)
            points = point_scores(scores, starts, steps=grid.steps, window=stage.window).score
        found[name] = np.where(step >= 0, points[step] if grid.steps else np.nan, np.nan)
    return found


def _with_context(
    stage: SeriesStage, partition: Partition, table: Sequence[Partition]
) -> tuple[SeriesRows, NDArray[np.bool_]]:
    """Return the rows of a partition and its neighbours in order, and which rows are its own, (R,)."""
    encoding = stage.source.encoding

    def batches(each: Partition) -> list[pa.RecordBatch]:
        files = plan_scan(each.files, encoding).files
        return [batch for scan in files for batch in scan.batches()]

    mine = stage.source.read(batches(partition))
    first, last = 0, 0
    if mine.time is not None and mine.rows:
        first, last = int(mine.time.min()), int(mine.time.max())
    neighbours = find_neighbours(stage, partition, table)
    before, after = (
        [stage.source.read(rows_in_reach(stage, batches(each), first, last)) for each in side]
        for side in (neighbours.before, neighbours.after)
    )
    parts = [*before, mine, *after]
    return joined(parts), np.concatenate([np.full(part.rows, part is mine) for part in parts])


def _max_z(values: NDArray[np.float32]) -> Floats:
    return np.asarray(np.abs(values).max(axis=1, initial=0.0), np.float64)


def _over(values: NDArray[np.float32], starts: NDArray[np.int64], window: int, score: WindowScore) -> Floats:
    """Return the score of each window, (W,)."""
    found = [
        score(windows_at(values, starts[begin : begin + _WINDOWS_AT_ONCE], window))
        for begin in range(0, len(starts), _WINDOWS_AT_ONCE)
    ]
    return np.concatenate([*found, np.zeros(0)])
