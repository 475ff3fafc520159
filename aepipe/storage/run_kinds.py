"""Kinds of run: their names, outputs and manifests."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

from pydantic import ValidationError

from aepipe.storage.atomic_files import naming
from aepipe.storage.manifest import D, Manifest
from aepipe.storage.run_details import (
    ImputeDetails,
    RecommendDetails,
    RunName,
    SampleDetails,
    ScoreDetails,
    TraversalDetails,
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunKind(Generic[D]):
    """A kind of run.

    outputs: what a run may write, in the order of replacement; the last one is always written, and replacing it is the
    commit.
    summaries: outputs with other rows than the source.
    """

    name: RunName
    outputs: tuple[str, ...]
    manifest_type: type[Manifest[D]]
    summaries: tuple[str, ...] = ()

    def read_manifest(self, path: Path) -> Manifest[D] | None:
        """Read a manifest; None if there is none, it cannot be parsed, or it lacks the output that all runs write."""
        try:
            with naming(path):
                manifest = self.manifest_type.model_validate_json(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (IsADirectoryError, PermissionError) as error:
            _log.warning("%s cannot be read and counts as absent: %s", path, error.strerror)
            return None
        except ValidationError as error:
            _log.warning("%s is not a manifest and counts as absent: %s", path, error.errors()[0]["msg"])
            return None
        if self.outputs[-1] not in manifest.files:
            _log.warning("%s is not a manifest and counts as absent: it names no %s", path, self.outputs[-1])
            return None
        return manifest


SCORE = RunKind(
    "score", ("thresholds", "events", "features", "scores"), Manifest[ScoreDetails], ("thresholds", "events")
)
SAMPLE = RunKind("sample", ("samples",), Manifest[SampleDetails])
IMPUTE = RunKind("fill", ("filled",), Manifest[ImputeDetails])
TRAVERSE = RunKind("walk", ("walks",), Manifest[TraversalDetails])
RECOMMEND = RunKind("recommend", ("recommended",), Manifest[RecommendDetails])

RUN_KINDS: tuple[RunKind[Any], ...] = (SCORE, SAMPLE, IMPUTE, TRAVERSE, RECOMMEND)
