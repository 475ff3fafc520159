"""Whether the outputs are what their manifests say."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aepipe.errors import Busy, DataUnreadable
from aepipe.storage.digests import digest_file
from aepipe.storage.locks import lock
from aepipe.storage.manifest import FileRecord
from aepipe.storage.paths import FILE, PartitionPaths, manifests_folder
from aepipe.storage.run_kinds import RUN_KINDS, RunKind

_REMEDY = "Delete it and run the partition again."


def find_faults(root: Path, *, wait_s: float) -> list[str]:
    """Every fault of the outputs below `root`, in sentences that name the file and the remedy."""
    all_paths = [PartitionPaths(root, partition, kind) for kind in RUN_KINDS for partition in _partitions(root, kind)]
    return [fault for paths in all_paths for fault in _confirmed_faults(paths, wait_s)]


def _partitions(root: Path, kind: RunKind[Any]) -> list[str]:
    """By name, those that have a manifest and those that have a file."""
    manifests = manifests_folder(root, kind)
    named = {path.relative_to(manifests).as_posix().removesuffix(".json") for path in manifests.rglob("*.json")}
    folders = [root / output for output in kind.outputs]
    return sorted(named.union(*(_with_files(folder) for folder in folders)))


def _with_files(folder: Path) -> set[str]:
    return {path.parent.relative_to(folder).as_posix() for path in folder.rglob(FILE)}


def _confirmed_faults(paths: PartitionPaths, wait_s: float) -> list[str]:
    """Faults are looked at again in the lock: without it, a commit may have come between manifest and file."""
    if not list(_faults(paths)):
        return []
    try:
        with lock(paths.lock, wait_s=wait_s):
            return list(_faults(paths))
    except Busy as busy:
        return [f"partition {paths.partition} is being written, verify again later: {busy}"]


def _faults(paths: PartitionPaths) -> Iterator[str]:
    if paths.staged_manifest.exists():
        yield f"partition {paths.partition}: a commit was interrupted. Run the partition again, which finishes it."
        return
    manifest = paths.kind.read_manifest(paths.manifest)
    if manifest is None and paths.manifest.exists():
        yield f"{paths.manifest} cannot be understood. {_REMEDY}"
        return
    records = manifest.files if manifest is not None else {}
    for output in paths.outputs:
        fault = _fault(paths.final(output), records.get(output))
        if fault is not None:
            yield fault


def _fault(path: Path, record: FileRecord | None) -> str | None:
    if record is None:
        return f"{path} is named by no manifest. {_REMEDY}" if path.exists() else None
    if not path.exists():
        return f"{path} is absent. Run the partition again."
    if not record.has_size(path):
        return f"{path} has {path.stat().st_size:,} bytes, its manifest says {record.bytes:,}. {_REMEDY}"
    try:
        found = digest_file(path)
    except DataUnreadable as error:
        return str(error)
    same = found == record.digest
    return None if same else f"{path} has other bytes than were written ({found}, not {record.digest}). {_REMEDY}"
