"""What is known of a committed partition."""

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from aepipe.storage.digests import digest_file
from aepipe.storage.paths import Run

_log = logging.getLogger(__name__)

CONTRACT = 1


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileRecord(_Frozen):
    """One file of the outputs, as it was written."""

    path: str = Field(description="relative to the folder of the outputs")
    rows: int = Field(ge=0)
    bytes: int = Field(ge=0)
    digest: str

    def has_size(self, path: Path) -> bool:
        """Whether `path` is a file of this size."""
        try:
            return path.stat().st_size == self.bytes
        except (FileNotFoundError, NotADirectoryError):
            return False

    def describes(self, path: Path) -> bool:
        """Whether `path` is a file of these very bytes."""
        return self.has_size(path) and digest_file(path) == self.digest


class Manifest(_Frozen):
    """What one commit wrote, and from what."""

    contract: int = CONTRACT
    partition: str
    key: str = Field(description="digest of all that the outputs depend on")
    kind_of_run: Run
    files: dict[str, FileRecord] = Field(description="by output: scores, features, samples or walks")
    model_version: str
    created_at: str = Field(description="ISO 8601, UTC")
    details: dict[str, Any] = Field(default_factory=dict, description="JSON; NaN and infinities become null")

    @field_validator("details", mode="before")
    @classmethod
    def _as_json(cls, value: object) -> object:
        return _plain(value)


def _plain(value: object) -> object:
    """The same value as JSON gives it back: numpy scalars and tuples lose their type; NaN becomes null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def read_manifest(path: Path) -> Manifest | None:
    """The manifest in this file, or None where there is none or it cannot be understood."""
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValidationError as error:
        _log.warning("%s is not a manifest and counts as absent: %s", path, error.errors()[0]["msg"])
        return None
