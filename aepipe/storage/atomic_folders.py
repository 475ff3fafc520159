"""Folders that are whole or absent, whenever the process or the machine stops."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from aepipe.storage.atomic_files import put_bytes, replace

STAGING = ".staging"


def put_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """`folder` holds `files`, written in their order; it appears at once, after the last is synced.

    The caller holds a lock on the parent: what a killed writer left in the parent's staging folder is cleared.
    """
    staging = folder.with_name(STAGING)
    shutil.rmtree(staging, ignore_errors=True)
    try:
        for name, data in files.items():
            put_bytes(staging / name, data)
        replace(staging, folder)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
