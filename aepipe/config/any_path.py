"""Path on this machine or in an object store, as a field of the configuration."""

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator

from aepipe.stores.store_path import as_path
from aepipe.stores.table_url import source_path


def _path(path: object) -> object:
    return as_path(_checked(path)) if isinstance(path, str | Path) else path


def _source_path(path: object) -> object:
    return source_path(_checked(path)) if isinstance(path, str | Path) else path


def _checked(path: str | Path) -> str | Path:
    if "\0" in str(path):
        raise ValueError("expected a path, got text with a NUL character. Remove it.")
    return path


AnyPath = Annotated[Path, BeforeValidator(_path)]
"""Path on a local or mounted file system, or the URL of a place in an object store."""

SourcePath = Annotated[Path, BeforeValidator(_source_path)]
"""Path as `AnyPath`, or the address of a Delta or Iceberg table."""
