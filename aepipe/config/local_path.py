"""Path on this machine, as a field of the configuration."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator


def is_url(path: object) -> bool:
    """Return True for the address of an object store or a server, also where a path has joined its slashes.

    >>> is_url("s3://bucket/rows"), is_url(Path("s3://bucket/rows")), is_url("C:/rows")
    (True, True, False)
    """
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(path)) is not None


def _local(path: object) -> object:
    text = str(path)
    if is_url(text):
        raise ValueError(
            "expected a local path, got a URL. Object stores are not supported; copy the data or mount it."
        )
    if "\0" in text:
        raise ValueError("expected a path, got text with a NUL character. Remove it.")
    return path


LocalPath = Annotated[Path, BeforeValidator(_local)]
"""Path on a local or mounted file system."""
