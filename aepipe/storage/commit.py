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
from typing import Any

import pyarrow as pa

from aepipe.storage.atomic_files import make_folder, put_bytes, put_json, remove, replace
from aepipe.storage.manifest import FileRecord, Manifest, read_manifest
from aepipe.storage.parquet_writer import ParquetSink, StagedFile
from aepipe.storage.paths import FILE, HIDDEN, Place

_log = logging.getLogger(__name__)

REASON = "reason.txt"


class Commit:
    """The outputs of one partition under one key, in the making; made by `Outputs.commit`.

    `done` is the manifest of a commit under the same key, if there is one: nothing is to be written then. `is_first`:
    nothing of the partition was ever committed, so that no key can be done.
    """

    def __init__(self, place: Place) -> None:
        self.done: Manifest | None = None
        self.key: str | None = None
        self.is_first = read_manifest(place.manifest) is None
        self._place = place
        self._sinks: dict[str, ParquetSink] = {}
        self._publishing = False
        self._over = False

    def take_key(self, key: str) -> None:
        """From now on the outputs are those of this key, which is told once; `done` may be known then."""
        if self.key is not None:
            raise ValueError(f"partition {self._place.partition!r} has key {self.key!r}, found {key!r}")
        self.key = key
        self.done = done_under(self._place, key)
        if self.done is not None:
            release(self._place)

    def open(self, output: str, schema: pa.Schema, *, compression: str = "snappy") -> ParquetSink:
        """A staged file for the rows of this output."""
        self._refuse_if_over()
        if output not in self._place.outputs:
            known = ", ".join(self._place.outputs)
            raise ValueError(f"a {self._place.run} run writes {known}, found {output!r}")
        if output in self._sinks:
            raise ValueError(f"{output!r} of partition {self._place.partition!r} is open already")
        sink = ParquetSink(self._place.staged(output), schema, compression=compression)
        self._sinks[output] = sink
        return sink

    def publish(self, *, model_version: str, details: Mapping[str, Any] | None = None) -> Manifest:
        """The manifest of the outputs, which readers see from now on; outputs that were not opened are gone.

        Raises ValueError if the outputs differ in rows, the one whose replacement is the commit was not opened, or no
        key was taken.
        """
        self._refuse_if_over()
        if self.key is None:
            raise ValueError(f"partition {self._place.partition!r} is to be published under no key")
        staged = {output: sink.close() for output, sink in self._sinks.items()}
        self._refuse_unequal(staged)
        manifest = self._manifest(self.key, staged, model_version, dict(details or {}))
        put_json(self._place.staged_manifest, manifest.model_dump(mode="json"))
        for output in manifest.files:
            self._make_final_folder(self._place.final(output).parent)
        self._publishing = True
        roll_forward(self._place, manifest)
        self._over = True
        return manifest

    def set_aside(self, reason: str, *, beside: Mapping[str, bytes]) -> Path:
        """The rows in the folder of what was judged unfit, with the reason and other files; nothing is published.

        What was committed before stays. The file's name does not end in .parquet: no reader takes it for an output.
        """
        self._refuse_if_over()
        output = self._place.outputs[-1]
        staged = self._sinks.pop(output).close()
        self._over = True
        folder = self._place.set_aside
        path = folder / f"{FILE}.quarantined"
        for name, content in beside.items():
            put_bytes(folder / name, content)
        put_bytes(folder / REASON, f"{reason}\n".encode())
        replace(staged.path, path)
        for sink in self._sinks.values():
            sink.abort()
        discard(self._place)
        _log.info("%s of %s are quarantined: %s", output, self._place.partition, reason)
        return path

    def end(self, *, failed: bool) -> None:
        """No staged file is left, unless publishing began and broke off: the next commit finishes that."""
        if self._over:
            return
        self._over = True
        if self._publishing:
            _log.error("%s broke off while it was published; the next run finishes it", self._place.partition)
            return
        for sink in self._sinks.values():
            sink.abort()
        discard(self._place)
        if self._sinks and not failed:
            _log.warning("%s was written and never published: discarded", self._place.partition)

    def _refuse_if_over(self) -> None:
        if self.done is not None or self._publishing or self._over:
            raise ValueError(f"partition {self._place.partition!r} takes no more rows under key {self.key!r}")

    def _refuse_unequal(self, staged: Mapping[str, StagedFile]) -> None:
        last = self._place.outputs[-1]
        if last not in staged:
            raise ValueError(f"a {self._place.run} run must write {last!r}, found {', '.join(staged) or 'nothing'}")
        if len({file.rows for file in staged.values()}) > 1:
            rows = ", ".join(f"{output} {file.rows:,}" for output, file in staged.items())
            raise ValueError(f"the outputs of partition {self._place.partition!r} must have equal rows, found {rows}")

    def _make_final_folder(self, folder: Path) -> None:
        make_folder(folder)
        if folder.stat().st_dev != self._place.staging.stat().st_dev:
            raise OSError(errno.EXDEV, f"must lie on the file system of {self._place.root / HIDDEN}", str(folder))

    def _manifest(
        self, key: str, staged: Mapping[str, StagedFile], model_version: str, details: dict[str, Any]
    ) -> Manifest:
        files = {
            output: FileRecord(path=self._place.relative(output), rows=file.rows, bytes=file.bytes, digest=file.digest)
            for output, file in staged.items()
        }
        return Manifest(
            partition=self._place.partition,
            key=key,
            kind_of_run=self._place.run,
            files=files,
            model_version=model_version,
            created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            details=details,
        )


def done_under(place: Place, key: str) -> Manifest | None:
    """The manifest under this key, if its files are there with their sizes and no interrupted commit waits."""
    manifest = read_manifest(place.manifest)
    if manifest is None or manifest.key != key or place.staged_manifest.exists():
        return None
    there = all(record.has_size(place.root / record.path) for record in manifest.files.values())
    return manifest if there else None


def recover(place: Place) -> None:
    """What a killed process left of this partition is finished if it is whole, and forgotten if not."""
    if not place.staging.exists():
        return
    manifest = read_manifest(place.staged_manifest)
    if manifest is not None and all(_is_whole(place, output, record) for output, record in manifest.files.items()):
        _log.warning("%s: finishing the commit of a process that was killed", place.partition)
        roll_forward(place, manifest)
        return
    _log.warning("%s: discarding what a killed process left", place.partition)
    _withdraw_wrong_manifest(place)
    discard(place)


def _is_whole(place: Place, output: str, record: FileRecord) -> bool:
    staged = place.staged(output)
    return record.describes(staged if staged.exists() else place.final(output))


def roll_forward(place: Place, manifest: Manifest) -> None:
    """The staged outputs are the outputs. Does the same again after being killed at any step."""
    for output in place.outputs:
        if output not in manifest.files:
            remove(place.final(output))
        elif place.staged(output).exists():
            replace(place.staged(output), place.final(output))
    replace(place.staged_manifest, place.manifest)
    discard(place)
    release(place)


def discard(place: Place) -> None:
    """Nothing is staged."""
    if not place.staging.exists():
        return
    for path in place.staging.iterdir():
        path.unlink()
    place.staging.rmdir()


def release(place: Place) -> None:
    """The partition is out of quarantine, if this run could put it there."""
    if place.run == "score":
        remove(place.quarantine)
    elif place.set_aside.is_dir():
        for path in place.set_aside.iterdir():
            if path.is_file():  # the partitions below it are others
                remove(path)


def _withdraw_wrong_manifest(place: Place) -> None:
    """Some outputs may be of the commit that cannot be finished: then no key is done."""
    manifest = read_manifest(place.manifest)
    if manifest is not None and not all(r.describes(place.root / r.path) for r in manifest.files.values()):
        remove(place.manifest)
