"""The partitions that one model has scored: their outputs, and their sources as far as those are still the same."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from aepipe.bundles.active_calibration import with_active_calibration
from aepipe.bundles.bundle import Bundle
from aepipe.config.job import Job
from aepipe.errors import DataUnreadable
from aepipe.inference.table_model import TableModel
from aepipe.storage import SCORE, Manifest, Outputs, PartitionResult, ScoreDetails, digest_file, read_parquet
from aepipe.tables.parquet_reader import READ_ROWS, slices

LATEST = 31
"""How many partitions a report or a threshold looks back."""


def latest_nights(outputs: Outputs, version: str) -> tuple[Manifest[ScoreDetails], ...]:
    """The latest partitions that this version has scored, in their order."""
    return _nights(outputs, version)[-LATEST:]


def _nights(outputs: Outputs, version: str) -> tuple[Manifest[ScoreDetails], ...]:
    return tuple(night for night in outputs.manifests(SCORE) if night.model_version == version)


def open_model(job: Job, name: str) -> TableModel:
    """A version of the job's model, or the one with this alias, judging by the calibration in force."""
    bundle = with_active_calibration(job.out_path, Bundle.open(f"{job.bundle_path}@{name}"))
    return TableModel(bundle, device=job.run.device)


class ScoredPartitions:
    """Partitions of a job that this very version has scored, in their order: those of these names, or the latest."""

    def __init__(self, job: Job, model: TableModel, *, names: Collection[str] | None = None) -> None:
        self.job = job
        self.model = model
        self.outputs = Outputs(job.out_path)
        found = _nights(self.outputs, model.version)
        self.manifests = found[-LATEST:] if names is None else tuple(m for m in found if m.partition in names)
        if not found:
            raise DataUnreadable(f"{job.out_path} holds no scores of {model.version}; run: aepipe score {job.source}")

    def result(self, manifest: Manifest[ScoreDetails]) -> PartitionResult:
        """Return the result of a partition."""
        return PartitionResult.of_manifest(manifest, self.outputs.root, "written")

    def read(self, output: str, manifest: Manifest[Any], columns: Sequence[str] | None = None) -> pa.Table:
        """One output of one partition."""
        return read_parquet(self.outputs.root / manifest.files[output].path, columns)

    def scores(self, manifest: Manifest[ScoreDetails]) -> np.ndarray:
        """The scores of a partition, (B,) float32, NaN where a row has none."""
        return np.asarray(self.read("scores", manifest, ["score"])["score"].to_numpy())

    def latents(self, manifest: Manifest[ScoreDetails]) -> np.ndarray | None:
        """The features of a partition, (B, Z), NaN where a row has none; None where the job does not write them.

        Of codes and other latents that no distance can be taken of, those that sum them up.
        """
        if "features" not in manifest.files:
            return None
        latent = self.model.bundle.manifest.latent
        names = latent.pooled or latent.names
        table = self.read("features", manifest, names)
        return np.column_stack([table[name].to_numpy() for name in names])

    def sources(self, manifest: Manifest[ScoreDetails]) -> Iterator[pa.RecordBatch]:
        """The rows that were scored, in the order of the scores. To be asked for `unchanged` partitions only."""
        return slices([Path(path) for path in manifest.details.inputs], None, rows=READ_ROWS)

    def is_in_force(self, manifest: Manifest[ScoreDetails]) -> bool:
        """Whether the calibration in force is what judged a partition when it was scored."""
        return manifest.details.calibration == self.model.bundle.calibration.digest

    @cached_property
    def unchanged(self) -> frozenset[str]:
        """The partitions whose source files are still those that were scored: others cannot be joined row by row."""
        return frozenset(m.partition for m in self.manifests if _is_unchanged(m.details.inputs))


def _is_unchanged(inputs: Mapping[str, str]) -> bool:
    return all(Path(path).is_file() and digest_file(Path(path)) == digest for path, digest in inputs.items())
