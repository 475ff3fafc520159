"""Path on this machine or in an object store, as a field of the configuration."""

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator

from aepipe.stores.store_path import as_path


def _path(path: object) -> object:
    if "\0" in str(path):
        raise ValueError("expected a path, got text with a NUL character. Remove it.")
    return as_path(path) if isinstance(path, str | Path) else path


AnyPath = Annotated[Path, BeforeValidator(_path)]
"""Path on a local or mounted file system, or the URL of a place in an object store."""
