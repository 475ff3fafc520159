"""One commit of a partition: staged files become its outputs, all of them or none.

The order, so that a process killed at any step leaves complete files and enough to finish or to forget:
staged files synced -> staged manifest synced -> every output but the last replaced -> the last one replaced, which
is the commit -> the staged manifest becomes the manifest.

A reader that opens a file once sees it whole, old or new. `pyarrow.parquet.read_table(path)` opens it twice, for the
footer and for the pages, and fails if a commit falls between; `pyarrow.parquet.ParquetFile(path).read()` does not.
"""

import errno
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic

import pyarrow as pa

from aepipe.storage.atomic_files import make_folder, put_bytes, put_json, remove, replace
from aepipe.storage.manifest import D, FileRecord, Manifest
from aepipe.storage.parquet_writer import ParquetSink, StagedFile
from aepipe.storage.paths import FILE, HIDDEN, PartitionPaths
from aepipe.storage.run_kinds import SCORE, RunKind

_log = logging.getLogger(__name__)

REASON = "reason.txt"


class Commit(Generic[D]):
    """The outputs of one partition under one key, in the making; made by `Outputs.commit`.

    `done` is the manifest of a commit under the same key, if there is one: nothing is to be written then. `is_first`:
    nothing of the partition was ever committed, so that no key can be done.
    """

    def __init__(self, paths: PartitionPaths, kind: RunKind[D]) -> None:
        self.done: Manifest[D] | None = None
        self.key: str | None = None
        self.is_first = kind.read_manifest(paths.manifest) is None
        self._kind = kind
        self._paths = paths
        self._sinks: dict[str, ParquetSink] = {}
        self._publishing = False
        self._over = False

    def take_key(self, key: str) -> None:
        """From now on the outputs are those of this key, which is told once; `done` may be known then."""
        if self.key is not None:
            raise ValueError(f"partition {self._paths.partition!r} has key {self.key!r}, found {key!r}")
        self.key = key
        self.done = find_done(self._paths, self._kind, key)
        if self.done is not None:
            release(self._paths)

    def open(self, output: str, schema: pa.Schema, *, compression: str = "snappy") -> ParquetSink:
        """A staged file for the rows of this output."""
        self._refuse_if_over()
        if output not in self._paths.outputs:
            known = ", ".join(self._paths.outputs)
            raise ValueError(f"a {self._kind.name} run writes {known}, found {output!r}")
        if output in self._sinks:
            raise ValueError(f"{output!r} of partition {self._paths.partition!r} is open already")
        sink = ParquetSink(self._paths.staged(output), schema, compression=compression)
        self._sinks[output] = sink
        return sink

    def publish(self, *, model_version: str, details: D) -> Manifest[D]:
        """The manifest of the outputs, which readers see from now on; outputs that were not opened are gone.

        Raises ValueError if the outputs differ in rows, the one whose replacement is the commit was not opened, or no
        key was taken.
        """
        self._refuse_if_over()
        if self.key is None:
            raise ValueError(f"partition {self._paths.partition!r} is to be published under no key")
        staged = {output: sink.close() for output, sink in self._sinks.items()}
        self._refuse_unequal(staged)
        manifest = self._manifest(self.key, staged, model_version, details)
        put_json(self._paths.staged_manifest, manifest.model_dump(mode="json"))
        for output in manifest.files:
            self._make_final_folder(self._paths.final(output).parent)
        self._publishing = True
        roll_forward(self._paths, manifest)
        self._over = True
        return manifest

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
        replace(staged.path, path)
        for sink in self._sinks.values():
            sink.abort()
        discard(self._paths)
        _log.info("%s of %s are quarantined: %s", output, self._paths.partition, reason)
        return path

    def end(self, *, failed: bool) -> None:
        """No staged file is left, unless publishing began and broke off: the next commit finishes that."""
        if self._over:
            return
        self._over = True
        if self._publishing:
            _log.error("%s broke off while it was published; the next run finishes it", self._paths.partition)
            return
        for sink in self._sinks.values():
            sink.abort()
        discard(self._paths)
        if self._sinks and not failed:
            _log.warning("%s was written and never published: discarded", self._paths.partition)

    def _refuse_if_over(self) -> None:
        if self.done is not None or self._publishing or self._over:
            raise ValueError(f"partition {self._paths.partition!r} takes no more rows under key {self.key!r}")

    def _refuse_unequal(self, staged: Mapping[str, StagedFile]) -> None:
        last = self._paths.outputs[-1]
        if last not in staged:
            raise ValueError(f"a {self._kind.name} run must write {last!r}, found {', '.join(staged) or 'nothing'}")
        if len({file.rows for file in staged.values()}) > 1:
            rows = ", ".join(f"{output} {file.rows:,}" for output, file in staged.items())
            raise ValueError(f"the outputs of partition {self._paths.partition!r} must have equal rows, found {rows}")

    def _make_final_folder(self, folder: Path) -> None:
        make_folder(folder)
        if folder.stat().st_dev != self._paths.staging.stat().st_dev:
            raise OSError(errno.EXDEV, f"must lie on the file system of {self._paths.root / HIDDEN}", str(folder))

    def _manifest(self, key: str, staged: Mapping[str, StagedFile], model_version: str, details: D) -> Manifest[D]:
        files = {
            output: FileRecord(path=self._paths.relative(output), rows=file.rows, bytes=file.bytes, digest=file.digest)
            for output, file in staged.items()
        }
        return self._kind.manifest_type(
            partition=self._paths.partition,
            key=key,
            kind_of_run=self._kind.name,
            files=files,
            model_version=model_version,
            created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            details=details,
        )


def find_done(paths: PartitionPaths, kind: RunKind[D], key: str) -> Manifest[D] | None:
    """Return the manifest with this key if its files have their sizes and no interrupted commit is left."""
    manifest = kind.read_manifest(paths.manifest)
    if manifest is None or manifest.key != key or paths.staged_manifest.exists():
        return None
    there = all(record.has_size(paths.root / record.path) for record in manifest.files.values())
    return manifest if there else None


def recover(paths: PartitionPaths) -> None:
    """What a killed process left of this partition is finished if it is whole, and forgotten if not."""
    if not paths.staging.exists():
        return
    manifest = paths.kind.read_manifest(paths.staged_manifest)
    if manifest is not None and all(_is_whole(paths, output, record) for output, record in manifest.files.items()):
        _log.warning("%s: finishing the commit of a process that was killed", paths.partition)
        roll_forward(paths, manifest)
        return
    _log.warning("%s: discarding what a killed process left", paths.partition)
    _withdraw_wrong_manifest(paths)
    discard(paths)


def _is_whole(paths: PartitionPaths, output: str, record: FileRecord) -> bool:
    staged = paths.staged(output)
    return record.describes(staged if staged.exists() else paths.final(output))


def roll_forward(paths: PartitionPaths, manifest: Manifest[Any]) -> None:
    """The staged outputs are the outputs. Does the same again after being killed at any step."""
    for output in paths.outputs:
        if output not in manifest.files:
            remove(paths.final(output))
        elif paths.staged(output).exists():
            replace(paths.staged(output), paths.final(output))
    replace(paths.staged_manifest, paths.manifest)
    discard(paths)
    release(paths)


def discard(paths: PartitionPaths) -> None:
    """Nothing is staged."""
    if not paths.staging.exists():
        return
    for path in paths.staging.iterdir():
        path.unlink()
    paths.staging.rmdir()


def release(paths: PartitionPaths) -> None:
    """The partition is out of quarantine, if this run could put it there."""
    if paths.kind is SCORE:
        remove(paths.quarantine)
    elif paths.quarantined_rows.is_dir():
        for path in paths.quarantined_rows.iterdir():
            if path.is_file():  # the partitions below it are others
                remove(path)


def _withdraw_wrong_manifest(paths: PartitionPaths) -> None:
    """Some outputs may be of the commit that cannot be finished: then no key is done."""
    manifest = paths.kind.read_manifest(paths.manifest)
    if manifest is not None and not all(r.describes(paths.root / r.path) for r in manifest.files.values()):
        remove(paths.manifest)
