"""What one report shows, gathered from manifests, Parquet and the bundle. Nothing here writes."""

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import JsonValue

from aepipe.config.job import Job
from aepipe.expressions import evaluate as where
from aepipe.inference.table_model import TableModel
from aepipe.jobs.evaluate.compare import Comparison
from aepipe.jobs.evaluate.evaluate import Contender, Measured
from aepipe.jobs.row_images import drawn_images, top_of
from aepipe.jobs.sample.quality_gate import page_name
from aepipe.jobs.scored_partitions import ScoredPartitions
from aepipe.report import page_model as page
from aepipe.storage import SAMPLE, Manifest, PartitionResult, ScoreDetails
from aepipe.tables.parquet_reader import READ_ROWS, slices
from aepipe.tables.partitions import discover, select
from aepipe.tables.unification import unified_table

STRANGEST = 12
POINTS = 5_000
HISTOGRAM_ROWS = 200_000
REAL_ROWS = 1_000
SAMPLE_IMAGES = 64


def header(scored: ScoredPartitions, model: TableModel, alias: str) -> page.Header:
    """Job, model and alpha; the time is that of the latest commit."""
    calibration = model.bundle.calibration
    return page.Header(
        job=scored.job.name,
        model_version=model.version,
        created_at=datetime.fromisoformat(max(manifest.created_at for manifest in scored.manifests)),
        alias=alias,
        alpha=calibration.alpha,
        calibration_rows=calibration.n,
        is_polluted=model.bundle.manifest.is_polluted,
        is_adaptive=any(manifest.details.stream is not None for manifest in scored.manifests),
    )


def quarantined(scored: ScoredPartitions) -> list[PartitionResult]:
    """Return the partitions that could not be scored, with their reasons."""
    found = scored.outputs.quarantined().items()
    return [PartitionResult(partition=name, status="quarantined", reason=reason) for name, reason in found]


def scores(scored: ScoredPartitions, model: TableModel) -> page.Scores:
    """The nights' scores, at most 200,000 of them, beside those of calibration."""
    calibration = model.bundle.calibration
    night = np.concatenate([scored.scores(manifest) for manifest in scored.manifests])
    if len(night) > HISTOGRAM_ROWS:
        night = np.random.default_rng(0).choice(night, HISTOGRAM_ROWS, replace=False)
    return page.Scores(night=night, calibration=np.asarray(calibration.scores), threshold=calibration.threshold)


def costs(model: TableModel) -> page.CostCurve | None:
    """The choice of alpha; none where the job asked for it."""
    calibration = model.bundle.calibration
    choice = calibration.choice
    if choice is None:
        return None
    points = sorted(choice.points, key=lambda point: point.alpha)
    alpha, cost, alarms = (np.array([getattr(p, name) for p in points]) for name in ("alpha", "cost", "alarms"))
    return page.CostCurve(
        sentence=choice.sentence,
        alpha=alpha,
        cost=cost,
        alarms=alarms,
        chosen=calibration.alpha,
        capacity=choice.capacity,
        measures=choice.measures,
    )


def first_reasons(scored: ScoredPartitions) -> dict[str, int]:
    """How many flagged rows have each first reason, the most frequent first."""
    found: Counter[str] = Counter()
    for manifest in scored.manifests:
        if scored.model.bundle.reasons:
            table = scored.read("scores", manifest, ["is_anomaly", "reason_1"])
            counts = pc.value_counts(table.filter(table["is_anomaly"])["reason_1"].cast(pa.string())).to_pylist()
            found.update({each["values"]: each["counts"] for each in counts if each["values"] is not None})
    return dict(found.most_common())


def strangest(scored: ScoredPartitions, model: TableModel) -> page.StrangeRows | None:
    """The rows of the greatest scores over all nights; with their sources where those are still what was scored."""
    places = _strangest_places(scored)
    if not places:
        return None
    rows_of: dict[str, list[int]] = {}
    for name, row in places:
        rows_of.setdefault(name, []).append(row)
    manifests = {manifest.partition: manifest for manifest in scored.manifests}
    shown = _in_order(
        places, {name: scored.read("scores", manifests[name]).take(rows) for name, rows in rows_of.items()}
    )
    keys, nights = tuple(scored.job.data.keys), [name for name, _ in places]
    if not rows_of.keys() <= scored.unchanged:
        return page.StrangeRows(scores=shown, keys=keys, partitions=nights)
    source = _in_order(places, {name: _source_rows(scored, manifests[name], rows) for name, rows in rows_of.items()})
    expected = model.reconstruct(source)
    layout = model.bundle.encoding.layout
    if layout.kind != "table":
        pictures, expectations = (drawn_images(model.bundle.encoding, rows) for rows in (source, expected))
        return page.StrangeRows(
            scores=shown, keys=keys, partitions=nights, images=pictures, reconstructed=expectations, top=top_of(layout)
        )
    columns = list(layout.columns)
    return page.StrangeRows(
        scores=shown,
        keys=keys,
        partitions=nights,
        source=source.select(columns),
        reconstruction=expected.select(columns),
    )


def _strangest_places(scored: ScoredPartitions) -> list[tuple[str, int]]:
    """Partition and row of the greatest scores, the greatest first."""
    found: list[tuple[float, str, int]] = []
    for manifest in scored.manifests:
        values = scored.scores(manifest)
        ranked = np.argsort(np.where(np.isnan(values), np.inf, -values), kind="stable")[:STRANGEST]
        found += [(-float(values[row]), manifest.partition, int(row)) for row in ranked if not np.isnan(values[row])]
    return [(name, row) for _, name, row in sorted(found)[:STRANGEST]]


def _in_order(places: Sequence[tuple[str, int]], tables: Mapping[str, pa.Table]) -> pa.Table:
    """One table of rows that were taken a partition at a time, each partition's in the order of `places`."""
    taken: Counter[str] = Counter()
    rows = []
    for name, _ in places:
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


def latents(scored: ScoredPartitions) -> page.LatentMap | None:
    """Up to 5,000 latents, evenly over the nights."""
    step = max(1, sum(manifest.details.rows for manifest in scored.manifests) // POINTS)
    label = scored.job.data.labels[0] if scored.job.data.labels else None
    points, scores, flagged = [], [], []
    labels: list[object] = []
    for manifest in scored.manifests:
        z = scored.latents(manifest)
        if z is None:
            return None
        table = scored.read("scores", manifest)
        rows = np.arange(0, table.num_rows, step)
        points.append(z[rows])
        scores.append(table["score"].to_numpy()[rows])
        flagged.append(table["is_anomaly"].to_numpy()[rows])
        known = label is not None and label in table.column_names
        labels += table[label].take(rows).to_pylist() if known else [None] * len(rows)
    fine = np.isfinite(np.concatenate(scores))
    named = [value for value, is_fine in zip(labels, fine, strict=True) if is_fine]
    return page.LatentMap(
        points=np.concatenate(points)[fine],
        scores=np.concatenate(scores)[fine],
        flagged=np.concatenate(flagged)[fine],
        labels=named if any(value is not None for value in named) else None,
        label=label or "label",
    )


def samples(scored: ScoredPartitions, model: TableModel) -> page.Samples | None:
    """The latest samples of this model, beside rows that it learned from."""
    found = [m for m in scored.outputs.manifests(SAMPLE) if m.model_version == model.version]
    if not found:
        return None
    latest = max(found, key=lambda manifest: manifest.created_at)
    drawn, real = scored.read("samples", latest).slice(0, REAL_ROWS), _real_rows(scored.job)
    shared = page.Samples(
        rows=latest.files["samples"].rows,
        seed=latest.details.seed,
        prior=latest.details.prior,
        judged=page_name(latest.partition) if latest.details.quality else None,
    )
    layout = model.bundle.encoding.layout
    if layout.kind != "table":
        pictures, reals = (drawn_images(model.bundle.encoding, rows.slice(0, SAMPLE_IMAGES)) for rows in (drawn, real))
        return replace(shared, images=pictures, real_images=reals, top=top_of(layout))
    columns = layout.columns
    return replace(shared, table=drawn.select(columns), real=real.select(columns))


def _real_rows(job: Job) -> pa.Table:
    """The first rows of the training partitions for which `[train] where` holds."""
    chosen: list[pa.RecordBatch] = []
    for partition in select(discover(job), job.train.first, job.train.last):
        for batch in slices(partition.files, None, rows=READ_ROWS):
            chosen.append(batch.filter(where.apply(job.train.where, batch)) if job.train.where else batch)
            if sum(rows.num_rows for rows in chosen) >= REAL_ROWS:
                return unified_table(chosen, or_text=True).slice(0, REAL_ROWS)
    return unified_table(chosen, or_text=True)


def comparisons(compared: Comparison) -> tuple[page.Comparison, ...]:
    """The model's scores beside the yardsticks', and its latents beside raw columns and PCA."""
    found = compared.evaluation
    detection = page.Comparison(
        title="Finding the anomalies",
        measures=("AUROC", "average precision", "precision", "recall", "F1"),
        lines={line.name: tuple(_measures(line)) for line in found.contenders},
        ranges={line.name: tuple(_ranges(line)) for line in found.contenders},
        ours=found.contenders[0].name,
        note=f"{found.anomalies:,} anomalies ({found.truth}) among {found.rows:,} rows; a random score's average "
        f"precision is their share. Precision, recall and F1 are of the alarms at alpha {found.alpha:g}, those of the "
        "others from thresholds of the same calibration rows. In brackets 95 % intervals of rows drawn again.",
    )
    if not compared.features:
        return (detection,)
    downstream = page.Comparison(
        title=f"Telling {compared.label} from the features",
        measures=("accuracy",),
        lines={f"{line.name} ({line.width})": (line.accuracy,) for line in compared.features},
        ours=f"{compared.features[0].name} ({compared.features[0].width})",
        note="Logistic regression on standardised features, mean of five stratified folds of the same rows.",
    )
    return detection, downstream


def _measures(line: Contender) -> Iterator[float]:
    yield from (each.value for each in _measured(line))
    yield line.f1


def _ranges(line: Contender) -> Iterator[tuple[float, float] | None]:
    yield from ((each.low, each.high) for each in _measured(line))
    yield None


def _measured(line: Contender) -> tuple[Measured, ...]:
    return line.auroc, line.average_precision, line.precision, line.recall


def training(model: TableModel) -> page.Training | None:
    """The curve that the bundle keeps; none where the family was solved in closed form."""
    curve = json.loads(model.bundle.files["curve.json"])
    epochs = curve["epochs"]
    if not epochs:
        return None
    return page.Training(
        epochs=np.asarray([epoch["epoch"] for epoch in epochs]),
        train=np.asarray([epoch["train"] for epoch in epochs]),
        dev=np.asarray([epoch["dev"] for epoch in epochs]),
        best_epoch=curve["best_epoch"],
        stopped_because=curve["stopped_because"],
        rows_per_s=curve.get("rows_per_s"),
    )


def files(scored: ScoredPartitions) -> tuple[page.FileLine, ...]:
    """What was read and written, of the latest nights."""
    lines = []
    for manifest in scored.manifests:
        for path, digest in manifest.details.inputs.items():
            source = Path(path)
            size = source.stat().st_size if source.is_file() else 0
            shown = os.path.relpath(source, scored.job.source.parent)
            lines.append(page.FileLine("read", manifest.partition, shown, size, digest))
        for output, record in manifest.files.items():
            lines.append(page.FileLine("written", output, record.path, record.bytes, record.digest, record.rows))
    return tuple(lines)


def card(model: TableModel) -> page.Card:
    """What the bundle says of itself."""
    manifest = model.bundle.manifest
    return page.Card(
        family=manifest.family,
        trunk=manifest.trunk or "",
        head=manifest.head,
        created_at=manifest.created_at,
        options=_mapping(manifest.job["model"]),
        rows=manifest.rows,
        partitions=manifest.train_partitions,
        parity={name: _numbers(part.parity) for name, part in manifest.parts.items()},
        versions=manifest.versions,
    )


def _mapping(value: JsonValue) -> dict[str, Any]:
    return dict(value) if isinstance(value, dict) else {}


def _numbers(parity: Mapping[str, JsonValue]) -> dict[str, float]:
    """The greatest differences over all numbers of rows and all outputs: absolute, and relative."""
    found: dict[str, float] = {}
    for outputs in parity.values():
        for differences in _mapping(outputs).values():
            for measure, value in differences.items():
                found[measure] = max(found.get(measure, 0.0), value)
    return found
