"""Path on this machine, as a field of the configuration."""

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator


def _local(path: object) -> object:
    text = str(path)
    if "://" in text:
        raise ValueError(
            "expected a local path, got a URL. Object stores are not supported; copy the data or mount it."
        )
    if "\0" in text:
        raise ValueError("expected a path, got text with a NUL character. Remove it.")
    return path


LocalPath = Annotated[Path, BeforeValidator(_local)]
