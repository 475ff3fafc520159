"""Explanation of a point of a series job: the windows that contain it, channels and steps of the highest one."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from aepipe.batch.series.context import read_with_context
from aepipe.config.job import Job
from aepipe.errors import ArgumentInvalid
from aepipe.inference.point_explanation import (
    PointEvidence,
    explain_point,
    main_steps,
    rows_of_entity,
    score_of,
    time_texts,
)
from aepipe.inference.table_model import TableModel
from aepipe.jobs.explanation import ColumnLine, Explanation, KnownWindowLine, PointLine, StepLine, WindowLine
from aepipe.report import formatting as wording
from aepipe.series.stage import SeriesRows, SeriesStage
from aepipe.storage import SCORE, Outputs, read_parquet
from aepipe.tables.partitions import Partition


class PointPlace(NamedTuple):
    """Row of a partition of a series job, from 0, and its name in an explanation."""

    name: str
    partition: Partition
    row: int


def explain_places(
    job: Job, model: TableModel, places: Sequence[PointPlace], table: Sequence[Partition]
) -> tuple[Explanation, ...]:
    """Explain rows with the context that scoring has, in the order of `places`; each partition is read once.

    Args:
        job: the job.
        model: the model.
        places: the rows.
        table: all partitions of the job, which windows reach into.

    Raises:
        ArgumentInvalid: there is no such row.
        DataUnreadable, SchemaMismatch: a file cannot be read, or has other columns than the bundle was trained on.
    """
    partitions = {place.partition.name: place.partition for place in places}
    found: dict[PointPlace, Explanation] = {}
    for name, partition in partitions.items():
        mine = [place for place in places if place.partition.name == name]
        found |= zip(mine, _explain_partition(job, model, partition, mine, table), strict=True)
    return tuple(found[place] for place in places)


def _explain_partition(
    job: Job, model: TableModel, partition: Partition, places: Sequence[PointPlace], table: Sequence[Partition]
) -> Iterator[Explanation]:
    stage = model.bundle.series
    assert stage is not None, "the caller asks"
    rows, is_own = read_with_context(model.bundle, stage, partition, table)
    own, flags = np.flatnonzero(is_own), _written_flags(job, model, partition.name)
    for place in places:
        if place.row >= len(own):
            last = f"{partition.name}:{len(own) - 1}" if len(own) else "none, as the partition is empty"
            raise ArgumentInvalid("row", [f"expected a row up to the last, {last}, got '{place.name}'"])
        found = _explained(model, stage, *rows_of_entity(rows, int(own[place.row])), name=place.name)
        written = None if place.row >= len(flags) else flags[place.row]
        yield found if written is None else found.model_copy(update={"is_anomaly": written})


def explain_points(model: TableModel, table: pa.Table, at: Sequence[int]) -> tuple[Explanation, ...]:
    """Explain rows of a long table; its other rows are their context. The name of a row is its position."""
    stage = model.bundle.series
    assert stage is not None, "the caller asks"
    rows = model.series_rows(stage, table)
    return tuple(_explained(model, stage, *rows_of_entity(rows, row), name=str(row)) for row in at)


def _written_flags(job: Job, model: TableModel, partition: str) -> list[bool]:
    """Return the flags in the scores of a partition, whose threshold may have adapted; none if it is not scored."""
    outputs = Outputs(job.out_path)
    manifest = outputs.manifest(SCORE, partition)
    if manifest is None or manifest.model_version != model.version or not manifest.has_all_files(outputs.root):
        return []
    flags = read_parquet(outputs.root / manifest.files["scores"].path, ["is_anomaly"])["is_anomaly"]
    return [bool(flag) for flag in flags.to_pylist()]


def _explained(model: TableModel, stage: SeriesStage, rows: SeriesRows, row: int, *, name: str) -> Explanation:
    calibration = model.bundle.calibration
    found = explain_point(model, stage, rows, row)
    common = {
        "row": name,
        "kind": "point",
        "model_version": model.version,
        "threshold": calibration.threshold,
        "alpha": calibration.alpha,
        "cell": None,
        "cell_p_value": None,
        "is_cell_anomaly": False,
        "heat": None,
        "picture": None,
    }
    if isinstance(found, str):
        nothing = {"score": None, "p_value": None, "is_anomaly": False, "columns": (), "steps": ()}
        return Explanation.model_validate({**common, **nothing, "invalid_reason": found})
    score, p_value = score_of(found, model)
    texts = _texts(stage, rows, found)
    explained = {
        "score": score,
        "p_value": p_value,
        "is_anomaly": bool(calibration.is_anomaly(np.array([p_value]))[0]),
        "invalid_reason": None,
        "columns": _channels(stage, found, texts),
        "steps": _steps(found, texts),
        "point": _point(stage, rows, found),
    }
    return Explanation.model_validate({**common, **explained})


def _texts(stage: SeriesStage, rows: SeriesRows, found: PointEvidence) -> list[str]:
    """Return the time of each step of the highest window; empty for a missing step, and without an event time."""
    if rows.time is None:
        return [""] * len(found.rows)
    texts = time_texts(stage, rows.time[np.maximum(found.rows, 0)])
    return [text if row >= 0 else "" for text, row in zip(texts, found.rows.tolist(), strict=True)]


def _channels(stage: SeriesStage, found: PointEvidence, texts: Sequence[str]) -> tuple[ColumnLine, ...]:
    lines = []
    for rank, channel in enumerate(found.order.tolist(), 1):
        squares = np.nan_to_num(found.differences[:, channel] ** 2)
        main = main_steps(squares)
        times = [text for text in texts[main] if text]
        ends = (times[0], times[-1]) if times else (f"step {main.start}", f"step {main.stop - 1}")
        lines.append(
            ColumnLine(
                name=stage.source.channels[channel],
                read=wording.number(float(found.read[found.at, channel])),
                expected=wording.number(float(found.expected[found.at, channel])),
                z=float(np.sqrt(squares.mean())),
                rank=rank,
                why=f"most of the difference: {' to '.join(dict.fromkeys(ends))}",
            )
        )
    return tuple(lines)


def _steps(found: PointEvidence, texts: Sequence[str]) -> tuple[StepLine, ...]:
    known = None if found.known is None else found.known.values
    return tuple(
        StepLine(
            step=at,
            read=_values(found.read[at]),
            expected=_values(found.expected[at]),
            time=texts[at],
            known=() if known is None else _values(known[at]),
            share=float(found.shares[at]),
        )
        for at in range(len(texts))
    )


def _values(values: np.ndarray) -> tuple[float | None, ...]:
    return tuple(None if np.isnan(value) else float(value) for value in values)


def _point(stage: SeriesStage, rows: SeriesRows, found: PointEvidence) -> PointLine:
    entity = rows.names[rows.entity[found.row]]
    grid = found.scored.grid
    segment = np.searchsorted(grid.segment_starts, found.starts, side="right") - 1
    numbers = grid.segment_number[segment] + found.starts - grid.segment_starts[segment]

    def span(number: int | None, time: int | None) -> tuple[str, str]:
        if time is None or stage.step is None:
            return ("", "") if number is None else (f"step {number}", f"step {number + stage.window - 1}")
        first, last = time_texts(stage, np.array([time, time + (stage.window - 1) * stage.step]))
        return first, last

    windows = tuple(
        WindowLine(first=first, last=last, score=float(score))
        for (first, last), score in zip(
            (span(number, stage.time_of(entity, number)) for number in numbers.tolist()),
            found.scores.tolist(),
            strict=True,
        )
    )
    known = None
    if found.known is not None:
        first, last = span(None, found.known.first)
        known = KnownWindowLine(first=first, last=last, distance=found.known.distance, is_past=found.known.is_past)
    terms = {} if found.terms is None else {name: float(term[0]) for name, term in found.terms._asdict().items()}
    return PointLine(
        entity=entity,
        windows=windows,
        highest=int(np.flatnonzero(found.starts == found.highest)[0]),
        terms=terms,
        known=known,
    )
