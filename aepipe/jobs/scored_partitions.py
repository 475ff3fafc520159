"""Partitions that one model has scored, with their outputs and source rows."""

from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from aepipe.bundles.active_calibration import with_active_calibration
from aepipe.bundles.job_bundle import open_bundle
from aepipe.config.job import Job
from aepipe.errors import DataUnreadable
from aepipe.inference.table_model import TableModel
from aepipe.jobs.scored_manifests import LATEST, Manifests, scored_by
from aepipe.storage import SCORE, Manifest, Outputs, PartitionResult, ScoreDetails, read_parquet, source_digest
from aepipe.storage.paths import PartitionPaths
from aepipe.stores import as_path
from aepipe.tables.arrow_arrays import numpy_of
from aepipe.tables.parquet_reader import READ_ROWS, slices
from aepipe.tables.partitions import Partition, natural_order
from aepipe.tables.source_files import printable


def open_model(job: Job, name: str) -> TableModel:
    """Open a version of the job's model, or the one with this alias, with its active calibration."""
    bundle = with_active_calibration(job.out_path, open_bundle(job, name))
    return TableModel(bundle, device=job.run.device)


class ScoredPartitions:
    """Partitions of a job that one version of its model has scored, in order.

    Args:
        job: the job.
        model: the version.
        names: names of the partitions; None: the latest.

    `removed` names the partitions with a manifest whose outputs are gone.

    Raises:
        DataUnreadable: the version has scored no partition.
    """

    def __init__(self, job: Job, model: TableModel, *, names: Collection[str] | None = None) -> None:
        self.job = job
        self.model = model
        self.outputs = Outputs(job.out_path)
        every = self.outputs.manifests(SCORE)
        found, removed = scored_by(self.outputs, model.version, every)
        self.removed = tuple(manifest.partition for manifest in removed)
        self.manifests = found[-LATEST:] if names is None else tuple(m for m in found if m.partition in names)
        if not found:
            raise DataUnreadable(f"{job.out_path} has no scores of {model.version}. Run: aepipe score {job.source}")
        if names is None:
            self._refuse_unread_latest(every)

    def _refuse_unread_latest(self, every: Manifests) -> None:
        """Raise DataUnreadable if a manifest of a later partition cannot be read: the latest ones are unknown."""
        last = natural_order(self.manifests[-1].partition)
        later = [name for name in self.outputs.unread(SCORE, every) if natural_order(name) > last]
        if later:
            path = PartitionPaths(self.outputs.root, later[-1], SCORE).manifest
            raise DataUnreadable(
                f"{path} cannot be read, so that the latest partitions are unknown. Run: aepipe score {self.job.source}"
            )

    def result(self, manifest: Manifest[ScoreDetails]) -> PartitionResult:
        """Return the result of a partition."""
        return PartitionResult.of_manifest(manifest, self.outputs.root, "written")

    def read(self, output: str, manifest: Manifest[Any], columns: Sequence[str] | None = None) -> pa.Table:
        """Read one output of a partition."""
        return read_parquet(self.outputs.root / manifest.files[output].path, columns)

    def scores(self, manifest: Manifest[ScoreDetails]) -> np.ndarray:
        """Read the scores of a partition, (B,) float32; NaN for invalid rows."""
        return numpy_of(self.read("scores", manifest, ["score"])["score"])

    def latents(self, manifest: Manifest[ScoreDetails]) -> np.ndarray | None:
        """Read the features of a partition, (B, Z); NaN for invalid rows, None if the job does not write features.

        Latents without a distance, such as codes, are replaced by their summary features.
        """
        if "features" not in manifest.files:
            return None
        latent = self.model.bundle.manifest.latent
        names = latent.pooled or latent.names
        table = self.read("features", manifest, names)
        return np.column_stack([numpy_of(table[name]) for name in names])

    def sources(self, manifest: Manifest[ScoreDetails]) -> Iterator[pa.RecordBatch]:
        """Read the source rows in the order of the scores; valid for `unchanged` partitions only."""
        return slices([as_path(path) for path in manifest.details.inputs], None, rows=READ_ROWS)

    def has_active_calibration(self, manifest: Manifest[ScoreDetails]) -> bool:
        """Return True if the active calibration flagged the rows of a partition."""
        return manifest.details.calibration == self.model.bundle.calibration.digest

    @cached_property
    def unchanged(self) -> frozenset[str]:
        """Partitions whose source files are the ones that were scored, so that rows can be joined by position."""
        return frozenset(
            manifest.partition
            for manifest in self.manifests
            if all(_has_digest(as_path(path), digest) for path, digest in manifest.details.inputs.items())
        )

    def is_same(self, manifest: Manifest[ScoreDetails], partition: Partition) -> bool:
        """Return whether a partition of the source has the files that were scored, in the same order, here or moved."""
        inputs = manifest.details.inputs
        if [printable(file) for file in partition.files] == list(inputs):
            return manifest.partition in self.unchanged
        return len(partition.files) == len(inputs) and all(map(_has_digest, partition.files, inputs.values()))


def _has_digest(path: Path, digest: str) -> bool:
    try:
        return source_digest(path) == digest
    except DataUnreadable:
        return False
