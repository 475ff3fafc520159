"""Removal of a partition: all outputs, manifests and pages together, or a removal that the next command finishes.

A note is written first and names what is being removed. While the note says "removing", no output of the partition
counts as done, and `finish` completes the removal. Afterwards the note says "removed", which keeps the source from
being scored again, or it is deleted.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from aepipe.frozen import FrozenModel
from aepipe.storage.atomic_files import put_json, remove
from aepipe.storage.commit import discard
from aepipe.storage.listing import entries, files_below
from aepipe.storage.locks import lock
from aepipe.storage.paths import DRIFT, FILE, HIDDEN, PartitionPaths, baselines_folder, forgotten_folder
from aepipe.storage.pieces import remove_pieces
from aepipe.storage.run_kinds import RUN_KINDS
from aepipe.stores import StorePath


class RemovalNote(FrozenModel):
    """Record of a partition that was or is being removed."""

    partition: str
    state: Literal["removing", "removed"]
    is_kept: bool
    """The note stays after the removal, so that `score` skips the partition unless it is named."""
    pages: tuple[str, ...] = ()
    """Names of the partition's pages in the folder `reports`."""
    when: str


def read_notes(root: Path) -> tuple[RemovalNote, ...]:
    """Return the notes of an output folder; a note that cannot be parsed is left out."""
    found = []
    for path in sorted(files_below(forgotten_folder(root), "*.json")):
        try:
            found.append(RemovalNote.model_validate_json(path.read_bytes()))
        except (OSError, ValidationError):
            continue
    return tuple(found)


def files_of(root: Path, partition: str, pages: Sequence[str]) -> tuple[Path, ...]:
    """List the existing files of a partition in the order in which they are removed."""
    found = [path for kind in RUN_KINDS for path in _files_of_kind(PartitionPaths(root, partition, kind))]
    drift = (folder / f"{partition}.json" for folder in entries(root / HIDDEN / DRIFT))
    baselines = entries(baselines_folder(root))  # they hold scores of the rows, and are computed again if needed
    reports = (root / "reports" / name for name in pages)
    return tuple(path for path in (*found, *drift, *baselines, *reports) if path.is_file())


def remove_partition(
    root: Path, partition: str, pages: Sequence[str], *, is_kept: bool, wait_s: float
) -> tuple[Path, ...]:
    """Remove the files of a partition and return their paths.

    Args:
        root: folder of the outputs.
        partition: name of the partition.
        pages: names of its pages in the folder `reports`.
        is_kept: keep a note, so that the partition is not scored again unless it is named.
        wait_s: seconds to wait for a process that writes the partition.

    Raises:
        Busy: another process writes the partition.
    """
    all_paths = [PartitionPaths(root, partition, kind) for kind in RUN_KINDS]
    when = datetime.now(UTC).isoformat(timespec="milliseconds")
    note = RemovalNote(partition=partition, state="removing", is_kept=is_kept, pages=tuple(pages), when=when)
    with ExitStack() as locks:
        for paths in all_paths:
            locks.enter_context(lock(paths.lock, wait_s=wait_s))
        put_json(all_paths[0].forgotten, note.model_dump(mode="json"))
        found = files_of(root, partition, pages)
        for path in found:
            remove(path)
        for paths in all_paths:
            discard(paths)
            remove_pieces(paths)
            _remove_empty_folders(paths)
        if is_kept:
            put_json(all_paths[0].forgotten, note.model_copy(update={"state": "removed"}).model_dump(mode="json"))
        else:
            remove(all_paths[0].forgotten)
    return found


def finish(root: Path, *, wait_s: float) -> tuple[str, ...]:
    """Finish removals that a killed process left, and return the names of their partitions. Raises Busy."""
    unfinished = [note for note in read_notes(root) if note.state == "removing"]
    for note in unfinished:
        remove_partition(root, note.partition, note.pages, is_kept=note.is_kept, wait_s=wait_s)
    return tuple(note.partition for note in unfinished)


def _files_of_kind(paths: PartitionPaths) -> Iterator[Path]:
    """Yield the files of one kind of run: the last output first, as its absence undoes the commit."""
    yield from (paths.final(output) for output in reversed(paths.outputs))
    yield paths.manifest
    yield paths.quarantine
    yield from sorted(files_below(paths.pieces))
    if paths.quarantined_rows.is_dir():
        yield from sorted(paths.quarantined_rows.iterdir())


def _remove_empty_folders(paths: PartitionPaths) -> None:
    """Remove the partition's folders, up to the folder of the output, as far as nothing else is in them."""
    tops = [(paths.final(output).parent, paths.root / output) for output in paths.outputs]
    tops.append((paths.quarantined_rows, paths.quarantined_rows.parents[len(paths.partition.split("/")) - 1]))
    if isinstance(paths.root, StorePath):
        return  # a folder without objects does not exist
    for folder, top in tops:
        while folder != top:
            (folder / f".{FILE}.tmp").unlink(missing_ok=True)
            try:
                folder.rmdir()
            except OSError:  # absent, or it holds another partition
                if folder.exists():
                    break
            folder = folder.parent
