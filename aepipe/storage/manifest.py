"""Manifest of a committed partition: its files and the details of the run that wrote them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from pydantic import Field, model_serializer

from aepipe.frozen import FrozenModel
from aepipe.storage.atomic_files import json_bytes
from aepipe.storage.digests import digest_bytes, digest_file
from aepipe.storage.run_details import RunDetails, RunName
from aepipe.stores import StorePath

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

    def has_all_files(self, root: Path) -> bool:
        """Return True if every output is a file of its recorded size; root: the folder of the outputs."""
        if isinstance(root, StorePath):
            return all(record.has_size(root / record.path) for record in self.files.values())
        try:  # a path per file costs more than the question
            sizes = {name: os.stat(f"{root}/{record.path}").st_size for name, record in self.files.items()}  # noqa: PTH116
        except (FileNotFoundError, NotADirectoryError):
            return False
        return all(record.bytes == sizes[name] for name, record in self.files.items())

    digest: str | None = Field(None, description="of all other fields; None in manifests of version 0.1.0")

    @model_serializer(mode="wrap")
    def _without_absent_digest(self, serialize: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        return {name: value for name, value in serialize(self).items() if name != "digest" or value is not None}

    def sealed(self) -> tuple[Self, bytes]:
        """Return the manifest with the digest of its other fields, and the content of its file."""
        document = self.model_dump(mode="json", exclude={"digest"})
        digest = digest_bytes(json_bytes(document))
        return self.model_copy(update={"digest": digest}), json_bytes({**document, "digest": digest})


def was_changed(document: dict[str, Any]) -> bool:
    """Return whether a manifest, parsed from its file, differs from the one that was written, as far as it can tell."""
    others = {name: value for name, value in document.items() if name != "digest"}
    try:
        return "digest" in document and document["digest"] != digest_bytes(json_bytes(others))
    except ValueError:  # a number that is infinite, which no manifest holds
        return True
