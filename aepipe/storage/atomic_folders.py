"""Folders that are complete or absent, whenever the process or the machine stops."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from aepipe.storage.atomic_files import make_folder, put_bytes, replace, sync
from aepipe.storage.object_writes import delete_objects
from aepipe.stores import StorePath

STAGING = ".staging"
REMOVED = ".removed"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a new folder for temporary files, and remove it at the end."""
    with tempfile.TemporaryDirectory(prefix="aepipe-") as folder:
        yield Path(folder)


@contextmanager
def building_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes `folder`, which must be new or empty, at the end; removed if the block raises.

    The files in it must be synced.
    """
    staging = folder.with_name(f".{folder.name}{STAGING}")
    shutil.rmtree(staging, ignore_errors=True)
    make_folder(staging)
    try:
        yield staging
        replace(staging, folder)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def put_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files, in their order, to a new folder that appears once the last one is synced.

    In an object store the files appear one after the other: the last one tells readers that the others are there.

    The caller must hold a lock on the parent: the parent's staging folder is cleared first.

    Args:
        folder: target, which must not exist.
        files: contents by file name.
    """
    if isinstance(folder, StorePath):
        try:
            for name, data in files.items():
                put_bytes(folder / name, data)
        except BaseException:
            with suppress(Exception):  # the store may be out of reach; without its last file the folder is no version
                delete_objects(folder)
            raise
        return
    staging = folder.with_name(STAGING)
    shutil.rmtree(staging, ignore_errors=True)
    try:
        for name, data in files.items():
            put_bytes(staging / name, data)
        replace(staging, folder)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def remove_folder(folder: Path) -> None:
    """Remove a folder: readers see all of it or nothing. The caller must hold a lock on the parent.

    In an object store the objects disappear in the order of their names.
    """
    if isinstance(folder, StorePath):
        delete_objects(folder)
        return
    hidden = folder.with_name(REMOVED)
    shutil.rmtree(hidden, ignore_errors=True)  # of a killed process
    try:
        replace(folder, hidden)
    except FileNotFoundError:
        return
    shutil.rmtree(hidden)
    sync(folder.parent)
