"""Commit of a partition: staged files become its outputs, all of them or none.

The order lets a process that is killed at any step leave complete files, and enough to finish or to discard the commit:
staged files synced -> staged manifest synced -> every output but the last replaced -> the last one replaced, which
is the commit -> the staged manifest becomes the manifest. Several commits take each step together, so that a folder
that they share is synced once; each is acknowledged when all are on disk.

In an object store the staged files lie on this machine, and to replace an output is to upload it; the staged manifest
lies in the store, so that another machine finishes or discards a commit that broke off.

A reader that opens a file once sees it whole, old or new. `pyarrow.parquet.read_table(path)` opens it twice, for the
footer and for the pages, and fails if a commit falls between; `pyarrow.parquet.ParquetFile(path).read()` does not.
"""

import errno
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, NamedTuple

import pyarrow as pa

from aepipe.storage.atomic_files import (
    make_folders,
    make_private_folder,
    naming,
    put_bytes,
    remove,
    rename,
    replace,
    sync,
    sync_all,
    unlink,
)
from aepipe.storage.manifest import D, FileRecord, Manifest
from aepipe.storage.parquet_writer import ParquetSink, StagedFile
from aepipe.storage.paths import FILE, HIDDEN, PartitionPaths, local_staging
from aepipe.storage.pieces import remove_pieces
from aepipe.storage.run_kinds import SCORE, RunKind
from aepipe.stores import StorePath

_log = logging.getLogger(__name__)

REASON = "reason.txt"


class Staged(NamedTuple):
    """Files of a commit that are complete, and its manifest, which is not written yet."""

    paths: PartitionPaths
    manifest: Manifest[Any]
    content: bytes
    """Content of the manifest's file."""

    def write_manifest(self) -> None:
        """Write the staged manifest; in an object store, it is durable at once."""
        if isinstance(self.paths.staged_manifest, StorePath):
            put_bytes(self.paths.staged_manifest, self.content)
            return
        # not by a rename: one that is not complete cannot be parsed, and `recover` discards the commit
        with naming(self.paths.staged_manifest):
            self.paths.staged_manifest.write_bytes(self.content)

    def refuse_other_file_system(self) -> None:
        """Raise OSError if the staged files cannot be renamed to the outputs."""
        if isinstance(self.paths.root, StorePath):
            return  # an upload may come from any file system
        device = self.paths.staging.stat().st_dev
        for folder in self.output_folders:
            if folder.stat().st_dev != device:
                raise OSError(errno.EXDEV, f"is on another file system than {self.paths.root / HIDDEN}", str(folder))

    @property
    def output_folders(self) -> tuple[Path, ...]:
        """Folders that must be there before an output is replaced."""
        return tuple(self.paths.final(output).parent for output in self.manifest.files)

    @property
    def local_files(self) -> Iterator[Path]:
        """Yield the staged files that must be on disk before an output is replaced."""
        if not isinstance(self.paths.root, StorePath):
            yield from (self.paths.staged(output) for output in self.manifest.files)
            yield self.paths.staged_manifest


class Commit(Generic[D]):
    """Outputs of one partition while they are written; made by `Outputs.commit`.

    Attributes:
        done: manifest of an earlier commit with the same key; if there is one, nothing needs to be written.
        key: digest of everything the outputs depend on.
        is_first: True if the partition was never committed, so that no key can be done.
    """

    def __init__(
        self,
        paths: PartitionPaths,
        kind: RunKind[D],
        *,
        force: bool = False,
        confirm_lock: Callable[[], None] = lambda: None,
    ) -> None:
        self.done: Manifest[D] | None = None
        self.key: str | None = None
        self._before = kind.read_manifest(paths.manifest)  # the lock is held: nothing replaces it meanwhile
        self.is_first = self._before is None
        self._force = force
        self._confirm_lock = confirm_lock
        self._kind = kind
        self._paths = paths
        self._sinks: dict[str, ParquetSink] = {}
        self._staged: Staged | None = None
        self._publishing = False
        self._over = False

    def take_key(self, key: str) -> None:
        """Set the key, once, and look for an earlier commit with it."""
        if self.key is not None:
            raise ValueError(
                f"partition {self._paths.partition!r} has a key already: expected {self.key!r}, got {key!r}"
            )
        self.key = key
        self.done = None if self._force else _done(self._paths, self._before, key)
        if self.done is not None:
            release(self._paths)

    def open(self, output: str, schema: pa.Schema, *, compression: str = "snappy") -> ParquetSink:
        """Open a staged file for the rows of an output."""
        self._refuse_if_over()
        if output not in self._paths.outputs:
            known = ", ".join(self._paths.outputs)
            raise ValueError(f"output is unknown to a {self._kind.name} run: expected {known}, got {output!r}")
        if output in self._sinks:
            raise ValueError(f"{output!r} of partition {self._paths.partition!r} is open already")
        if isinstance(self._paths.root, StorePath):
            make_private_folder(local_staging(str(self._paths.root)).parent)
        make_folders([self._paths.staging.parent])
        self._paths.staging.mkdir(exist_ok=True)  # `roll_forward` syncs it
        sink = ParquetSink(self._paths.staged(output), schema, compression=compression, is_synced=False)
        self._sinks[output] = sink
        return sink

    def publish(self, *, model_version: str, details: D) -> Manifest[D]:
        """Replace the outputs and return their manifest; outputs that were not opened are removed.

        Raises:
            ValueError: outputs differ in rows, the last output of the run was not opened, or the key is not set.
        """
        manifest = self.stage(model_version=model_version, details=details)
        publish([self])
        return manifest

    def stage(self, *, model_version: str, details: D) -> Manifest[D]:
        """Complete the staged files and return the manifest that `publish` of this module writes with them.

        Raises:
            ValueError: outputs differ in rows, the last output of the run was not opened, or the key is not set.
        """
        self._refuse_if_over()
        if self.key is None:
            raise ValueError(
                f"partition {self._paths.partition!r} cannot be published without a key. Call take_key first."
            )
        staged = {output: sink.close() for output, sink in self._sinks.items()}
        self._refuse_unequal(staged)
        files = {
            output: FileRecord(path=self._paths.relative(output), rows=file.rows, bytes=file.bytes, digest=file.digest)
            for output, file in staged.items()
        }
        manifest, content = self._kind.manifest_type(
            partition=self._paths.partition,
            key=self.key,
            kind_of_run=self._kind.name,
            files=files,
            model_version=model_version,
            created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            details=details,
        ).sealed()
        self._sinks.clear()  # with their buffers: the commit may wait for others
        self._staged = Staged(self._paths, manifest, content)
        return manifest

    def confirm_staged(self) -> "Staged":
        """Return what was staged, unless the lock was lost. Raises Busy, or ValueError if nothing was staged."""
        if self._staged is None or self._publishing or self._over:
            raise ValueError(f"partition {self._paths.partition!r} is not staged, or is published. Call stage first.")
        self._confirm_lock()
        return self._staged

    def begin_publishing(self) -> None:
        """Leave the staged files to the next commit if publishing breaks off from now on."""
        self._publishing = True

    def complete(self) -> None:
        """Record that the outputs are published."""
        self._over = True

    def quarantine(self, reason: str, *, attachments: Mapping[str, bytes]) -> Path:
        """Move the staged rows to quarantine with the reason and attached files; publish nothing.

        An earlier commit stays as it is. The name of the file does not end in .parquet, so readers skip it.

        Returns:
            Path of the quarantined rows.
        """
        self._refuse_if_over()
        output = self._paths.outputs[-1]
        staged = self._sinks.pop(output).close()
        self._over = True
        folder = self._paths.quarantined_rows
        path = folder / f"{FILE}.quarantined"
        for name, content in attachments.items():
            put_bytes(folder / name, content)
        put_bytes(folder / REASON, f"{reason}\n".encode())
        sync(staged.path)
        replace(staged.path, path)
        for sink in self._sinks.values():
            sink.abort()
        discard(self._paths)
        _log.info("%s of %s are quarantined: %s", output, self._paths.partition, reason)
        return path

    def end(self, *, failed: bool) -> None:
        """Discard the staged files, unless publishing broke off, which the next commit finishes."""
        if self._over:
            return
        self._over = True
        if self._publishing:
            _log.error("%s was interrupted while it was published; the next run finishes it", self._paths.partition)
            return
        for sink in self._sinks.values():
            sink.abort()
        discard(self._paths)
        if (self._sinks or self._staged is not None) and not failed:
            _log.warning("%s was written but not published: discarded", self._paths.partition)

    def _refuse_if_over(self) -> None:
        if self.done is not None or self._staged is not None or self._over:
            raise ValueError(
                f"partition {self._paths.partition!r} is closed under key {self.key!r}: no rows can be added"
            )

    def _refuse_unequal(self, staged: Mapping[str, StagedFile]) -> None:
        last = self._paths.outputs[-1]
        if last not in staged:
            found = ", ".join(staged) or "nothing"
            raise ValueError(f"a {self._kind.name} run lacks its output: expected {last!r}, got {found}")
        if len({file.rows for output, file in staged.items() if output not in self._kind.summaries}) > 1:
            rows = ", ".join(f"{output} {file.rows:,}" for output, file in staged.items())
            raise ValueError(f"outputs of partition {self._paths.partition!r} differ in rows: got {rows}")


def find_done(paths: PartitionPaths, kind: RunKind[D], key: str) -> Manifest[D] | None:
    """Return the manifest with this key if its files have their sizes and no interrupted commit is left."""
    return _done(paths, kind.read_manifest(paths.manifest), key)


def _done(paths: PartitionPaths, manifest: Manifest[D] | None, key: str) -> Manifest[D] | None:
    if manifest is None or manifest.key != key or paths.staged_manifest.exists():
        return None
    return manifest if manifest.has_all_files(paths.root) else None


def recover(paths: PartitionPaths) -> None:
    """Finish the commit of a killed process if its files are complete, else discard it."""
    if not paths.staging.exists() and not (isinstance(paths.root, StorePath) and paths.staged_manifest.exists()):
        return
    manifest = paths.kind.read_manifest(paths.staged_manifest)
    if manifest is not None and _is_complete(paths, manifest):
        _log.warning("%s: finishing the commit of a process that was killed", paths.partition)
        staged = Staged(paths, manifest, b"")
        make_folders(staged.output_folders)
        roll_forward([staged])
        return
    _log.warning("%s: discarding what a killed process left", paths.partition)
    published = paths.kind.read_manifest(paths.manifest)
    if published is not None and not all(r.describes(paths.root / r.path) for r in published.files.values()):
        remove(paths.manifest)  # some outputs belong to the commit that cannot be finished
    discard(paths)


def _is_complete(paths: PartitionPaths, manifest: Manifest[Any]) -> bool:
    files = {output: paths.staged(output) for output in manifest.files}
    found = {output: path if path.exists() else paths.final(output) for output, path in files.items()}
    return all(record.describes(found[output]) for output, record in manifest.files.items())


def publish(commits: Sequence[Commit[Any]]) -> None:
    """Replace the outputs of staged commits, all at each step before any at the next.

    Raises:
        Busy: a lock was lost.
        OSError: a file cannot be written; commits whose publishing broke off are finished by their next run.
    """
    staged = [commit.confirm_staged() for commit in commits]
    for each in staged:
        each.write_manifest()
    make_folders(folder for each in staged for folder in each.output_folders)
    for each in staged:
        each.refuse_other_file_system()
    for commit in commits:
        commit.begin_publishing()
    roll_forward(staged)
    for commit in commits:
        commit.complete()


def roll_forward(staged: Sequence[Staged]) -> None:
    """Replace outputs by staged ones, whose folders are there; can be repeated after a kill at any step."""
    # before any rename: a commit that is finished after a kill must not lose its files in a power cut
    sync_all(path for each in staged for path in each.local_files if path.exists())
    for folder in [each.paths.staging for each in staged if not isinstance(each.paths.root, StorePath)]:
        sync(folder)  # after its files it takes 0.1 ms: threads would cost more
    sync_all(each.paths.staging.parent for each in staged if not isinstance(each.paths.root, StorePath))
    for output in dict.fromkeys(output for each in staged for output in each.paths.outputs):
        changed = [path for each in staged if (path := _replace_output(each, output)) is not None]
        sync_all(changed)
    make_folders(each.paths.manifest.parent for each in staged)
    for each in staged:
        rename(each.paths.staged_manifest, each.paths.manifest)
    sync_all(each.paths.manifest.parent for each in staged)
    for each in staged:
        discard(each.paths)
        release(each.paths)


def _replace_output(staged: Staged, output: str) -> Path | None:
    """Replace or remove one output, and return the folder to sync; None if nothing was changed."""
    paths = staged.paths
    final = paths.final(output)
    if output in staged.manifest.files:
        source = paths.staged(output)
        if not source.exists():
            return None
        rename(source, final)
        return final.parent
    return final.parent if unlink(final) else None


def discard(paths: PartitionPaths) -> None:
    """Delete the staged files."""
    if isinstance(paths.root, StorePath):
        remove(paths.staged_manifest)
    if not paths.staging.exists():
        return
    for path in paths.staging.iterdir():
        path.unlink()
    paths.staging.rmdir()


def release(paths: PartitionPaths) -> None:
    """Remove the partition from the quarantine of this kind of run, and the note of an earlier removal."""
    if paths.kind is SCORE:
        remove(paths.quarantine)
        remove(paths.forgotten)
        if not isinstance(paths.root, StorePath):  # in a store, the list of pieces would cost each commit a request
            remove_pieces(paths)
    elif paths.quarantined_rows.is_dir():
        for path in paths.quarantined_rows.iterdir():
            if path.is_file():  # folders are other partitions
                remove(path)
