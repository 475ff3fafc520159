"""Manifest of a committed partition: its files and the details of the run that wrote them."""

from pathlib import Path
from typing import Generic, TypeVar

from pydantic import Field

from aepipe.frozen import FrozenModel
from aepipe.storage.digests import digest_file
from aepipe.storage.run_details import RunDetails, RunName

CONTRACT = 1

D = TypeVar("D", bound=RunDetails)


class FileRecord(FrozenModel):
    """One output file as it was written."""

    path: str = Field(description="relative to the folder of the outputs")
    rows: int = Field(ge=0)
    bytes: int = Field(ge=0)
    digest: str

    def has_size(self, path: Path) -> bool:
        """Return True if `path` is a file of the recorded size."""
        try:
            return path.stat().st_size == self.bytes
        except (FileNotFoundError, NotADirectoryError):
            return False

    def describes(self, path: Path) -> bool:
        """Return True if `path` is a file of the recorded size and digest."""
        return self.has_size(path) and digest_file(path) == self.digest


class Manifest(FrozenModel, Generic[D]):
    """Record of one commit."""

    contract: int = CONTRACT
    partition: str
    key: str = Field(description="digest of everything the outputs depend on")
    kind_of_run: RunName
    files: dict[str, FileRecord] = Field(description="by output: scores, features, samples or walks")
    model_version: str
    created_at: str = Field(description="ISO 8601, UTC")
    details: D = Field(description="JSON; NaN and infinities become null")
