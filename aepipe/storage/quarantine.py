"""Quarantine of an output folder: notes about partitions that cannot be scored, and rows that failed a check."""

import json
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field, ValidationError

from aepipe.frozen import FrozenModel
from aepipe.storage.atomic_files import remove
from aepipe.storage.commit import REASON
from aepipe.storage.listing import files_below
from aepipe.storage.locks import lock
from aepipe.storage.paths import PartitionPaths, quarantine_folder
from aepipe.storage.run_details import RunName
from aepipe.storage.run_kinds import RUN_KINDS, SCORE


class QuarantineNote(FrozenModel):
    """Partition in quarantine, and why."""

    partition: str
    kind: RunName = Field("score", description="kind of run that failed")
    reason: str
    files: tuple[str, ...] = Field((), description="source files, or the rows and pages that failed")
    when: str = Field("", description="time of the note, UTC")


def read_notes(root: Path) -> tuple[QuarantineNote, ...]:
    """Return the notes of an output folder by partition; a note that cannot be parsed says so in its reason."""
    folder = quarantine_folder(root)
    scored = (path for path in files_below(folder, "*.json") if not path.relative_to(folder).parts[0].startswith("_"))
    found = [_read_note(path, path.relative_to(folder).as_posix().removesuffix(".json")) for path in scored]
    for kind in RUN_KINDS:
        rows = folder / f"_{kind.outputs[-1]}"
        found += [
            _read_rows(path.parent, path.parent.relative_to(rows).as_posix(), kind.name)
            for path in files_below(rows, REASON)
        ]
    return tuple(sorted(found, key=lambda note: (note.partition, note.kind)))


def drop_notes(root: Path, partition: str, *, wait_s: float) -> tuple[Path, ...]:
    """Remove a partition from the quarantine, with rows that failed a check, and return the removed files.

    Committed outputs and the source stay as they are.

    Raises:
        Busy: another process writes the partition.
    """
    removed: list[Path] = []
    for kind in RUN_KINDS:
        paths = PartitionPaths(root, partition, kind)
        rows = paths.quarantined_rows
        found = [paths.quarantine] if kind is SCORE else []
        # the reason comes last: without it the rows would be in no list
        found += sorted(rows.iterdir(), key=lambda path: path.name == REASON) if rows.is_dir() else []
        found = [path for path in found if path.is_file()]
        if not found:
            continue
        with lock(paths.lock, wait_s=wait_s):
            for path in found:
                remove(path)
        removed += found
    return tuple(removed)


def _read_note(path: Path, partition: str) -> QuarantineNote:
    try:
        return QuarantineNote.model_validate({**json.loads(path.read_bytes()), "partition": partition})
    except (OSError, ValueError, TypeError, RecursionError, ValidationError):
        reason = f"the note {path} cannot be read. Score the partition again."
        return QuarantineNote(partition=partition, reason=reason)


def _read_rows(folder: Path, partition: str, kind: RunName) -> QuarantineNote:
    path = folder / REASON
    try:
        reason = path.read_text(encoding="utf-8", errors="replace").strip()
        when = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="milliseconds")
    except OSError as error:
        reason, when = f"{path} cannot be read: {error.strerror}. Run {kind} again.", ""
    files = tuple(str(each) for each in sorted(folder.iterdir()) if each.is_file() and each.name != REASON)
    return QuarantineNote(partition=partition, kind=kind, reason=reason, files=files, when=when)
