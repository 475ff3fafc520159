"""Verification of outputs against their manifests."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aepipe.errors import Busy, DataUnreadable
from aepipe.storage.digests import digest_file
from aepipe.storage.forget import read_notes
from aepipe.storage.listing import files_below, raise_unless_missing
from aepipe.storage.locks import lock
from aepipe.storage.manifest import FileRecord, was_changed
from aepipe.storage.paths import FILE, PartitionPaths, manifests_folder
from aepipe.storage.run_kinds import RUN_KINDS, RunKind
from aepipe.stores import StorePath

_REMEDY = "Delete it and run the partition again."


def find_faults(root: Path, *, wait_s: float) -> list[str]:
    """Return one sentence per fault of the outputs, with the file and the remedy."""
    all_paths = [PartitionPaths(root, partition, kind) for kind in RUN_KINDS for partition in partitions_of(root, kind)]
    removing = [
        f"partition {note.partition} is not removed completely. Run aepipe score or aepipe forget to finish it."
        for note in read_notes(root)
        if note.state == "removing"
    ]
    of_partitions = [fault for paths in all_paths for fault in _confirmed_faults(paths, wait_s)]
    return [*removing, *of_partitions, *_extra_files(root)]


def _extra_files(root: Path) -> Iterator[str]:
    """Yield a fault for each file that no run writes, but that readers of an output folder open."""
    folders = dict.fromkeys(root / output for kind in RUN_KINDS for output in kind.outputs)
    for folder in folders:
        if isinstance(folder, StorePath):
            names = {path: path.relative_to(folder).parts for path in files_below(folder)}
            shown = (path for path, parts in names.items() if not any(part[0] in "._" for part in parts))
            yield from (_extra(path, folder) for path in shown if path.name != FILE or path.parent == folder)
            continue
        for parent, inner, files in os.walk(folder, onerror=raise_unless_missing):
            links = [name for name in inner if Path(parent, name).is_symlink()]
            inner[:] = [name for name in inner if name[0] not in "._"]
            for name in (*files, *links):
                if name[0] not in "._" and (name != FILE or Path(parent) == folder):
                    yield _extra(Path(parent, name), folder)


def _extra(path: Path, folder: Path) -> str:
    return (
        f"{path} is not an output of aepipe, and readers of {folder} take its rows for outputs. Move it to another "
        "folder."
    )


def partitions_of(root: Path, kind: RunKind[Any]) -> list[str]:
    """List the partitions that have a manifest or a file, by name."""
    manifests = manifests_folder(root, kind)
    named = {path.relative_to(manifests).as_posix().removesuffix(".json") for path in files_below(manifests, "*.json")}
    folders = [root / output for output in kind.outputs]
    return sorted(
        named.union(
            *({p.parent.relative_to(f).as_posix() for p in files_below(f, FILE) if p.parent != f} for f in folders)
        )
    )


def _confirmed_faults(paths: PartitionPaths, wait_s: float) -> list[str]:
    """Return the faults that remain under the lock: a commit may have come between manifest and file."""
    if not list(_faults(paths)):
        return []
    try:
        with lock(paths.lock, wait_s=wait_s):
            return list(_faults(paths))
    except Busy as busy:
        return [f"partition {paths.partition} is being written: {busy} Verify again later."]


def _faults(paths: PartitionPaths) -> Iterator[str]:
    if paths.staged_manifest.exists():
        yield f"partition {paths.partition} has an interrupted commit. Run the partition again to finish it."
        return
    manifest = paths.kind.read_manifest(paths.manifest)
    if manifest is None and paths.manifest.exists():
        yield f"{paths.manifest} cannot be parsed. {_REMEDY}"
        return
    if manifest is not None and (
        manifest.partition != paths.partition or was_changed(json.loads(paths.manifest.read_bytes()))
    ):
        yield f"{paths.manifest} was changed after it was written: its digest differs. {_REMEDY}"
    records = manifest.files if manifest is not None else {}
    for output in paths.outputs:
        fault = _fault(paths.final(output), records.get(output))
        if fault is not None:
            yield fault


def _fault(path: Path, record: FileRecord | None) -> str | None:
    if record is None:
        return f"{path} has no manifest. {_REMEDY}" if path.exists() else None
    if not path.exists():
        return f"{path} is missing. Run the partition again."
    if not record.has_size(path):
        return f"{path} has the wrong size: expected {record.bytes:,} bytes, got {path.stat().st_size:,}. {_REMEDY}"
    try:
        found = digest_file(path)
    except DataUnreadable as error:
        return str(error)
    same = found == record.digest
    return None if same else f"{path} has the wrong digest: expected {record.digest}, got {found}. {_REMEDY}"
