"""Manifests of the partitions that one version of a model has scored. Nothing here opens a model."""

from typing import TypeAlias

from aepipe.storage import SCORE, Manifest, Outputs, ScoreDetails
from aepipe.tables.partitions import natural_order

LATEST = 31
"""Number of latest partitions that a report or a threshold reads."""

Manifests: TypeAlias = tuple[Manifest[ScoreDetails], ...]


def latest_nights(outputs: Outputs, version: str) -> Manifests:
    """Return the manifests of the latest partitions that this version has scored, in order."""
    complete, _ = scored_by(outputs, version, outputs.manifests(SCORE))
    return complete[-LATEST:]


def has_scores(outputs: Outputs, version: str) -> bool:
    """Return whether this version has scored a partition whose outputs are there; the latest ones are read first."""
    for name in sorted(outputs.partitions(SCORE), key=natural_order, reverse=True):
        manifest = outputs.manifest(SCORE, name)
        if manifest is not None and manifest.model_version == version and manifest.has_all_files(outputs.root):
            return True
    return False


def scored_by(outputs: Outputs, version: str, every: Manifests) -> tuple[Manifests, Manifests]:
    """Return the manifests of this version: those with all outputs, and those whose outputs were removed by hand."""
    complete: list[Manifest[ScoreDetails]] = []
    removed: list[Manifest[ScoreDetails]] = []
    for manifest in every:
        if manifest.model_version == version:
            (complete if manifest.has_all_files(outputs.root) else removed).append(manifest)
    return tuple(complete), tuple(removed)
