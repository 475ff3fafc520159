"""Why rows have their scores: each row and its reconstruction, columns with the greatest attribution first."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aepipe.config.job import Job, read_job
from aepipe.encoding import Encoding
from aepipe.errors import ArgumentInvalid, OptionInvalid
from aepipe.inference.output_schema import CELL_COLUMN, CELL_FLAG, CELL_P_VALUE
from aepipe.inference.reason_words import cell_columns
from aepipe.inference.table_model import TableModel
from aepipe.inference.unlikely_tokens import describe_rows
from aepipe.jobs.explain_points import PointPlace, explain_places, explain_points
from aepipe.jobs.explanation import ColumnLine, Explanation, Heat, StepLine
from aepipe.jobs.row_images import drawn_images
from aepipe.jobs.row_lookup import find_places, find_rows, row_in_partition
from aepipe.jobs.score import chosen_partitions
from aepipe.jobs.scored_partitions import open_model
from aepipe.layout import Layout
from aepipe.report import formatting as wording
from aepipe.storage import put_bytes
from aepipe.stores import as_path
from aepipe.tables.parquet_reader import READ_ROWS, slices
from aepipe.tables.partitions import Partition, discover
from aepipe.tables.struct_fields import flatten_table


class _Row(NamedTuple):
    name: str
    table: pa.Table


def explain(
    job_path: str | Path,
    keys: Sequence[str] = (),
    *,
    row: str | None = None,
    picture: str | Path | None = None,
    model: str = "champion",
) -> tuple[Explanation, ...]:
    """Explain the row of each key, or `row`, such as dt=2026-01-05:17; rows are counted from 0.

    picture: a PNG to write, of an image: the row, what was expected, and the heat of its regions.
    Raises OptionInvalid where a key is of no row or of several, where there is no such row, and for a picture of
    what is no image; JobInvalid where keys are asked for and no column is one.
    """
    job = read_job(job_path)
    opened = open_model(job, model)
    columns = opened.bundle.encoding.columns_read
    if (row is None) == (not keys):
        raise OptionInvalid(
            "the row to explain is not clear: expected keys, or a place such as dt=2026-01-05:17. Name one."
        )
    if picture is not None and (len(keys) > 1 or opened.bundle.encoding.layout.rebuilt is None):
        raise ArgumentInvalid("picture", ["expected one row of an image model. Name one key, or omit the picture."])
    distinct, names = list(dict.fromkeys(keys)), ", ".join(job.data.keys)
    if opened.bundle.series is not None:
        table = discover(job)
        if row is not None:
            return explain_places(job, opened, [PointPlace(row, *_place(job, row, table))], table)
        found = zip(distinct, find_places(job, distinct, table), strict=True)
        places = [PointPlace(f"{names} = {key}", place[0], row_in_partition(place)) for key, place in found]
        return explain_places(job, opened, places, table)
    if row is not None:
        rows = [_at(job, row, columns)]
    else:
        table = find_rows(job, distinct, columns=columns)
        rows = [_Row(f"{names} = {key}", table.slice(at, 1)) for at, key in enumerate(distinct)]
    return tuple(_explained(opened, found, None if picture is None else as_path(picture)) for found in rows)


def _place(job: Job, place: str, table: Sequence[Partition] | None = None) -> tuple[Partition, int]:
    """Return partition and position of a place such as dt=2026-01-05:17; table: all partitions, if they are known."""
    name, colon, index = place.rpartition(":")
    if not colon or not index.isdecimal():
        raise ArgumentInvalid("row", [f"expected PARTITION:INDEX, such as dt=2026-01-05:17, got '{place}'"])
    (partition,) = chosen_partitions(job, [name], table=table)
    return partition, int(index)


def _at(job: Job, place: str, columns: Sequence[str]) -> _Row:
    (partition, wanted), begin = _place(job, place), 0
    for batch in slices(partition.files, None, rows=READ_ROWS):
        if wanted < begin + batch.num_rows:
            kept = [column for column in columns if column in batch.schema.names]
            return _Row(place, pa.Table.from_batches([batch.select(kept).slice(wanted - begin, 1)]))
        begin += batch.num_rows
    last = f"{partition.name}:{begin - 1}" if begin else "none, as the partition is empty"
    raise ArgumentInvalid("row", [f"expected a row up to the last, {last}, got '{place}'"])


def explain_rows(model: TableModel, rows: pa.Table, at: Sequence[int] | None = None) -> tuple[Explanation, ...]:
    """Explain rows of a table; the name of a row is its position.

    at: positions of the rows; None: all, or of a series job the flagged points.
    """
    if model.bundle.series is not None:
        flagged = pc.indices_nonzero(model.score(rows)["is_anomaly"]).to_pylist() if at is None else at
        return explain_points(model, rows, flagged)
    chosen = rows if at is None else rows.take(pa.array(at, pa.int64()))
    return tuple(_explanations(model, chosen, [str(row) for row in (range(rows.num_rows) if at is None else at)]))


def _explanations(model: TableModel, rows: pa.Table, names: Sequence[str]) -> Iterator[Explanation]:
    bundle = model.bundle
    layout, calibration, reasons = bundle.encoding.layout, bundle.calibration, bundle.manifest.reason_names
    expected = model.reconstruct(rows)
    attributions = model.attributions(rows).to_pylist() if reasons else []
    described = describe_rows(model, rows, expected) if layout.has_cells else [{}] * rows.num_rows
    entities = model.entities(rows).texts.to_pylist() if calibration.entities else None
    for at, (name, answer) in enumerate(zip(names, model.score(rows).to_pylist(), strict=True)):
        source, rebuilt = rows.slice(at, 1), expected.slice(at, 1)
        found = attributions[at] if attributions else {}
        named = {*(ranks := _ranks(answer)), answer.get(CELL_COLUMN)}
        words = {name: text for name, text in described[at].items() if name in named and answer["score"] is not None}
        lines = _lines(bundle.encoding, source, rebuilt, found or dict.fromkeys(reasons), ranks, words)
        yield Explanation(
            row=name,
            kind="table" if layout.has_cells else layout.kind,
            model_version=model.version,
            score=answer["score"],
            p_value=answer["p_value"],
            threshold=calibration.threshold if entities is None else calibration.of_entity(entities[at]).threshold,
            alpha=calibration.alpha,
            is_anomaly=answer["is_anomaly"],
            cell=answer.get(CELL_COLUMN),
            cell_p_value=answer.get(CELL_P_VALUE),
            is_cell_anomaly=answer.get(CELL_FLAG, False),
            invalid_reason=answer["invalid_reason"],
            columns=lines,
            heat=_heat(layout, found),
            steps=_steps(model, source, rebuilt),
            picture=None,
        )


def _explained(model: TableModel, row: _Row, picture: Path | None) -> Explanation:
    (found,) = _explanations(model, row.table, [row.name])
    if picture is None:
        return found
    _draw(picture, model, row, model.reconstruct(row.table), found.heat)
    return found.model_copy(update={"picture": picture})


def _ranks(answer: dict[str, object]) -> dict[str, int]:
    """Return the rank of each reason column of the outputs, from 1."""
    found: dict[str, int] = {}
    rank = 1
    while isinstance(name := answer.get(f"reason_{rank}"), str):
        found[name] = rank
        rank += 1
    return found


def _lines(
    encoding: Encoding,
    source: pa.Table,
    expected: pa.Table,
    attributions: dict[str, float | None],
    ranks: dict[str, int],
    words: dict[str, str],
) -> tuple[ColumnLine, ...]:
    is_table = encoding.layout.has_cells
    read, rebuilt = (
        cell_columns(encoding, flatten_table(table)).to_pylist()[0] if is_table else {} for table in (source, expected)
    )
    lines = [
        ColumnLine(
            name=name,
            read=wording.cell(read[name]) if name in read else "",
            expected=wording.cell(rebuilt[name]) if name in rebuilt else "",
            z=z,
            rank=ranks.get(name),
            why=words.get(name, ""),
        )
        for name, z in attributions.items()
    ]
    return tuple(sorted(lines, key=lambda line: (line.rank or len(lines) + 1, -(line.z or 0.0))))


def _heat(layout: Layout, attributions: dict[str, float | None]) -> Heat | None:
    """Return the attribution of image regions; None for other layouts and for rows without a score."""
    if layout.rebuilt is None or not attributions or None in attributions.values():
        return None
    lines: dict[str, list[float]] = {}
    for name, z in attributions.items():
        lines.setdefault(name.partition(",")[0], []).append(z or 0.0)
    first, last = next(iter(lines)).removeprefix("rows ").split("-")
    return Heat(side=int(last) - int(first) + 1, z=tuple(map(tuple, lines.values())))


def _steps(model: TableModel, source: pa.Table, expected: pa.Table) -> tuple[StepLine, ...]:
    codec = model.bundle.encoding.series
    if codec is None or expected[codec.name].null_count:
        return ()
    windows = (table[codec.name][0].as_py() for table in (source, expected))
    # A window of one channel may hold plain numbers.
    read, rebuilt = ([tuple(step) if isinstance(step, Sequence) else (step,) for step in window] for window in windows)
    steps = range(max(len(read), len(rebuilt)))
    return tuple(
        StepLine(step=at, read=read[at] if at < len(read) else (), expected=rebuilt[at] if at < len(rebuilt) else ())
        for at in steps
    )


def _draw(path: Path, model: TableModel, row: _Row, expected: pa.Table, heat: Heat | None) -> None:
    if heat is None:
        raise OptionInvalid(
            f"{row.name} cannot be drawn: it has no score, or [score] reasons is 0. Name a scored row, or set reasons."
        )
    from aepipe.report.figures.heatmap_png import draw_heatmap_png

    image, guess = (drawn_images(model.bundle.encoding, table)[0] for table in (row.table, expected))
    rebuilt = model.bundle.encoding.layout.rebuilt
    assert rebuilt is not None
    put_bytes(path, draw_heatmap_png(image, guess, np.asarray(heat.z), top=rebuilt.top, side=heat.side))
