"""Content of a report page, read from manifests, Parquet and the bundle."""

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import JsonValue

from aepipe.config.job import Job
from aepipe.inference.output_schema import CELL_FLAG, CELL_P_VALUE, SCORE_NAMES
from aepipe.inference.reason_words import cell_columns
from aepipe.inference.table_model import TableModel
from aepipe.inference.unlikely_tokens import describe_rows
from aepipe.jobs.evaluate.compare import Comparison
from aepipe.jobs.evaluate.evaluate import Contender, Measured
from aepipe.jobs.report.page_state import latest_samples
from aepipe.jobs.row_images import drawn_images, top_of
from aepipe.jobs.scored_partitions import ScoredPartitions
from aepipe.report import page_model
from aepipe.storage import Manifest, PartitionResult, ScoreDetails, samples_page_of
from aepipe.stores.store_path import as_path, is_url
from aepipe.tables.arrow_arrays import numpy_of, rows_at
from aepipe.tables.parquet_reader import READ_ROWS, readable_footers, slices
from aepipe.tables.partitions import discover, select
from aepipe.tables.schema import Schema
from aepipe.tables.unification import parse_text_columns, unified_table

MOST_ANOMALIES = 24
MARKED_ROWS = 200
POINTS = 5_000
HISTOGRAM_ROWS = 200_000
REAL_ROWS = 1_000
SAMPLE_IMAGES = 64
_FLAGS = ("score", "is_anomaly")


def build_header(scored: ScoredPartitions, model: TableModel, alias: str) -> page_model.Header:
    """Return job, model, alpha and the time of the latest commit."""
    calibration = model.bundle.calibration
    return page_model.Header(
        job=scored.job.name,
        model_version=model.version,
        created_at=datetime.fromisoformat(max(manifest.created_at for manifest in scored.manifests)),
        alias=alias,
        alpha=calibration.alpha,
        calibration_rows=calibration.n,
        is_polluted=model.bundle.manifest.is_polluted,
        is_adaptive=any(manifest.details.stream is not None for manifest in scored.manifests),
        has_cells=any(manifest.details.has_cells for manifest in scored.manifests),
    )


def list_quarantined(scored: ScoredPartitions) -> list[PartitionResult]:
    """Return the partitions that could not be scored, with their reasons."""
    found = scored.outputs.quarantined().items()
    return [PartitionResult(partition=name, status="quarantined", reason=reason) for name, reason in found]


@dataclass(frozen=True, slots=True)
class ScoreScan:
    """Results of one pass over the scores of all partitions.

    Attributes:
        scores: scores of all rows, NaN for a row without a score, (N,).
        first_reasons: number of flagged rows by first attribution, most frequent first.
        top: partition and row of the lowest p-values, of a row or its flagged cell, the lowest first.
        spaced: score, is_anomaly and the first label of evenly spaced rows and those with the highest scores, by
            partition.
        rows: positions of these rows, by partition.
    """

    scores: np.ndarray
    first_reasons: dict[str, int]
    top: list[tuple[str, int]]
    spaced: dict[str, pa.Table]
    rows: dict[str, np.ndarray]


def _copied_label(job: Job) -> tuple[str, ...]:
    """Return the first label of a job if the scores have a copy of it."""
    return tuple(name for name in job.data.labels[:1] if name not in SCORE_NAMES)


def scan_scores(scored: ScoredPartitions) -> ScoreScan:
    """Read the scores of each partition once, for all sections that need them."""
    label, step = _copied_label(scored.job), max(1, sum(m.details.rows for m in scored.manifests) // POINTS)
    reason = ["reason_1"] if scored.model.bundle.reasons else []
    scores, spaced, rows, reasons = [], {}, {}, Counter[str]()
    highest = max(1, MARKED_ROWS // len(scored.manifests))
    ranked: list[tuple[float, float, str, int]] = []
    for manifest in scored.manifests:
        cells = [CELL_P_VALUE, CELL_FLAG] if manifest.details.has_cells else []
        table = scored.read("scores", manifest, ["score", "p_value", "is_anomaly", *cells, *reason, *label])
        values = numpy_of(table["score"])
        scores.append(values)
        unusual = unusualness(table)
        order = np.lexsort(unusual[::-1])[:MOST_ANOMALIES]
        rows[manifest.partition] = np.union1d(np.arange(0, table.num_rows, step), order[:highest])
        spaced[manifest.partition] = table.take(rows_at(rows[manifest.partition]))
        ranked += [
            (float(unusual[0][row]), float(unusual[1][row]), manifest.partition, int(row))
            for row in order
            if not np.isnan(values[row])
        ]
        if reason:
            counts = pc.value_counts(table.filter(table["is_anomaly"])["reason_1"].cast(pa.string())).to_pylist()
            reasons.update({each["values"]: each["counts"] for each in counts if each["values"] is not None})
    top = [(name, row) for _, _, name, row in sorted(ranked)[:MOST_ANOMALIES]]
    return ScoreScan(np.concatenate(scores), dict(reasons.most_common()), top, spaced, rows)


def unusualness(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Return the keys that sort rows by the lower p-value of row and flagged cell, then by score; invalid rows last."""
    p_value, scores = (np.asarray(numpy_of(table[name]), np.float64) for name in ("p_value", "score"))
    if CELL_FLAG in table.column_names:
        is_cell = numpy_of(table[CELL_FLAG])
        p_value = np.where(is_cell, np.fmin(p_value, numpy_of(table[CELL_P_VALUE])), p_value)
    return np.nan_to_num(p_value, nan=np.inf), np.nan_to_num(-scores, nan=np.inf)


def build_scores(scan: ScoreScan, model: TableModel) -> page_model.Scores:
    """Return the current scores, at most HISTOGRAM_ROWS of them, and the calibration scores."""
    calibration, current = model.bundle.calibration, scan.scores
    if len(current) > HISTOGRAM_ROWS:
        current = np.random.default_rng(0).choice(current, HISTOGRAM_ROWS, replace=False)
    return page_model.Scores(current, np.asarray(calibration.scores), calibration.threshold)


def build_cost_curve(model: TableModel) -> page_model.CostCurve | None:
    """Return the choice of alpha by cost; None if the job sets alpha."""
    calibration = model.bundle.calibration
    choice = calibration.choice
    if choice is None:
        return None
    points = sorted(choice.points, key=lambda point: point.alpha)
    alpha, cost, alarms = (np.array([getattr(p, name) for p in points]) for name in ("alpha", "cost", "alarms"))
    return page_model.CostCurve(
        sentence=choice.sentence,
        alpha=alpha,
        cost=cost,
        alarms=alarms,
        chosen=calibration.alpha,
        capacity=choice.capacity,
        measures=choice.measures,
    )


def build_top_anomalies(scored: ScoredPartitions, scan: ScoreScan) -> page_model.TopAnomalies | None:
    """Return the rows with the highest scores, with source and reconstruction if the source is unchanged."""
    if not scan.top:
        return None
    rows_of: dict[str, list[int]] = {}
    for name, row in scan.top:
        rows_of.setdefault(name, []).append(row)
    manifests = {manifest.partition: manifest for manifest in scored.manifests}
    taken = {
        name: scored.read("scores", manifests[name]).take(rows_at(np.array(rows))) for name, rows in rows_of.items()
    }
    shown = page_model.TopAnomalies(
        scores=_in_order(scan.top, taken),
        keys=tuple(scored.job.data.keys),
        partitions=[name for name, _ in scan.top],
        rows=[row for _, row in scan.top],
    )
    if scored.model.bundle.series is not None or not rows_of.keys() <= scored.unchanged:
        return shown
    source = _in_order(scan.top, {name: _source_rows(scored, manifests[name], rows) for name, rows in rows_of.items()})
    expected = scored.model.reconstruct(source)
    encoding = scored.model.bundle.encoding
    if not encoding.layout.has_cells:
        images, reconstructed = (drawn_images(encoding, rows) for rows in (source, expected))
        return replace(shown, images=images, reconstructed=reconstructed, top=top_of(encoding.layout))
    words = describe_rows(scored.model, source, expected)
    source, expected = (cell_columns(encoding, rows) for rows in (source, expected))
    return replace(shown, source=source, reconstruction=expected, words=words)


def _in_order(positions: Sequence[tuple[str, int]], tables: Mapping[str, pa.Table]) -> pa.Table:
    """Concatenate rows taken per partition into one table in the order of `positions`."""
    taken: Counter[str] = Counter()
    rows = []
    for name, _ in positions:
        rows.append(tables[name].slice(taken[name], 1))
        taken[name] += 1
    return unified_table(rows, or_text=True)


def _source_rows(scored: ScoredPartitions, manifest: Manifest[ScoreDetails], rows: Sequence[int]) -> pa.Table:
    found: dict[int, pa.RecordBatch] = {}
    begin = 0
    for batch in scored.sources(manifest):
        found |= {row: batch.slice(row - begin, 1) for row in rows if begin <= row < begin + batch.num_rows}
        begin += batch.num_rows
    return unified_table([found[row] for row in rows], or_text=True)


def build_latent_map(scored: ScoredPartitions, scan: ScoreScan) -> page_model.LatentMap | None:
    """Return up to POINTS latents, evenly spaced over the partitions; None if features are not written."""
    points = []
    for manifest in scored.manifests:
        z = scored.latents(manifest)
        if z is None:
            return None
        points.append(z[scan.rows[manifest.partition]])
    label = next(iter(_copied_label(scored.job)), "label")
    tables = list(scan.spaced.values())
    scores, flagged = (np.concatenate([numpy_of(t[name]) for t in tables]) for name in _FLAGS)
    labels = [value for t in tables for value in (t[label].to_pylist() if label in t.column_names else [None] * len(t))]
    finite = np.isfinite(scores)
    places = [(m.partition, int(row)) for m in scored.manifests for row in scan.rows[m.partition]]
    known = [value for value, is_finite in zip(labels, finite, strict=True) if is_finite]
    return page_model.LatentMap(
        points=np.concatenate(points)[finite],
        scores=scores[finite],
        flagged=flagged[finite],
        labels=known if any(value is not None for value in known) else None,
        label=label,
        places=[place for place, is_finite in zip(places, finite, strict=True) if is_finite],
    )


def build_samples(scored: ScoredPartitions, model: TableModel) -> page_model.Samples | None:
    """Return the latest samples of this model with real training rows; None if there are none."""
    latest = latest_samples(scored.outputs, model.version)
    if latest is None:
        return None
    drawn, real = (
        scored.read("samples", latest).slice(0, REAL_ROWS),
        _real_rows(scored.job, model.bundle.source.schema),
    )
    shared = page_model.Samples(
        rows=latest.files["samples"].rows,
        seed=latest.details.seed,
        prior=latest.details.prior,
        check_page=samples_page_of(latest.partition) if latest.details.quality or latest.details.calendar else None,
    )
    layout = model.bundle.encoding.layout
    if not layout.has_cells:
        images, real_images = (
            drawn_images(model.bundle.encoding, rows.slice(0, SAMPLE_IMAGES)) for rows in (drawn, real)
        )
        return replace(shared, images=images, real_images=real_images, top=top_of(layout))
    columns = list(dict.fromkeys(layout.sources))
    return replace(shared, table=drawn.select(columns), real=real.select(columns))


def _real_rows(job: Job, schema: Schema) -> pa.Table:
    """Return the first rows of the training partitions that match `[train] where`; text as the model reads it."""
    condition = job.train.condition
    wanted = {*(column.name for column in schema.modelled), *(condition.columns if condition is not None else ())}
    chosen: list[pa.RecordBatch] = []
    for partition in select(discover(job), job.train.first, job.train.last):
        footers, _ = readable_footers(partition.files)
        batches = (
            slices([footer.path], [name for name in footer.schema.names if name in wanted], rows=READ_ROWS)
            for footer in footers
        )
        for batch in chain.from_iterable(batches):
            batch = parse_text_columns(batch, schema.arrow)
            chosen.append(batch if condition is None else batch.filter(condition.mask(batch)))
            if sum(rows.num_rows for rows in chosen) >= REAL_ROWS:
                return unified_table(chosen, or_text=True).slice(0, REAL_ROWS)
    return unified_table(chosen, or_text=True)


def build_comparisons(compared: Comparison) -> tuple[page_model.Comparison, ...]:
    """Return the model's scores next to the baselines, and its latents next to raw columns and PCA."""
    found = compared.evaluation
    detection = page_model.Comparison(
        title="Anomaly detection",
        measures=("AUROC", "average precision", "precision", "recall", "F1"),
        lines={line.name: (*(each.value for each in _measures(line)), line.f1) for line in found.contenders},
        ranges={line.name: (*((each.low, each.high) for each in _measures(line)), None) for line in found.contenders},
        ours=found.contenders[0].name,
        note=f"{found.anomalies:,} anomalies ({found.truth}) among {found.rows:,} rows; a random score's average "
        f"precision is their share. Precision, recall and F1 describe the rows flagged at alpha {found.alpha:g}; the "
        "thresholds of the baselines come from the same calibration rows. In brackets: 95 % bootstrap intervals.",
    )
    if not compared.features:
        return (detection,)
    downstream = page_model.Comparison(
        title=f"Predicting {compared.label} from the features",
        measures=("accuracy",),
        lines={f"{line.name} ({line.width})": (line.accuracy,) for line in compared.features},
        ours=f"{compared.features[0].name} ({compared.features[0].width})",
        note="Logistic regression on standardised features, mean of five stratified folds of the same rows.",
    )
    return detection, downstream


def _measures(line: Contender) -> tuple[Measured, ...]:
    return line.auroc, line.average_precision, line.precision, line.recall


def build_training(model: TableModel) -> page_model.Training | None:
    """Return the training history of the bundle; None for a family with a closed-form solution."""
    curve = json.loads(model.bundle.files["curve.json"])
    epochs = curve["epochs"]
    if not epochs:
        return None
    return page_model.Training(
        epochs=np.asarray([epoch["epoch"] for epoch in epochs]),
        train=np.asarray([epoch["train"] for epoch in epochs]),
        dev=np.asarray([epoch["dev"] for epoch in epochs]),
        best_epoch=curve["best_epoch"],
        stopped_because=curve["stopped_because"],
        rows_per_s=curve.get("rows_per_s"),
    )


def build_file_lines(scored: ScoredPartitions) -> tuple[page_model.FileLine, ...]:
    """Return the input and output files of the latest partitions."""
    lines = []
    for manifest in scored.manifests:
        for path, digest in manifest.details.inputs.items():
            source = as_path(path)
            size = source.stat().st_size if source.is_file() else 0
            shown = path if is_url(path) else os.path.relpath(source, scored.job.source.parent)
            lines.append(page_model.FileLine("read", manifest.partition, shown, size, digest))
        for output, record in manifest.files.items():
            lines.append(page_model.FileLine("written", output, record.path, record.bytes, record.digest, record.rows))
    return tuple(lines)


def build_card(model: TableModel) -> page_model.Card:
    """Return the description of the model from the bundle's manifest."""
    manifest = model.bundle.manifest
    parity: dict[str, dict[str, float]] = {}
    for part_name, part in manifest.parts.items():
        largest = parity.setdefault(part_name, {})  # over all batch sizes and outputs
        for differences in (each for outputs in part.parity.values() for each in _mapping(outputs).values()):
            for measure, value in differences.items():
                largest[measure] = max(largest.get(measure, 0.0), value)
    return page_model.Card(
        family=manifest.family,
        trunk=manifest.trunk or "",
        head=manifest.head,
        created_at=manifest.created_at,
        options=_mapping(manifest.job["model"]),
        rows=manifest.rows,
        partitions=manifest.train_partitions,
        parity=parity,
        versions=manifest.versions,
    )


def _mapping(value: JsonValue) -> dict[str, Any]:
    return dict(value) if isinstance(value, dict) else {}
