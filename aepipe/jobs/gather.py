"""What one report shows, gathered from manifests, Parquet and the bundle. Nothing here writes."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import JsonValue

from aepipe import where
from aepipe.batch.model import TableModel
from aepipe.batch.reader import slices
from aepipe.config import Job
from aepipe.errors import DataUnreadable
from aepipe.jobs.compare import Comparison
from aepipe.jobs.rows import READ_ROWS
from aepipe.partitions import Partition, discover, select
from aepipe.report import model as page
from aepipe.storage import Manifest, Outputs, read_parquet

STRANGEST = 12
POINTS = 5_000
HISTOGRAM_ROWS = 200_000
REAL_ROWS = 1_000
SAMPLE_IMAGES = 64


class Scored:
    """The partitions that a report is about, and where their rows are."""

    def __init__(self, job: Job, outputs: Outputs, manifests: Sequence[Manifest]) -> None:
        self.job = job
        self.outputs = outputs
        self.manifests = tuple(manifests)
        self.files = {partition.name: partition for partition in discover(job)}

    def read(self, output: str, manifest: Manifest) -> pa.Table:
        """One output of one partition."""
        return read_parquet(self.outputs.root / manifest.files[output].path)


def header(scored: Scored, model: TableModel, alias: str) -> page.Header:
    """Job, model and alpha; the time is that of the latest commit."""
    calibration = model.bundle.calibration
    return page.Header(
        job=scored.job.name,
        model_version=model.version,
        created_at=datetime.fromisoformat(max(manifest.created_at for manifest in scored.manifests)),
        alias=alias,
        alpha=calibration.alpha,
        calibration_rows=calibration.n,
    )


def line(manifest: Manifest) -> page.PartitionLine:
    """What became of a scored partition."""
    details = manifest.details
    return page.PartitionLine(
        name=manifest.partition,
        rows=details["rows"],
        flagged=details["flagged"],
        invalid=details["invalid"],
        unseen=details["unseen"],
        seconds=details["seconds"],
        wall_s=details.get("wall_s"),
    )


def quarantined(scored: Scored) -> list[page.PartitionLine]:
    """The partitions that could not be scored, with their reasons."""
    found = scored.outputs.quarantined().items()
    return [page.PartitionLine(name=name, status="quarantined", reason=reason) for name, reason in found]


def scores(scored: Scored, model: TableModel) -> page.Scores:
    """The nights' scores, at most 200,000 of them, beside those of calibration."""
    calibration = model.bundle.calibration
    values = [scored.read("scores", manifest)["score"].to_numpy() for manifest in scored.manifests]
    night = np.concatenate(values)
    if len(night) > HISTOGRAM_ROWS:
        night = np.random.default_rng(0).choice(night, HISTOGRAM_ROWS, replace=False)
    return page.Scores(night=night, calibration=np.asarray(calibration.scores), threshold=calibration.threshold)


def first_reasons(scored: Scored) -> dict[str, int]:
    """How many flagged rows have each first reason, the most frequent first."""
    found: Counter[str] = Counter()
    for manifest in scored.manifests:
        table = scored.read("scores", manifest)
        if "reason_1" in table.column_names:
            flagged = table.filter(pc.fill_null(table["is_anomaly"], False))
            found.update(reason for reason in flagged["reason_1"].to_pylist() if reason is not None)
    return dict(found.most_common())


def strangest(scored: Scored, model: TableModel) -> page.StrangeRows | None:
    """The rows of the greatest scores over all nights, with their sources and what the model expected."""
    tops = []
    for manifest in scored.manifests:
        table = scored.read("scores", manifest)
        row = pa.array(np.arange(table.num_rows))
        table = table.append_column("row", row).append_column("night", pa.array([manifest.partition] * table.num_rows))
        tops.append(table.sort_by([("score", "descending")]).slice(0, STRANGEST))
    top = pa.concat_tables(tops).sort_by([("score", "descending")]).slice(0, STRANGEST)
    top = top.filter(pc.is_valid(top["score"]))
    if top.num_rows == 0:
        return None
    nights, rows = top["night"].to_pylist(), top["row"].to_pylist()
    source = pa.concat_tables(
        [_source_row(scored.files[night], row) for night, row in zip(nights, rows, strict=True)],
        promote_options="permissive",
    )
    expected = model.reconstruct(source)
    layout, shown = model.bundle.encoding.layout, top.drop_columns(["row", "night"])
    keys = tuple(scored.job.data.keys)
    if layout.image is not None:
        return page.StrangeRows(
            scores=shown,
            keys=keys,
            partitions=nights,
            images=model.arrays(source)["image"],
            reconstructed=model.arrays(expected)["image"],
            top=layout.image.top,
        )
    columns = [name for name in expected.column_names if name in source.column_names]
    return page.StrangeRows(
        scores=shown,
        keys=keys,
        partitions=nights,
        source=source.select(columns),
        reconstruction=expected.select(columns),
    )


def _source_row(partition: Partition, row: int) -> pa.Table:
    """One row of a partition as it stands in the source; only its row group is read."""
    for file in partition.files:
        with pq.ParquetFile(file) as parquet:
            for group in range(parquet.num_row_groups):
                rows = parquet.metadata.row_group(group).num_rows
                if row < rows:
                    return parquet.read_row_group(group).slice(row, 1)
                row -= rows
    raise DataUnreadable(f"{partition.name} has fewer rows than were scored; score it again")


def latents(scored: Scored) -> page.LatentMap | None:
    """Up to 5,000 latents, evenly over the nights."""
    share = max(1, sum(manifest.details["rows"] for manifest in scored.manifests) // POINTS)
    points, scores, flagged = [], [], []
    labels: list[object] = []
    label = scored.job.data.labels[0] if scored.job.data.labels else None
    for manifest in scored.manifests:
        if "features" not in manifest.files:
            return None
        features, table = scored.read("features", manifest), scored.read("scores", manifest)
        rows = np.arange(0, table.num_rows, share)
        names = [name for name in features.column_names if name.startswith(("z_", "c_"))]
        points.append(np.column_stack([features[name].to_numpy()[rows] for name in names]))
        scores.append(table["score"].to_numpy()[rows])
        flagged.append(pc.fill_null(table["is_anomaly"], False).to_numpy()[rows])
        labels += table[label].take(rows).to_pylist() if label in table.column_names else []
    fine = np.isfinite(np.concatenate(scores))
    return page.LatentMap(
        points=np.concatenate(points)[fine],
        scores=np.concatenate(scores)[fine],
        flagged=np.concatenate(flagged)[fine],
        labels=[value for value, is_fine in zip(labels, fine, strict=True) if is_fine] if labels else None,
        label=label or "label",
    )


def samples(scored: Scored, model: TableModel) -> page.Samples | None:
    """The latest samples of this model, beside rows that it learned from."""
    found = [m for m in scored.outputs.manifests("sample") if m.model_version == model.version]
    if not found:
        return None
    latest = max(found, key=lambda manifest: manifest.created_at)
    drawn, real = scored.read("samples", latest).slice(0, REAL_ROWS), _real_rows(scored.job)
    shared = {"rows": latest.files["samples"].rows, "seed": latest.details["seed"], "prior": latest.details["prior"]}
    image = model.bundle.encoding.layout.image
    if image is not None:
        pictures, reals = (model.arrays(rows.slice(0, SAMPLE_IMAGES))["image"] for rows in (drawn, real))
        return page.Samples(**shared, images=pictures, real_images=reals, top=image.top)
    columns = model.bundle.encoding.layout.columns
    return page.Samples(**shared, table=drawn.select(columns), real=real.select(columns))


def _real_rows(job: Job) -> pa.Table:
    """The first rows of the training partitions for which `[train] where` holds."""
    chosen: list[pa.RecordBatch] = []
    for partition in select(discover(job), job.train.first, job.train.last):
        for batch in slices(partition.files, None, rows=READ_ROWS):
            chosen.append(batch.filter(where.apply(job.train.where, batch)) if job.train.where else batch)
            if sum(rows.num_rows for rows in chosen) >= REAL_ROWS:
                return pa.Table.from_batches(chosen).slice(0, REAL_ROWS)
    return pa.Table.from_batches(chosen)


def comparisons(compared: Comparison) -> tuple[page.Comparison, ...]:
    """The model beside the yardsticks, and its latents beside raw columns and PCA."""
    detection = page.Comparison(
        title="Finding the anomalies",
        measures=("AUROC", "average precision"),
        lines={line.name: (line.auroc, line.average_precision) for line in compared.detection},
        ours=compared.detection[0].name,
        note=f"{compared.anomalies:,} anomalies among {compared.rows:,} rows; a random score's AP is their share.",
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


def files(scored: Scored) -> tuple[page.FileLine, ...]:
    """What was read and written, of the latest nights."""
    lines = []
    for manifest in scored.manifests:
        for path, digest in manifest.details["inputs"].items():
            lines.append(page.FileLine("read", manifest.partition, path, 0, digest))
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
